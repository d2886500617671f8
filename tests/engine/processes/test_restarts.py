"""Commands that are told to leave, and what starts them again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import TINY, tiny_cfg
from slowfast.engine import train
from slowfast.engine.processes.preemption import REQUEUE
from slowfast.engine.processes.world import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
CHANGES = {"TRAIN.BATCH_SIZE": 2, "SOLVER.MAX_EPOCH": 3, "LOG_PERIOD": 1, "TEST.ENABLE": False}


def _train(world: World, data: Path, output: Path) -> None:
    changes = [part for pair in CHANGES.items() for part in pair]
    train(tiny_cfg(data, output, *changes), world)


def steps(output: Path) -> list[int]:
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [r["step"] for r in map(json.loads, lines) if r["_type"] == "train_iter"]


def children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def arguments(data: Path, output: Path, *options: object) -> list[str]:
    """The command line of the tiny run in `output`, behind that of Python."""
    output.mkdir(exist_ok=True)
    yaml = output / "EMPTY.yaml"
    yaml.write_text("{}\n")
    pairs = TINY | CHANGES | {"DATA.PATH_TO_DATA_DIR": data, "OUTPUT_DIR": output}
    words = [word for pair in pairs.items() for word in pair]
    return ["tools/run_net.py", "--cfg", *map(str, [yaml, *words, *options])]


def start(command: list[str]) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, **pipes)


def wait_for_step(process: subprocess.Popen, output: Path, step: int) -> None:
    while len(steps(output)) < step and process.poll() is None:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(motion, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The final weights of a run in two processes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    run_processes(_train, 2, motion, folder)
    return weights(folder)


def weights(output: Path) -> dict[str, torch.Tensor]:
    path = output / "checkpoints/checkpoint_epoch_00003.pyth"
    return torch.load(path, weights_only=True)["model_state"]


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def test_torchrun_goes_on_after_one_of_its_processes_was_told_to_leave(motion, tmp_path, whole):
    output = tmp_path / "told"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = start([*torchrun, "--max-restarts=1", *arguments(motion, output)])
    wait_for_step(process, output, 20)
    os.kill(children(process.pid)[-1], signal.SIGUSR1)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert "told to leave (SIGUSR1)" in text and "resumed from" in text
    assert steps(output) == list(range(1, 49))
    assert_equal(weights(output), whole)


def test_a_command_told_to_leave_exits_with_the_requeue_code_and_goes_on(motion, tmp_path, whole):
    output = tmp_path / "told"
    command = arguments(motion, output, "NUM_GPUS", 2)
    process = start(command)
    wait_for_step(process, output, 20)
    process.terminate()
    text, _ = process.communicate(timeout=300)
    assert process.returncode == REQUEUE, text
    assert 20 <= len(steps(output)) < 48
    process = start(command)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert steps(output) == list(range(1, 49))
    assert_equal(weights(output), whole)
