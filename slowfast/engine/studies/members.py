"""The networks of a study: what each is, how they are run, and what they leave behind."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast.config import frame_counts, trained_sizes
from slowfast.datasets import build_loader
from slowfast.datasets.lists import class_names
from slowfast.models.flexible import all_rates
from slowfast.report import Dataset


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
    of another configuration and ChildProcessError, with the end of its output, if a run fails.
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
        try:
            while not all(job.done() for job in jobs):
                time.sleep(0.5)
                _show(bar, pending)
        except KeyboardInterrupt:  # ends those that run, too; those that wait must not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        for job in jobs:
            job.result()


def _show(bar: tqdm, pending: Sequence[Member]) -> None:
    states = [(member, _epochs_done(member)) for member in pending]
    bar.n = sum(m.work * done / m.cfg.SOLVER.MAX_EPOCH for m, done in states)
    bar.set_postfix_str(", ".join(f"{m.folder.name} {done}" for m, done in states if done))


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
        raise ChildProcessError(f"{member.folder} failed:\n{done.stdout[-2000:]}")


def records(member: Member, kind: str) -> Iterator[dict]:
    """The lines of that kind in the member's metrics.jsonl, oldest first."""
    path = member.folder / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        if (record := json.loads(line))["_type"] == kind:
            yield record


def _epochs_done(member: Member) -> int:
    return max((record["epoch"] for record in records(member, "train_epoch")), default=0)


def dataset_of(cfg: CfgNode) -> Dataset:
    """What the networks of `cfg` learn, in numbers."""
    train, test = build_loader(cfg, "train").dataset, build_loader(cfg, "test").dataset
    classes = tuple(class_names(cfg.DATA.PATH_TO_DATA_DIR))
    return Dataset(cfg.TRAIN.DATASET, classes, len(train), len(test))
