"""A run that is killed thirty times ends as one that never was."""

import json
import random
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.kills import RECORD, Life
from helpers.runs import tiny_cfg
from slowfast.config import CfgNode
from slowfast.engine import train
from slowfast.engine.files.checkpoint import Checkpoints, progress, read
from slowfast.weights import read_header
from slowfast.weights.torch_file import has_checksum

KILLS = 30
STEPS = 16  # of an epoch: 32 videos that can be read and one that cannot, the odd one is left out
EPOCHS = 3
OPTIONS = {
    "MODEL.DROPOUT_RATE": 0.5,  # so that random numbers matter
    "SOLVER.MAX_EPOCH": EPOCHS,
    "TRAIN.EMA_DECAY": 0.9,
    "TRAIN.BATCH_SIZE": 2,
    "TRAIN.CHECKPOINT_STEPS": 3,
    "TRAIN.KEEP_CHECKPOINTS": 2,
    "LOG_PERIOD": 1,
    "NUM_THREADS": 1,
}
TIMES = ("data_wait", "seconds")  # not the same in any two runs


def configuration(data: Path, folder: Path, *overrides: object) -> CfgNode:
    return tiny_cfg(data, folder, *(v for pair in OPTIONS.items() for v in pair), *overrides)


def draw_end(draw: random.Random) -> tuple[str, int] | float:
    """Where a life ends: right before a call within a save or rewind, or some time after a record.

    A save makes some 500 calls of write, two of fsync, one of replace, and one or two of unlink.
    """
    ends = [(name, draw.randrange(n)) for name, n in [("fsync", 7), ("replace", 4), ("unlink", 6)]]
    return draw.choice([*ends, ("write", draw.randrange(1500)), draw.uniform(0, 5)])


def live_until(end: tuple[str, int] | float | None, cfg: CfgNode) -> tuple[bool, int | None]:
    """Train until `end`, None being that of the run: whether it was killed, the first step told."""
    first = None
    with Life(train, cfg, until=end if isinstance(end, tuple) else None) as life:
        records = 0
        for call in life.calls():
            if call.name != RECORD:
                continue
            first = first or call.step
            records += 1
            if isinstance(end, float) and records > end:
                time.sleep(end % 1 / 10)  # about the time of a step
                life.kill()
        return life.was_killed, first


def curve(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def steps_done(folder: Path) -> int:
    """Those that the newest checkpoint knows of."""
    epoch, step = max(map(progress, Checkpoints(folder / "checkpoints").paths()), default=(0, 0))
    return epoch * STEPS + step


def assert_all_readable(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*.pyth"):
        assert has_checksum(path)
        read(path)
    for path in (folder / "checkpoints").glob("*.safetensors"):
        read_header(path)


def assert_same_run(folder: Path, expected: Path) -> None:
    """The same curve, and the same last and best checkpoint but for the configuration in them."""
    assert curve(folder) == curve(expected)
    for name in (f"checkpoint_epoch_{EPOCHS:05d}.pyth", "best.pyth"):
        states = [read(run / "checkpoints" / name) for run in (folder, expected)]
        assert_same(*({k: v for k, v in state.items() if k != "cfg"} for state in states))
    best = [load_file(run / "checkpoints/best.safetensors") for run in (folder, expected)]
    assert_same(*best)


def assert_same(found: object, expected: object, place: str = "") -> None:
    """Equal values, bit for bit, in nested containers."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), place
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            assert_same(found[key], expected[key], f"{place}.{key}")
    else:
        assert found == expected, place


@pytest.fixture(scope="module")
def data(motion, tmp_path_factory):
    """The motion data and a video that cannot be read, which checkpoints have to remember."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "broken.mp4").write_bytes(b"not a video")
    for split in ("train", "val"):
        lines = [f"{motion}/{line}" for line in (motion / f"{split}.csv").read_text().splitlines()]
        (folder / f"{split}.csv").write_text("\n".join([*lines, "broken.mp4 3"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with Life(train, configuration(data, folder)) as life:
        assert life.exit_code == 0
    return folder


def test_a_run_killed_thirty_times_equals_one_that_was_not_interrupted(
    uninterrupted, data, tmp_path
):
    draw, kills, half_written, folder = random.Random(0), 0, 0, tmp_path / "0"
    while True:
        background = draw.random() < 0.5
        cfg = configuration(data, folder, "TRAIN.CHECKPOINT_BACKGROUND", background)
        done = steps_done(folder)
        killed, first = live_until(draw_end(draw) if kills < KILLS else None, cfg)
        kills += killed
        assert first in (None, done + 1), f"kill {kills}: the run did not go on where it was saved"
        assert_all_readable(folder)
        half_written += any((folder / "checkpoints").glob("*.tmp"))
        if not killed:
            assert_same_run(folder, uninterrupted)
            if kills == KILLS:
                break
            folder = tmp_path / str(kills)  # this run was finished before its time
    assert half_written, "no kill came within a save"


def test_a_run_with_a_damaged_newest_checkpoint_equals_one_that_was_not_interrupted(
    uninterrupted, data, tmp_path
):
    cfg = configuration(data, tmp_path)
    assert live_until(("replace", 3), cfg) == (True, 1)  # in the fourth save
    newest = Checkpoints(tmp_path / "checkpoints").paths()[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert live_until(None, cfg) == (False, 7)
    assert_same_run(tmp_path, uninterrupted)
