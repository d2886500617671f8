"""What a teacher of high resolution is worth to a student of low resolution, over several seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config import frame_counts
from slowfast.datasets import DATASETS, build_loader
from slowfast.engine.files.checkpoint import Checkpoints
from slowfast.engine.studies.members import Member, records, run_members, variant
from slowfast.models import build_model
from slowfast.report.cost import gflops
from slowfast.report.res_kd import ROLES, Distilled

SAME = ("SOLVER", "MODEL", "R2PLUS1D", "RESNET", "AUG")  # what all networks have in common


@dataclass(frozen=True)
class ResolutionStudy:
    """The study of three configurations in `folder/seed_N/`: a teacher's and its student's two.

    `alone` learns from the labels, `distilled` from the teacher of its seed, too.  Raises
    ValueError unless all have one schedule, network and frame count, and both students one size.
    """

    teacher: CfgNode
    alone: CfgNode
    distilled: CfgNode
    seeds: Sequence[int]
    folder: Path

    def __post_init__(self) -> None:
        if not _weight(self.distilled) > _weight(self.alone) == 0:
            raise ValueError("of the students one has OBJECTIVE.NAME 'distill', the other none")
        for section in SAME:
            if not self.teacher[section] == self.alone[section] == self.distilled[section]:
                raise ValueError(f"all networks must have one {section}, or they do not compare")
        for cfg in (self.teacher, self.alone, self.distilled):
            counts = sorted({*frame_counts(cfg), *cfg.TEST.NUM_FRAMES})
            if cfg.FFN.ENABLE or len(counts) > 1 or cfg.TEST.SIZES:
                raise ValueError(
                    "each network must be plain and tested at its one frame count and size; got "
                    f"FFN.ENABLE {cfg.FFN.ENABLE}, frame counts {counts} and TEST.SIZES "
                    f"{list(cfg.TEST.SIZES)}"
                )
        sizes = {size for cfg in (self.alone, self.distilled) for size in _sizes(cfg)}
        if len(sizes) > 1:
            raise ValueError(f"both students must see one size; theirs are {sorted(sizes)} pixels")

    def run(self, processes: int) -> None:
        """Train and test what is not there yet, `processes` networks at a time; teachers first."""
        run_members([self.teacher_of(seed) for seed in self.seeds], processes)
        students = [(self.alone_of(seed), self.distilled_of(seed)) for seed in self.seeds]
        run_members([member for pair in students for member in pair], processes)

    def teacher_of(self, seed: int) -> Member:
        return self._member("teacher", self.teacher, seed)

    def alone_of(self, seed: int) -> Member:
        return self._student("alone", self.alone, seed)

    def distilled_of(self, seed: int) -> Member:
        """The student under the last weights of its seed's teacher; ValueError without them."""
        return self._student("distilled", self.distilled, seed)

    def _student(self, name: str, cfg: CfgNode, seed: int) -> Member:
        """A student alone may have a teacher, too, whose weight is 0: it sees the same clips."""
        if cfg.OBJECTIVE.NAME != "distill":
            return self._member(name, cfg, seed)
        folder = self.teacher_of(seed).folder
        if (found := Checkpoints(folder / "checkpoints").newest()) is None:
            raise ValueError(f"no checkpoint in {folder}; train the teacher first")
        return self._member(name, cfg, seed, "DISTILL.TEACHER_WEIGHTS", str(found[0]))

    def _member(self, name: str, cfg: CfgNode, seed: int, *overrides: object) -> Member:
        return variant(cfg, name, overrides, seed, self.folder / f"seed_{seed}")

    def report(self, commands: Sequence[str], facts: dict[str, str] | None = None) -> Distilled:
        """The results of all finished networks; `facts` are put before those known here."""
        makers = dict(zip(ROLES, (self.teacher_of, self.alone_of, self.distilled_of), strict=True))
        found = {role: [of(seed) for seed in self.seeds] for role, of in makers.items()}
        return Distilled(
            tests={role: [_test(member) for member in ms] for role, ms in found.items()},
            seeds=self.seeds,
            gflops={role: _gflops(ms[0].cfg) for role, ms in found.items()},
            curves={role: [_curve(member) for member in ms] for role, ms in found.items()},
            facts={**self._facts(), **(facts or {})},
            commands=commands,
        )

    def _facts(self) -> dict[str, str]:
        part, solver = self.distilled.DISTILL, self.distilled.SOLVER
        train, test = (
            len(build_loader(self.distilled, split).dataset) for split in ("train", "test")
        )
        return {
            "Data": f"{self.distilled.TEST.DATASET}: {train} training and {test} test videos",
            "Distillation": f"{part.LOSS}, weight {part.WEIGHT:g}, teacher in {part.TEACHER_MODE} "
            "mode",
            "Epochs": f"{solver.MAX_EPOCH}, for all networks",
        }


def _weight(cfg: CfgNode) -> float:
    """Of the teacher; 0 without one."""
    return cfg.DISTILL.WEIGHT if cfg.OBJECTIVE.NAME == "distill" else 0.0


def _sizes(cfg: CfgNode) -> tuple[int, int]:
    """Pixels of a side that a network sees in training and in testing."""
    small = cfg.DISTILL.STUDENT_SIZE if cfg.OBJECTIVE.NAME == "distill" else 0
    return small or cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE


def _test(member: Member) -> dict:
    return json.loads((member.folder / "results/test.json").read_text())


def _gflops(cfg: CfgNode) -> float:
    size = cfg.DATA.TEST_CROP_SIZE
    return gflops(build_model(cfg), (1, 3, frame_counts(cfg)[-1], size, size))


def _curve(member: Member) -> list[tuple[int, float]]:
    metric, (rate,) = DATASETS.get(member.cfg.TRAIN.DATASET).metric, frame_counts(member.cfg)
    return [(r["epoch"], r[f"{metric}_{rate}"]) for r in records(member, "val_epoch")]
