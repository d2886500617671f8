"""What tools/submit.py hands to SLURM, read from the batch script that sbatch would get."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.source import ROOT

pytest.importorskip("submitit")

SBATCH = """#!/bin/sh
cp "$1" "{folder}/job.sh"
echo "Submitted batch job 4711"
"""


@pytest.fixture
def submit(tmp_path):
    """Runs the tool beside a `sbatch` that keeps the script; returns the process."""
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("srun", "#!/bin/sh\n")):
        program = tmp_path / name
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "A.yaml").write_text("MODEL: {MODEL_NAME: C2D}\n")

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools/submit.py"), *words]
        env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    return run


def options(folder: Path) -> dict[str, str]:
    """The #SBATCH lines."""
    lines = (folder / "job.sh").read_text().splitlines()
    words = [line.split("--", 1)[1] for line in lines if line.startswith("#SBATCH --")]
    pairs = [shlex.split(word)[0].partition("=") for word in words]
    return {key: value for key, _, value in pairs}


def test_a_job_has_a_task_and_a_gpu_per_process_and_is_told_before_its_end(submit, tmp_path):
    job = ["--nodes", "2", "--gpus", "4", "--hours", "1.5", "--sbatch", "account=vision"]
    done = submit(*job, "--cfg", "A.yaml", "OUTPUT_DIR", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "job 4711" in done.stdout
    found = options(tmp_path)
    wanted = {"nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "4", "time": "90"}
    wanted |= {"signal": "USR1@300", "requeue": "", "account": "vision", "open-mode": "append"}
    assert wanted.items() <= found.items()
    assert "srun" in (script := (tmp_path / "job.sh").read_text())
    assert "--kill-on-bad-exit=1" in script
    assert found["output"].startswith(str(tmp_path / "run/slurm"))


def test_a_job_without_gpus_asks_for_none(submit, tmp_path):
    assert submit("--gpus", "0", "--tasks", "3", "--cfg", "A.yaml", "NUM_GPUS", "0").returncode == 0
    found = options(tmp_path)
    assert found["ntasks-per-node"] == "3" and not [key for key in found if "gpu" in key]


def test_a_wrong_key_is_refused_before_the_job_waits(submit, tmp_path):
    done = submit("--cfg", "A.yaml", "SOLVER.MAX_EPOHC", "3")
    assert done.returncode == 2 and "SOLVER.MAX_EPOCH" in done.stderr
    assert not (tmp_path / "job.sh").exists()


def test_a_job_is_one_run(submit, tmp_path):
    done = submit("--cfg", "A.yaml", "A.yaml")
    assert done.returncode == 1 and "one file to --cfg" in done.stderr
    assert not (tmp_path / "job.sh").exists()
