"""Training of the motion data on two nodes of a real cluster: told to leave, requeued, finished."""

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.runs import TINY
from slowfast.datasets.motion import write_motion
from slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "projects/ffn/slurm/train.sbatch"
TOLD = {"told": "sbatch", "told_submitit": "tools/submit.py"}  # to leave, by how they came
STEPS = 24  # of an epoch: long enough for a signal to arrive within it
CHANGES = {
    "TRAIN.BATCH_SIZE": 2,
    "TRAIN.EVAL_PERIOD": 3,
    "TRAIN.CHECKPOINT_PERIOD": 3,
    "TRAIN.KEEP_CHECKPOINTS": 10,
    "SOLVER.MAX_EPOCH": 3,
    "DATA_LOADER.NUM_WORKERS": 1,
    "LOG_PERIOD": 1,
    "DIST.TIMEOUT": 5,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm."))  # short: sockets have no long paths
    with Cluster(folder) as cluster:
        yield cluster
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return write_motion(folder, train_videos=2 * STEPS, val_videos=16, workers=1)


def submit(cluster: Cluster, data: Path, output: Path, tool: str = "sbatch") -> str:
    """The number of a new job that trains and tests on two nodes, a task on each.

    `tool` is sbatch, with the template of the project, or tools/submit.py.
    """
    output.mkdir()
    yaml = output / "EMPTY.yaml"
    yaml.write_text("{}\n")
    options = TINY | CHANGES | {"DATA.PATH_TO_DATA_DIR": data, "OUTPUT_DIR": output}
    run = ["--cfg", str(yaml), *(str(part) for pair in options.items() for part in pair)]
    if tool == "sbatch":
        command = ["sbatch", "--cpus-per-task=1", f"--output={output}/job.log", str(TEMPLATE), *run]
    else:
        job = ["--nodes=2", "--gpus=0", "--tasks=1", "--cpus=1", f"--logs={output}/slurm"]
        command = [sys.executable, str(ROOT / tool), *job, *run]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = cluster.call(*command, cwd=ROOT, env=cluster.env | {"PATH": path})
    return re.search(r"job (\d+)", printed)[1]


def records(output: Path, kind: str) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["_type"] == kind]


def scancel(cluster: Cluster, outputs: dict[str, Path], step: int, *options: str) -> None:
    """Call scancel for each job, a key of `outputs`, as soon as it has taken `step` steps."""
    end, waiting = time.monotonic() + 150, dict(outputs)
    while waiting:
        for job, output in outputs.items():
            if job in waiting and len(records(output, "train_iter")) >= step:
                cluster.call("scancel", *options, job)
                del waiting[job]
            elif job in waiting and cluster.job(job)["JobState"] in ("FAILED", "COMPLETED"):
                end = 0.0
        if time.monotonic() > end:
            pytest.fail("\n".join([*map(log, waiting.values()), cluster.logs()]))
        time.sleep(0.02)


def finish(cluster: Cluster, job: str, output: Path) -> dict[str, str]:
    """The job when it has ended, which must be well."""

    def over(shown: dict[str, str]) -> bool:
        return shown["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")

    shown = cluster.wait(job, over, seconds=180)
    assert shown["JobState"] == "COMPLETED", log(output)
    return shown


def log(output: Path) -> str:
    """What the run has logged, and what else it has printed."""
    files = [output / "stdout.log", output / "job.log", *output.glob("slurm/*_log.*")]
    return "\n".join(path.read_text() for path in files if path.exists())


def last_checkpoint(output: Path) -> dict[str, Any]:
    return torch.load(output / "checkpoints/checkpoint_epoch_00003.pyth", weights_only=True)


@pytest.fixture(scope="module")
def runs(cluster, data, tmp_path_factory) -> dict[str, Path]:
    """Outputs of a run that nobody disturbs, and of two told to leave within their second epoch."""
    folder = tmp_path_factory.mktemp("runs")
    outputs = {name: folder / name for name in ("whole", *TOLD)}
    jobs = {
        name: submit(cluster, data, output, TOLD.get(name, "sbatch"))
        for name, output in outputs.items()
    }
    told = {jobs[name]: outputs[name] for name in TOLD}
    scancel(cluster, told, STEPS + 3, "--signal=USR1")
    shown = {name: finish(cluster, job, outputs[name]) for name, job in jobs.items()}
    restarts = {name: int(one["Restarts"]) for name, one in shown.items()}
    assert restarts == {"whole": 0} | dict.fromkeys(TOLD, 1)
    return outputs


def test_the_job_trains_in_a_process_per_node(runs):
    assert "2 processes (SLURM job" in log(runs["whole"])


@pytest.mark.parametrize("name", TOLD)
def test_a_job_told_to_leave_saves_within_the_epoch_and_goes_on_from_there(runs, name):
    text = log(runs[name])
    assert "told to leave (SIGUSR1)" in text
    (saved,) = [path.name for path in (runs[name] / "checkpoints").glob("*_step_*")]
    assert f"resumed from {runs[name]}/checkpoints/{saved}: 1 epochs and" in text


@pytest.mark.parametrize("name", TOLD)
def test_its_final_state_equals_that_of_a_run_without_the_interruption(runs, name):
    whole, told = (last_checkpoint(runs[one]) for one in ("whole", name))
    assert whole["model_state"].keys() == told["model_state"].keys()
    for key, tensor in whole["model_state"].items():
        assert torch.equal(tensor, told["model_state"][key]), key
    for number, state in whole["optimizer_state"]["state"].items():
        momentum = told["optimizer_state"]["state"][number]["momentum_buffer"]
        assert torch.equal(state["momentum_buffer"], momentum)


@pytest.mark.parametrize("name", TOLD)
def test_its_losses_and_test_equal_those_of_a_run_without_the_interruption(runs, name):
    whole, told = (
        [(record["step"], record["loss"]) for record in records(runs[one], "train_iter")]
        for one in ("whole", name)
    )
    assert len(whole) == 3 * STEPS and told == whole
    whole, told = ((runs[one] / "results/predictions.csv").read_text() for one in ("whole", name))
    assert told == whole


def test_a_job_that_its_user_cancels_saves_and_is_not_requeued(cluster, data, tmp_path):
    output = tmp_path / "cancelled"
    job = submit(cluster, data, output)
    scancel(cluster, {job: output}, 3)
    shown = cluster.wait(job, lambda job: job["JobState"] == "CANCELLED", seconds=60)
    time.sleep(1)
    assert cluster.job(job)["JobState"] == "CANCELLED" and shown["Restarts"] == "0"
    assert "was cancelled" in log(output)
    assert [p.name[:31] for p in (output / "checkpoints").iterdir()] == [
        "checkpoint_epoch_00000_step_000"
    ]
