"""What the documents say can be done: commands parse, links lead somewhere, keys exist."""

import argparse
import contextlib
import importlib
import inspect
import io
import re
import runpy
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from helpers.source import ROOT
from slowfast import cli
from slowfast.config import get_cfg, load_cfg, parse_run_args

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md", "projects/*/README.md")
    for path in sorted(ROOT.glob(pattern))
}
# Pages of tools/*.py whose name is not the script's own.
SHARED_PAGES = dict.fromkeys(
    ("any_frame_study", "exit_study", "reskd_study", "size_study"), "study"
)
SOME_YAML = ROOT / "configs/Motion/R2PLUS1D_FFN.yaml"  # for commands whose YAML is not there yet
KEY = r"[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*\.[A-Z][A-Z0-9_]*"
STARTS = ("python tools/", "python -m slowfast ", "slowfast ", "torchrun ")


def code_blocks(text: str) -> list[str]:
    """The fenced blocks of a page, with continued lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    return [block.replace("\\\n", " ") for block in blocks]


def commands(text: str) -> list[list[str]]:
    """The words of each command of ours in the fenced blocks of a page."""
    lines = (line.strip() for block in code_blocks(text) for line in block.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith(STARTS)]


def inline_code(text: str) -> list[str]:
    """What stands in single backticks, outside of fenced blocks."""
    without = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.findall(r"`([^`\n]+)`", without)


def script_and_words(command: list[str]) -> tuple[str, list[str]]:
    """("data", ["init", "data/mine"]) of `python tools/data.py init data/mine` and its likes."""
    places = [i for i, word in enumerate(command) if word.startswith("tools/")]
    if places:
        return Path(command[places[0]]).stem, command[places[0] + 1 :]
    name, *words = command[command.index("slowfast") + 1 :]
    return ("doctor" if name == "doctor" else Path(cli.COMMANDS[name].script).stem), words


ALL = {
    f"{page}: {shlex.join(command)[:80]}": command
    for page, text in PAGES.items()
    for command in commands(text)
}


@pytest.mark.parametrize("command", ALL.values(), ids=ALL)
def test_a_command_parses(command, monkeypatch):
    script, words = script_and_words(command)
    if script == "run_net":
        return check_run(words)
    if script == "doctor":
        return check_flags("doctor", words)
    if script == "run_bundle":
        assert len(words) in (2, 3)
        return
    module = importlib.import_module(f"tools.{script}")
    monkeypatch.setattr(sys, "argv", [f"tools/{script}.py", *words])
    takes_words = inspect.signature(module.parse_args).parameters
    module.parse_args(words) if takes_words else module.parse_args()


def check_run(words: list[str]) -> None:
    """That run_net's words are right; of a YAML that is not there yet, what overrides it."""
    flag, path, *rest = words
    assert flag == "--cfg"
    if (ROOT / path).is_file():
        parse_run_args(["--cfg", str(ROOT / path), *rest])
        return
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    flags = [word for pair in pairs if pair[0].startswith("--") for word in pair]
    get_cfg().merge_from_list([word for pair in pairs for word in pair if word not in flags])
    parse_run_args(["--cfg", str(SOME_YAML), *flags])


def check_flags(script: str, words: list[str]) -> None:
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert flags <= options(script)


# ---------------------------------------------------------------------------- options


@cache
def option_actions(script: str) -> tuple[argparse.Action, ...]:
    """Every option of a script and of its subcommands, as its parsers have them."""
    parsers: list[argparse.ArgumentParser] = []
    build = argparse.ArgumentParser.__init__

    def keep(self, *args, **how):
        build(self, *args, **how)
        parsers.append(self)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(argparse.ArgumentParser, "__init__", keep)
        patch.setattr(sys, "argv", [script, "--help"])
        with pytest.raises(SystemExit):
            if script == "doctor":
                cli.main(["doctor", "--help"])
            runpy.run_path(str(ROOT / f"tools/{script}.py"), run_name="__main__")
    return tuple(a for parser in parsers for a in parser._actions if a.option_strings)


def options(script: str) -> set[str]:
    """{"--out", ...} of a script."""
    strings = {string for action in option_actions(script) for string in action.option_strings}
    return {string for string in strings if string.startswith("--")} - {"--help"}


# All but the program that needs nothing of this project, and takes three words and no options.
SCRIPTS = sorted(path.stem for path in (ROOT / "tools").glob("*.py") if path.stem != "run_bundle")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_says_what_it_is(script):
    silent = [action.option_strings for action in option_actions(script) if not action.help]
    assert not silent, f"tools/{script}.py: give add_argument a help= for {silent}"


@pytest.mark.parametrize("script", [*SCRIPTS, "doctor"])
def test_the_page_of_a_tool_names_no_option_it_lacks_and_tables_have_all(script):
    page = f"docs/{SHARED_PAGES.get(script, script)}.md"
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", PAGES[page]))
    if re.search(r"^\|.* options? \|", PAGES[page], re.M):
        assert options(script) <= named, f"{page} lacks {sorted(options(script) - named)}"
    known = set().union(*map(options, SCRIPTS), {"--nproc_per_node"})
    assert named <= known, f"{page} has {sorted(named - known)}, which no tool has"


def test_the_index_of_tools_links_every_page_and_names_every_tool():
    index = PAGES["docs/README.md"]
    pages = {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w.]+)\)", index))
    assert all(f"tools/{script}.py" in index or script.endswith("_study") for script in SCRIPTS)
    assert all(f"`slowfast {name}`" in index for name in [*cli.COMMANDS, "doctor"])


# ---------------------------------------------------------------------------- names and links


@pytest.mark.parametrize("page", PAGES)
def test_scripts_named_on_a_page_are_there(page):
    named = set(re.findall(r"\btools/\w+\.py", PAGES[page]))
    assert not [name for name in named if not (ROOT / name).is_file()]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: no {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page}: no {target}"


@pytest.mark.parametrize("page", PAGES)
def test_keys_in_backticks_exist_and_take_the_values_behind_them(page):
    for code in inline_code(PAGES[page]):
        if not re.match(KEY + r"(?:\s|$)", code) or "|" in code:
            continue
        key, *values = shlex.split(code)
        section, name = key.split(".", 1)
        cfg = get_cfg()
        if len(values) % 2 and not set(values) & {"..."}:
            cfg.merge_from_list([key, *values])
        else:
            assert name in cfg.get(section, ()), f"{page}: no key {key}"


def test_the_keys_of_configurations_on_pages_make_a_valid_one():
    for page, text in PAGES.items():
        for _, words in map(script_and_words, commands(text)):
            for word in words:
                if word.startswith(("configs/", "projects/")) and word.endswith(".yaml"):
                    assert load_cfg(ROOT / word), page


def test_the_questions_are_numbered_without_a_gap():
    numbers = re.findall(r"^### (\d+)\. ", PAGES["FAQ.md"], re.M)
    assert numbers == [str(i) for i in range(1, 26)]
