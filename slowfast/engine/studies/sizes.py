"""One network for any frame count and size against networks trained for one pair each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast.config import frame_counts, trained_sizes
from slowfast.datasets import DATASETS
from slowfast.engine.studies.members import Member, dataset_of, run_members, variant
from slowfast.models import build_model
from slowfast.models.flexible import Rate, all_rates
from slowfast.report.cost import gflops
from slowfast.report.document import Document
from slowfast.report.sizes.document import size_document
from slowfast.report.sizes.results import SizeResults, axes_of


@dataclass(frozen=True)
class SizeStudy:
    """The study of one configuration with FFN.SIZES, in `folder/seed_N/`.

    A separate network is an ordinary one: its crops have the size that it is trained for, and all
    else is that of the configuration.  Raises ValueError for a configuration without sizes.
    """

    cfg: CfgNode
    seeds: Sequence[int]
    folder: Path

    def __post_init__(self) -> None:
        if not trained_sizes(self.cfg):
            raise ValueError(
                "a study of sizes takes FFN.ENABLE True and FFN.SIZES; tools/study.py is one of "
                "frame counts alone"
            )

    @property
    def trained(self) -> tuple[Rate, ...]:
        return all_rates(frame_counts(self.cfg), trained_sizes(self.cfg))

    @property
    def tested(self) -> tuple[Rate, ...]:
        """The trained pairs, and those of TEST."""
        test = self.cfg.TEST
        counts = {*test.NUM_FRAMES, *frame_counts(self.cfg)}
        return all_rates(sorted(counts), sorted({*test.SIZES, *trained_sizes(self.cfg)}))

    def run(self, processes: int) -> None:
        """Train and test what is not there yet, `processes` networks at a time."""
        members = [member for seed in self.seeds for member in self.members(seed)]
        run_members(sorted(members, key=lambda member: -member.work), processes)

    def members(self, seed: int) -> list[Member]:
        return [self.flexible(seed), *(self.separate(seed, rate) for rate in self.trained)]

    def flexible(self, seed: int) -> Member:
        return self._member("ffn", seed, *_tests(self.tested))

    def separate(self, seed: int, rate: Rate) -> Member:
        """The plain network of a pair; that of the highest is tested at all of them."""
        data, full = self.cfg.DATA, trained_sizes(self.cfg)[-1]
        scales = [round(side * rate.size / full) for side in data.TRAIN_JITTER_SCALES]
        overrides = [
            *("FFN.ENABLE", False, "FFN.SIZES", [], "DATA.NUM_FRAMES", rate.num_frames),
            *("DATA.TRAIN_CROP_SIZE", rate.size, "DATA.TRAIN_JITTER_SCALES", scales),
            *("DATA.TEST_CROP_SIZE", data.TEST_CROP_SIZE * rate.size // full),
            *_tests(self.tested if rate == self.trained[-1] else [rate]),
        ]
        return self._member(f"plain_{rate}", seed, *overrides)

    def _member(self, name: str, seed: int, *overrides: object) -> Member:
        return variant(self.cfg, name, overrides, seed, self.folder / f"seed_{seed}")

    def results(self) -> SizeResults:
        """The accuracies of all finished networks, and what each pair costs."""
        of_flexible = [_accuracies(self.flexible(seed)) for seed in self.seeds]
        highest = [_accuracies(self.separate(seed, self.trained[-1])) for seed in self.seeds]
        separate = {
            rate: [_accuracies(self.separate(seed, rate))[rate] for seed in self.seeds]
            for rate in self.trained
        }
        with torch.device("meta"):  # no weights: for the operators alone
            model = build_model(self.cfg)
        return SizeResults(
            trained=self.trained,
            flexible=_together(of_flexible),
            highest=_together(highest),
            separate=separate,
            gflops={
                rate: gflops(model, (1, 3, rate.num_frames, rate.size, rate.size))
                for rate in self.tested
            },
            metric=DATASETS.get(self.cfg.TEST.DATASET).metric,
        )

    def document(self, figures: Path, command: str) -> Document:
        """The report, its figures drawn into the folder `figures`."""
        data = dataset_of(self.cfg)
        facts = {
            "Data": f"{data.name}: {data.train_videos} training and {data.val_videos} validation "
            f"videos, {len(data.classes)} classes",
            "Seeds": ", ".join(map(str, self.seeds)),
            "Epochs": f"{self.cfg.SOLVER.MAX_EPOCH}, of every network",
            "Separate networks": "crops of their own size from videos resized to it; those of the "
            "one network are resized from the largest",
        }
        return size_document(self.results(), figures, facts, [command])


def _tests(rates: Sequence[Rate]) -> list[object]:
    """What has a network tested at all pairs of these counts and sizes."""
    counts, sizes = axes_of(rates)
    return ["TEST.NUM_FRAMES", counts, "TEST.SIZES", sizes]


def _accuracies(member: Member) -> dict[Rate, float]:
    record = json.loads((member.folder / "results/test.json").read_text())
    rows = {name: row[record["metric"]] for name, row in record["by_frames"].items()}
    return {Rate(*map(int, name.split("x"))): value for name, value in rows.items()}


def _together(seeds: Sequence[dict[Rate, float]]) -> dict[Rate, list[float]]:
    return {rate: [values[rate] for values in seeds] for rate in seeds[0]}
