"""tools/demo.py without its page."""

import os
import subprocess
import sys

import pytest

from helpers.source import ROOT
from tools.demo import example_videos, main, newest_checkpoint


def test_without_a_trained_network_the_command_says_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match="make demo"):
        newest_checkpoint(tmp_path)


def test_the_newest_network_of_the_demo_is_taken(tmp_path):
    for seed, time in ((0, 2000), (1, 1000)):
        path = tmp_path / f"runs/study/seed_{seed}/ffn/checkpoints/best.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (time, time))
    first = tmp_path / "runs/study/seed_0/ffn/checkpoints/best.safetensors"
    assert newest_checkpoint(tmp_path) == first


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["best.safetensors"]) == 2
    assert "pip install 'slowfast-ffn[demo]'" in capsys.readouterr().err


def test_there_is_an_example_of_every_class_by_its_name(motion):
    names = (motion / "classes.txt").read_text().split()
    found = example_videos(motion, 16)
    assert sorted(found) == sorted(names)
    labels = dict(line.split() for line in (motion / "val.csv").read_text().splitlines())
    for name, path in found.items():
        assert names[int(labels[path.relative_to(motion).as_posix()])] == name


def test_help_imports_nothing_large():
    code = (
        "import sys, tools.demo as d\n"
        "try: d.main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'gradio', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
