"""The rules of CONTRIBUTING.md, "Design", that a program can check."""

import ast
import re

import pytest

from helpers.source import ROOT, files, imported_modules, keys_read, tree
from slowfast.config import get_cfg
from slowfast.config.values import EMPTY_LISTS_OF

ROOMS = ["config", "layers", "models", "weights", "datasets", "objectives", "report"]
ROOMS += ["inference", "engine", "doctor"]
# What each room may import of the others; `config` is open to all but `layers`.
MAY_IMPORT = {
    "config": set(),
    "layers": set(),
    "models": {"config", "layers"},
    "weights": {"config", "layers", "models"},
    "datasets": {"config"},
    "objectives": {"config", "layers", "models", "weights"},
    "report": {"config", "models"},
    "inference": {"config", "layers", "models", "weights", "datasets", "report"},
    "engine": set(ROOMS) - {"engine", "doctor"},
    "doctor": {"models", "datasets", "inference"},
}
OPTIONAL_PACKAGES = {
    *("torchvision", "timm", "pytorchvideo", "torchcodec", "detectron2"),
    "pyarrow",
    *("onnx", "onnxruntime", "onnxscript", "gradio", "submitit"),
}
# Keys of PySlowFast's files with one possible value here, which validate.py checks.
ONLY_CHECKED = {"DATA.INPUT_CHANNEL_NUM"}


def sections():
    """{"SOLVER": {"BASE_LR", ...}, ..., "": {"NUM_GPUS", ...}} of the defaults."""
    cfg = get_cfg()
    nested = {name: set(node) for name, node in cfg.items() if isinstance(node, dict)}
    return nested | {"": set(cfg) - set(nested)}


def all_keys():
    return {
        f"{section}.{name}".lstrip(".") for section, names in sections().items() for name in names
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room):
    for path in files(f"slowfast/{room}"):
        used = {m.split(".")[1] for m in imported_modules(path) if m.startswith("slowfast.")}
        wrong = (used & set(ROOMS)) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}; {room} may not"


def test_every_room_has_its_line_in_the_order():
    rooms = {path.parent.name for path in (ROOT / "slowfast").glob("*/__init__.py")}
    assert rooms <= set(ROOMS)


def test_the_package_imports_nothing_from_tools_projects_or_tests():
    for path in files("slowfast"):
        outside = {m.split(".")[0] for m in imported_modules(path)} & {"tools", "projects", "tests"}
        assert not outside, f"{path.relative_to(ROOT)} imports {outside}"


def test_optional_packages_are_not_imported_with_the_package():
    for path in files("slowfast"):
        top_level = [n for n in tree(path).body if isinstance(n, ast.Import | ast.ImportFrom)]
        found = {m.split(".")[0] for m in imported_modules(path, top_level)} & OPTIONAL_PACKAGES
        assert not found, f"{path.relative_to(ROOT)} imports {found}; do it where it is used"


def test_every_config_key_is_read_by_some_code():
    checks_only = {*files("slowfast/config/defaults"), ROOT / "slowfast/config/validate.py"}
    readers = set(files("slowfast", "tools")) - checks_only
    read = set().union(*(keys_read(path, sections()) for path in readers))
    unread = all_keys() - read - ONLY_CHECKED
    assert not unread, f"no code reads {sorted(unread)}: use the keys or remove them"


def test_the_search_for_config_keys_sees_through_local_names(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "def f(cfg, solver, split):\n"
        "    a, part = cfg.FFN, cfg.TRAIN if split else cfg.TEST\n"
        "    return a.LAMBDA, part.DATASET, solver.BASE_LR, cfg.NUM_GPUS, net.cfg.BN.WEIGHT_DECAY\n"
        "other.MAX_EPOCH = cfg.SOLVER\n"
    )
    assert keys_read(path, sections()) == {
        *("FFN.LAMBDA", "TRAIN.DATASET", "TEST.DATASET", "SOLVER.BASE_LR"),
        *("NUM_GPUS", "BN.WEIGHT_DECAY"),
    }


def test_every_config_key_has_a_comment():
    paths = files("slowfast/config/defaults")
    lines = [line for path in paths for line in path.read_text().splitlines()]
    is_key = re.compile(r"KEYS\.[A-Z0-9_.]+ = (?!CfgNode\(\))")
    for before, line in zip(lines, lines[1:], strict=False):
        if is_key.match(line):  # a comment may serve several keys that follow it
            assert before.startswith("# ") or is_key.match(before), f"no comment above: {line}"


def test_every_empty_default_list_says_what_it_holds():
    nested = {k: n for k, n in get_cfg().items() if isinstance(n, dict)}
    empty = {f"{k}.{name}" for k, node in nested.items() for name, v in node.items() if v == []}
    assert empty == set(EMPTY_LISTS_OF)


def test_unpickling_is_safe_everywhere():
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                words = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert words.get("weights_only") == "True", (
                    f"{path.relative_to(ROOT)}: {node.lineno}"
                )


def test_no_file_names_a_path_of_one_machine():
    pattern = re.compile(r"(?<![\w./$~}-])/" + r"(home|root|work|Users|mnt|scratch)/\w")
    text = (".py", ".yaml", ".yml", ".md", ".toml", ".txt", ".sh", ".json", ".cfg", "")
    for path in files(suffixes=text):
        found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{path.relative_to(ROOT)}: {found.group()}..."
