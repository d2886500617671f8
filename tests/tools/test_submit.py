"""What tools/submit.py hands to SLURM, read from the batch script that sbatch would get."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.source import ROOT
from tools.submit import main

pytest.importorskip("submitit")

SBATCH = """#!/bin/sh
cp "$1" "{folder}/job.sh"
echo "Submitted batch job 4711"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a configuration and a `sbatch` that keeps the script."""
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("srun", "#!/bin/sh\n")):
        program = tmp_path / name
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "A.yaml").write_text("MODEL: {MODEL_NAME: C2D}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # as the tool does, but for a moment
    return tmp_path


def options(folder: Path) -> dict[str, str]:
    """The #SBATCH lines."""
    lines = (folder / "job.sh").read_text().splitlines()
    words = [line.split("--", 1)[1] for line in lines if line.startswith("#SBATCH --")]
    pairs = [shlex.split(word)[0].partition("=") for word in words]
    return {key: value for key, _, value in pairs}


def test_a_job_has_a_task_and_a_gpu_per_process_and_is_told_before_its_end(folder, monkeypatch):
    monkeypatch.delenv("SUBMITIT_PREEMPT_SIGNAL")
    job = ["--nodes", "2", "--gpus", "4", "--hours", "1.5", "--sbatch", "account=vision"]
    command = [sys.executable, str(ROOT / "tools/submit.py"), *job]
    run = ["--cfg", "A.yaml", "OUTPUT_DIR", str(folder / "run")]
    done = subprocess.run([*command, *run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "job 4711" in done.stdout
    found = options(folder)
    wanted = {"nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "4", "time": "90"}
    wanted |= {"signal": "USR1@300", "requeue": "", "account": "vision", "open-mode": "append"}
    assert wanted.items() <= found.items()
    assert "srun" in (script := (folder / "job.sh").read_text())
    assert "--kill-on-bad-exit=1" in script
    assert found["output"].startswith(str(folder / "run/slurm"))


def test_a_job_without_gpus_asks_for_none(folder):
    main(["--gpus", "0", "--tasks", "3", "--cfg", "A.yaml", "NUM_GPUS", "0"])
    found = options(folder)
    assert found["ntasks-per-node"] == "3" and not [key for key in found if "gpu" in key]


def test_a_wrong_key_is_refused_before_the_job_waits(folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--cfg", "A.yaml", "SOLVER.MAX_EPOHC", "3"])
    assert end.value.code == 2 and "SOLVER.MAX_EPOCH" in capsys.readouterr().err
    assert not (folder / "job.sh").exists()


def test_a_job_is_one_run(folder, capsys):
    assert main(["--cfg", "A.yaml", "A.yaml"]) == 2
    assert "one file to --cfg" in capsys.readouterr().err
    assert not (folder / "job.sh").exists()


def test_without_slurm_the_command_says_where_to_submit(folder, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert main(["--cfg", "A.yaml"]) == 2
    assert "submit from a machine of the SLURM cluster" in capsys.readouterr().err


def test_an_option_of_sbatch_without_a_value_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--sbatch", "vision", "--cfg", "A.yaml"])
    assert end.value.code == 2 and "--sbatch vision must be KEY=VALUE" in capsys.readouterr().err
