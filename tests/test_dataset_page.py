"""DATASET.md: every command on it works, on miniatures laid out as it says."""

import os
import re
import shlex

import pytest

from helpers import miniatures
from helpers.miniatures import Videos
from helpers.source import ROOT
from slowfast.config import get_cfg, parse_args
from slowfast.datasets import DATASETS
from tools.data import main

PAGE = (ROOT / "DATASET.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.splitlines()]
# The layouts by the folder that the page gives them; all have three classes but two of them.
MADE = {
    **{"mine": "class_folders", "kinetics400": "kinetics"},
    **{name: name for name in miniatures.ALL if name != "kinetics"},
}
CLASSES = {"mine": 2, "imagenet": 2}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which the page's paths lead to miniatures and to the project's files."""
    folder = tmp_path_factory.mktemp("page")
    videos = Videos(tmp_path_factory.mktemp("source"))
    for name, layout in MADE.items():
        (folder / "data" / name).mkdir(parents=True)
        getattr(miniatures, layout)(folder / "data" / name, videos)
    for name in ("configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def classes_of(command: list[str]) -> int:
    """How many classes the miniature has that the command names first."""
    named = re.findall(r"data/(\w+)", " ".join(command))[0]
    return CLASSES.get(named, 3)


def test_the_page_has_a_layout_for_each_miniature():
    assert {name for name in MADE if f"data/{name}/" in PAGE} == set(MADE)


def test_every_command_works_in_the_order_of_the_page(workplace, capsys):
    used = set()
    for python, script, *words in COMMANDS:
        assert python == "python" and (workplace / script).exists()
        used.add(words[0])
        if script == "tools/run_net.py":
            parse_args(words)
            continue
        if words[0] in ("check", "pack", "show"):
            words += ["--workers", "1", "MODEL.NUM_CLASSES", str(classes_of(words))]
        code = main(words)
        assert code == 0, f"{shlex.join(words)} ended with {code}: {capsys.readouterr()}"
    assert used == {"init", "lists", "check", "pack", "show", "--cfg"}
    assert (workplace / "data/mine/sheet.png").stat().st_size > 10_000
    assert len((workplace / "data/ssv2_256/train.csv").read_text().splitlines()) == 6
    assert len((workplace / "data/activitynet_lists/train.csv").read_text().splitlines()) == 4


def numbers_of(classes: str) -> list[str]:
    """ "400, 600, 700" for as many names, or one number for all of them."""
    numbers = classes.split(", ")
    return numbers if len(numbers) > 1 else numbers * 9


def test_the_table_says_what_the_catalogue_says():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith("| `") and line.count("|") == 7 and "TRAIN" not in line
    ]
    assert len(rows) == 14
    named = set()
    for names, classes, clips, mirror, counts, _ in rows:
        for name, number in zip(
            re.findall(r"`([a-z]\w+)`", names), numbers_of(classes), strict=False
        ):
            entry = DATASETS.get(name)
            named.add(name)
            assert number in (str(entry.num_classes), "yours") or name == "kinetics"
            assert entry.sampling in clips or clips == "one image"
            assert entry.directional == (mirror == "no")
            assert {"top1": "top-1", "map": "mAP"}[entry.metric] == counts
    assert {"ssv2", "hmdb51", "ucf101", "activitynet", "custom", "motion"} <= named


@pytest.mark.parametrize("key", sorted(set(re.findall(r"`([A-Z]+\.[A-Z_]+)", PAGE))))
def test_keys_on_the_page_exist(key):
    section, name = key.split(".")
    assert name in get_cfg()[section]
