"""Train one network per frame count and one flexible network, test all everywhere, report.

The comparison behind the Temporal Frequency Deviation figure of FFN (arXiv:2303.14817, figure 1),
for any configuration with FFN.ENABLE: its plain twins differ in nothing but the frame count.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast.config import frame_counts, trained_sizes
from slowfast.datasets import DATASETS, build_loader
from slowfast.datasets.lists import class_names
from slowfast.engine.test import load_test_weights
from slowfast.models import build_model
from slowfast.models.flexible import all_rates
from slowfast.report import Cost, CurvePoint, Dataset, Report, Run, costs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One network of the study at one seed, in its own folder."""

    name: str
    cfg: CfgNode

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def work(self) -> int:
        """Pixels its training looks at per video, for balance and progress."""
        sizes = trained_sizes(self.cfg) or (self.cfg.DATA.TRAIN_CROP_SIZE,)
        pixels = sum(rate.pixels for rate in all_rates(frame_counts(self.cfg), sizes))
        return pixels * self.cfg.SOLVER.MAX_EPOCH


def members(cfg: CfgNode, seed: int, folder: Path) -> list[Member]:
    """The flexible network of `cfg` and a plain twin per trained count, most work first.

    Raises ValueError if `cfg` is not of a flexible network, or is of several sizes.
    """
    if not cfg.FFN.ENABLE:
        raise ValueError("a study compares a flexible network with plain ones; set FFN.ENABLE True")
    check_one_size(cfg)
    variants = {"ffn": []} | {
        f"plain_{t}": ["FFN.ENABLE", False, "DATA.NUM_FRAMES", t] for t in frame_counts(cfg)
    }
    found = [variant(cfg, name, overrides, seed, folder) for name, overrides in variants.items()]
    return sorted(found, key=lambda member: -member.work)


def check_one_size(cfg: CfgNode) -> None:
    """ValueError where a study of frame counts alone would find sizes among its results."""
    if trained_sizes(cfg) or cfg.TEST.SIZES:
        raise ValueError(
            f"FFN.SIZES={list(cfg.FFN.SIZES)} and TEST.SIZES={list(cfg.TEST.SIZES)}: the study is "
            "one of frame counts alone, set both to []; tools/size_study.py is one of sizes"
        )


def variant(
    cfg: CfgNode, name: str, overrides: Sequence[object], seed: int, folder: Path
) -> Member:
    """The network `name` of a study: `cfg` with `overrides`, at `seed`, in `folder/name`."""
    one = cfg.clone()
    one.defrost()
    one.merge_from_list([*overrides, "RNG_SEED", seed, "OUTPUT_DIR", str(folder / name)])
    one.freeze()
    return Member(name, one)


def run_members(pending: Sequence[Member], processes: int) -> None:
    """Run each member in a process of its own, `processes` at a time, under one progress bar.

    A member whose test.json is there is not run again.  Raises ValueError if a folder holds a run
    of another configuration and RuntimeError, with the end of its output, if a run fails.
    """
    for member in pending:
        _check_same_configuration(member)
    longest = max((member.work for member in pending), default=0)
    pending = [member for member in pending if not (member.folder / "results/test.json").exists()]
    bar = tqdm(
        total=sum(m.work for m in pending), desc=f"training {len(pending)} networks", unit="pixel"
    )
    bar.bar_format = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}] {postfix}"
    with bar, ThreadPoolExecutor(processes) as pool:
        # The longest decide when all are done: where processes share a core, the others wait.
        jobs = [pool.submit(_run_in_process, m, 0 if m.work == longest else 10) for m in pending]
        while not all(job.done() for job in jobs):
            time.sleep(0.5)
            states = [(member, _epochs_done(member)) for member in pending]
            bar.n = sum(m.work * done / m.cfg.SOLVER.MAX_EPOCH for m, done in states)
            bar.set_postfix_str(", ".join(f"{m.folder.name} {done}" for m, done in states if done))
        for job in jobs:
            job.result()


def _check_same_configuration(member: Member) -> None:
    kept = member.folder / "config.yaml"
    if kept.exists() and kept.read_text() != member.cfg.dump():
        raise ValueError(
            f"{member.folder} holds a run of another configuration; remove it or use another folder"
        )


def _run_in_process(member: Member, niceness: int) -> None:
    member.folder.mkdir(parents=True, exist_ok=True)
    config = member.folder / "config.yaml"
    config.write_text(member.cfg.dump())
    python = ["nice", "-n", str(niceness), sys.executable]
    command = [*python, "-m", "slowfast.engine", "--cfg", str(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{member.folder} failed:\n{done.stdout[-2000:]}")


def records(member: Member, kind: str) -> Iterator[dict]:
    """The lines of that kind in the member's metrics.jsonl, oldest first."""
    path = member.folder / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        if (record := json.loads(line))["_type"] == kind:
            yield record


def _epochs_done(member: Member) -> int:
    return max((record["epoch"] for record in records(member, "train_epoch")), default=0)


def build_report(by_seed: dict[int, list[Member]], title: str, commands: Sequence[str]) -> Report:
    """The report of finished members, the same ones for every seed; costs are measured here."""
    first, *_ = by_seed.values()
    ffn, high = first[:2]
    # Plain twins are the same network at run time: what one costs, all cost.
    measured = {member.cfg.FFN.ENABLE: _costs(member) for member in (ffn, high)}
    runs = tuple(
        Run.from_tests(
            [member.folder / "results/test.json" for member in seeds],
            costs=measured[seeds[0].cfg.FFN.ENABLE],
            curves=[point for member in seeds for point in _curve(member)],
        )
        for seeds in zip(*by_seed.values(), strict=True)
    )
    return Report(
        title=title,
        dataset=dataset_of(ffn.cfg),
        rates=frame_counts(ffn.cfg),
        tested=tuple(runs[0].accuracy),
        runs=runs,
        seeds=tuple(by_seed),
        commands=tuple(commands),
        cost_note=f"costs of one clip in 32-bit floats, CPU threads: {torch.get_num_threads()}.",
    )


def _costs(member: Member) -> dict[int, Cost]:
    model = build_model(member.cfg)
    load_test_weights(model, member.cfg)
    tested = member.cfg.TEST.NUM_FRAMES or frame_counts(member.cfg)
    return costs(model, tested, member.cfg.DATA.TEST_CROP_SIZE)


def _curve(member: Member) -> Iterator[CurvePoint]:
    metric = DATASETS.get(member.cfg.TRAIN.DATASET).metric
    for record in records(member, "val_epoch"):
        for rate in frame_counts(member.cfg):
            yield CurvePoint(record["epoch"], rate, record[f"{metric}_{rate}"])


def dataset_of(cfg: CfgNode) -> Dataset:
    """What the networks of `cfg` learn, in numbers."""
    train, test = build_loader(cfg, "train").dataset, build_loader(cfg, "test").dataset
    classes = tuple(class_names(cfg.DATA.PATH_TO_DATA_DIR))
    return Dataset(cfg.TRAIN.DATASET, classes, len(train), len(test))
