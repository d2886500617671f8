"""The command `slowfast`, the same as `python -m slowfast`: one name for all command lines.

`slowfast doctor` is in the package.  The others are the scripts in `tools/`, run as they are: those
of a clone that was installed with `pip install -e .`, or the copies in the package if it has any.
This module loads nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent
FOLDERS = (PACKAGE / "tools", PACKAGE.parent / "tools")  # copies in the package; a clone
SWITCHES = {  # what `train` and `test` say behind the words of the user
    "train": ("TRAIN.ENABLE", "True"),
    "test": ("TRAIN.ENABLE", "False", "TEST.ENABLE", "True"),
}


class Command(NamedTuple):
    """A script of `tools/` and what it is for, in one line."""

    script: str
    text: str


COMMANDS = {
    "data": Command("data.py", "lists, checks, smaller copies and pictures of a data set"),
    "train": Command("run_net.py", "train a network, and test it if its YAML says so"),
    "test": Command("run_net.py", "test a trained network"),
    "predict": Command("predict.py", "classes of videos at any frame count or within a budget"),
    "measure": Command("measure.py", "store what each frame count costs here, for budgets"),
    "export": Command("export.py", "ONNX, torch.export and one-file bundles, with parity"),
    "features": Command("features.py", "a vector per video or window, for other programs"),
    "explain": Command("explain.py", "what a network looked at, and where frame counts disagree"),
    "demo": Command("demo.py", "a web page: drop a video, slide the frame count"),
    "convert": Command("convert_weights.py", "published checkpoints to files of this project"),
    "benchmark": Command("benchmark.py", "time and memory, each against another way"),
    "study": Command("study.py", "one flexible network against separate ones, on motion data"),
    "submit": Command("submit.py", "a training as a SLURM job"),
}
DOCTOR = "what is installed, whether it works, what is missing"


def usage() -> str:
    """The text of `slowfast --help`."""
    lines = {"doctor": DOCTOR} | {name: command.text for name, command in COMMANDS.items()}
    listed = "\n".join(f"  {name:10} {text}" for name, text in lines.items())
    return (
        "usage: slowfast COMMAND ...\n\n"
        "Video networks that keep their accuracy at any frame count.\n\n"
        f"commands:\n{listed}\n\n"
        "`slowfast COMMAND --help` explains one; its options are those of the script in tools/."
    )


def find_script(script: str) -> Path:
    """Where a script of `tools/` lies; ValueError with the way to get it if it is not there."""
    for folder in FOLDERS:
        if (folder / script).is_file():
            return folder / script
    raise ValueError(
        f"this installation has no tools/{script}: clone the project, run `pip install -e .` in "
        "the clone, and try again"
    )


def run_script(path: Path, name: str, words: Sequence[str]) -> None:
    """Run the script at `path` as `python PATH WORDS` would, with the switches of `name`."""
    has_cfg = any(word.partition("=")[0] == "--cfg" for word in words)
    switches = SWITCHES.get(name, ()) if has_cfg else ()
    before = sys.argv
    sys.argv = [str(path), *words, *switches]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; a mistake in it ends in one sentence and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if words else 2)
    name, *rest = words
    if name == "doctor":
        from slowfast.doctor import main as doctor

        sys.exit(doctor(rest))
    try:
        script = find_script(command(name).script)
    except ValueError as error:
        print(f"slowfast: {error}", file=sys.stderr)
        sys.exit(2)
    run_script(script, name, rest)


def command(name: str) -> Command:
    """The command called `name`; ValueError with the nearest one if there is none."""
    if name not in COMMANDS:
        close = get_close_matches(name, ["doctor", *COMMANDS], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no command {name!r}; {hint}see `slowfast --help`")
    return COMMANDS[name]
