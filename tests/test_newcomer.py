"""GETTING_STARTED.md walked from top to bottom: class folders of mp4 files to an exported network.

The commands are those of the page.  The short way runs them in this process, with few steps and
small clips; the whole way runs them as they stand, as a newcomer would.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.source import ROOT
from helpers.videos import write_video
from slowfast.config import load_cfg
from slowfast.models import build_model
from slowfast.weights import save
from tools.convert_weights import save_for_pyslowfast

for package in ("onnx", "onnxruntime", "onnxscript"):  # of the extra that exports
    pytest.importorskip(package)

PAGE = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.S | re.M)
    for line in block.splitlines()
]
BEST = "runs/mine/checkpoints/best.safetensors"
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
CLASSES = {"opening a door": 2, "closing a door": -2}  # pixels per frame
# What the short way puts behind the words of a command.
FEW_STEPS = "SOLVER.MAX_EPOCH 2 SOLVER.WARMUP_EPOCHS 0 DATA_LOADER.NUM_WORKERS 0 LOG_PERIOD 100"
SMALL = "DATA.TRAIN_CROP_SIZE 32 DATA.TEST_CROP_SIZE 32 DATA.TRAIN_JITTER_SCALES [32,40]"
SHORTER = {
    "data.py check": "--workers 1",
    "run_net.py": f"{FEW_STEPS} {SMALL}",
    "run_net.py --cfg projects": "SOLVER.MAX_EPOCH 1 FFN.NUM_FRAMES [1,2,3]",
    "measure.py": "--seconds 1",
    "export.py": "--formats bundle --rates 8 --repeats 1",
}


def make_videos(folder: Path, count: int = 6) -> None:
    """A box that moves to the right or to the left, in a folder per class."""
    rng = np.random.default_rng(0)
    for name, step in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            start, y = rng.integers(20), rng.integers(30)
            frames = np.full((20, 48, 64, 3), 60, np.uint8)
            for t, frame in enumerate(frames):
                x = (start + step * t) % 52
                frame[y : y + 12, x : x + 12] = (220, 200, 40)
            write_video(folder / name / f"{number:02d}.mp4", frames)


def make_workplace(folder: Path) -> None:
    """What the page takes for granted: the clone, videos, the demo's network, published weights."""
    for name in ("tools", "configs", "projects"):
        (folder / name).symlink_to(ROOT / name)
    make_videos(folder / "data/mine")
    demo = folder / "runs/study/seed_0/ffn/checkpoints/best.safetensors"
    demo.parent.mkdir(parents=True)
    cfg = load_cfg(ROOT / "configs/Motion/R2PLUS1D_FFN.yaml")
    save(build_model(cfg), cfg, demo)
    cfg = load_cfg(ROOT / "configs/Kinetics/X3D_S.yaml")
    (folder / "weights").mkdir()
    save_for_pyslowfast(build_model(cfg), cfg, folder / "weights/x3d_s.pyth")


def run_here(command: list[str]) -> str:
    """What a command prints, run in this process in its short form; AssertionError if it fails."""
    _, script, *words = command
    joined = shlex.join([Path(script).name, *words])
    shorter = [text for start, text in SHORTER.items() if joined.startswith(start)]
    argv, sys.argv = sys.argv, [script, *words, *" ".join(shorter).split()]
    printed, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert end.code in (None, 0), f"{joined}: {end.code}\n{errors.getvalue()}"
    finally:
        sys.argv = argv
    return printed.getvalue()


def run_apart(command: list[str]) -> str:
    """What a command prints, run as it stands."""
    words = [sys.executable, *command[1:]]
    if "X3D_S_FFN" in shlex.join(words):
        words += ["SOLVER.MAX_EPOCH", "1"]  # its 22 epochs would take most of the time
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def walk(folder: Path, run: Callable[[list[str]], str]) -> dict[str, str]:
    """What each command of the page prints, by its words; it ends in `folder`."""
    make_workplace(folder)
    os.chdir(folder)
    return {shlex.join(command[1:]): run(command) for command in COMMANDS}


def printed_by(printed: dict[str, str], start: str) -> str:
    """What the only command that starts so has printed."""
    (text,) = (text for words, text in printed.items() if words.startswith(start))
    return text


def check(printed: dict[str, str]) -> None:
    """What the page promises: pictures, networks, tests, and one answer whoever gives it."""
    assert Path("data/mine/sheet.png").stat().st_size > 10_000
    for run in ("mine", "mine_tuned", "mine_x3d"):
        assert Path("runs", run, "checkpoints/best.safetensors").is_file()
    tested = json.loads(Path("runs/mine/results/test.json").read_text())
    assert list(tested["by_frames"]) == ["2", "4", "6", "8", "12", "16"]
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + 2
    ours = top_1(printed_by(printed, f"tools/predict.py {BEST} 'data/mine/opening a door/01.mp4'"))
    theirs = top_1(printed_by(printed, "tools/run_bundle.py"))
    assert ours[0] == theirs[0]
    assert ours[1] == pytest.approx(theirs[1], abs=0.002)  # predict.py prints tenths of a percent


def top_1(text: str) -> tuple[str, float]:
    """The first class in what a command prints of a video, and its score, 0 to 1."""
    answer = text.rpartition(".mp4: ")[2]  # which predict.py puts behind the path
    name = re.search("|".join(CLASSES), answer)[0]
    if percent := re.search(r"([\d.]+)%", answer):
        return name, float(percent[1]) / 100
    return name, float(re.search(r"\d\.\d+", answer)[0])


@pytest.fixture
def workplace(tmp_path):
    before = os.getcwd()
    yield tmp_path
    os.chdir(before)


def test_the_short_way_ends_in_one_answer_of_predict_and_of_the_exported_bundle(workplace, capsys):
    check(walk(workplace, run_here))
    exec(PYTHON, {})  # noqa: S102  (it is the page's)
    name, score = re.match(r"([a-z ]+) ([\d.]+) from 16 frames", capsys.readouterr().out).groups()
    assert name in CLASSES and float(score) >= 0.5


@pytest.mark.slow
def test_the_whole_way_ends_in_one_answer_of_predict_and_of_the_exported_bundle(workplace):
    check(walk(workplace, run_apart))
