"""How the tools end: a mistake in one sentence and exit code 2, Ctrl-C in a word and 130."""

import importlib
import subprocess
import sys
from argparse import Namespace

import pytest

from helpers.source import ROOT
from slowfast.command_line import exit_code

# Not here: run_net.py, whose codes are those of a run, and run_bundle.py, which users copy.
MISTAKES = {  # words, and what is said of them
    "any_frame_study": (["--data", "{file}/x"], "Not a directory"),
    "benchmark": (["step", "--cfg", "none.yaml"], "none.yaml does not exist"),
    "convert_weights": (["a.pyth", "--cfg", "none.yaml", "--out", "b.pyth"], "none.yaml does not"),
    "data": (["check", "none.yaml"], "none.yaml does not exist"),
    "demo": (["none.safetensors"], ""),  # Gradio or the file, whichever is missed first
    "exit_study": (["--data", "{file}/x"], "Not a directory"),
    "explain": (["changes", "none.csv"], "none.csv does not exist"),
    "export": (["none.safetensors", "--out", "x"], "none.safetensors: no such file"),
    "features": (["none.safetensors", "{file}", "--out", "x"], "none.safetensors: no such file"),
    "measure": (["none.safetensors"], "none.safetensors: no such file"),
    "model_zoo": ([], ""),
    "predict": (["none.safetensors", "{file}"], "none.safetensors: no such file"),
    "reskd_study": (["--data", "{file}/x"], "Not a directory"),
    "size_study": (["--data", "{file}/x"], "Not a directory"),
    "study": (["--data", "{file}/x"], "Not a directory"),
    "submit": (["--cfg", "none.yaml"], "none.yaml does not exist"),
}


def test_every_tool_is_here():
    names = {path.stem for path in (ROOT / "tools").glob("*.py")} - {"run_net", "run_bundle"}
    assert names == set(MISTAKES)


@pytest.mark.parametrize("name", MISTAKES)
def test_every_tool_ends_as_the_others_do(name, monkeypatch):
    tool = importlib.import_module(f"tools.{name}")
    monkeypatch.setattr(tool, "exit_code", lambda run, args: 7)
    monkeypatch.setattr(sys, "argv", [name, *MISTAKES[name][0]])
    assert tool.main() == 7


@pytest.mark.parametrize("name", ["benchmark", "convert_weights", "demo", "export", "study"])
def test_a_mistake_is_one_sentence_and_exit_code_2(name, tmp_path):
    words, said = MISTAKES[name]
    (tmp_path / "file").touch()
    words = [word.format(file=tmp_path / "file") for word in words]
    command = [sys.executable, str(ROOT / f"tools/{name}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr


def test_ctrl_c_ends_a_tool_with_a_word(capsys):
    def interrupted(_args):
        raise KeyboardInterrupt

    assert exit_code(interrupted, Namespace()) == 130
    assert capsys.readouterr().err == "stopped\n"
