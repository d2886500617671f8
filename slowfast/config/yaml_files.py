"""Reading YAML files with `_BASE_` into flat settings, with one-sentence errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

BASE_KEY = "_BASE_"


class Settings(NamedTuple):
    """Raw values by full key (`SOLVER.BASE_LR`) and where they were written, for error messages."""

    source: str
    values: dict[str, Any]


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key with two values, and a value that holds itself."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node in self.recursive_objects:
            problem = "an alias (*) stands inside of what it stands for (&)"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_object(node, deep=True)  # else a value is filled in later

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                first = seen.setdefault(key.value, value)
                # The same value again does no harm: published files of PySlowFast have it.
                if first is not value and yaml.serialize(first) != yaml.serialize(value):
                    problem = f"key {key.value!r} is written twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read_settings(path: str | Path) -> list[Settings]:
    """The settings of `path`, after those of its bases: later ones override earlier ones.

    `_BASE_` is a file or a list of files, relative to the file that names it.  Raises
    FileNotFoundError for a missing file, ValueError for anything that is not plain YAML.
    """
    return list(_read_with_bases(Path(path).expanduser(), above=()))


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full key, value) of every leaf: {"A": {"B": 1}} gives ("A.B", 1)."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{key}.")
        else:
            yield key, value


def _read_with_bases(path: Path, above: tuple[Path, ...]) -> Iterator[Settings]:
    if path.resolve() in (p.resolve() for p in above):
        chain = " -> ".join(str(p) for p in (*above, path))
        raise ValueError(f"{path}: {BASE_KEY} runs in a circle: {chain}; remove one of these links")
    tree = _read_mapping(path, named_by=above[-1] if above else None)
    bases = tree.pop(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            raise ValueError(f"{path}: {BASE_KEY} = {base!r} must be a file name or a list of them")
        yield from _read_with_bases(path.parent / Path(base).expanduser(), (*above, path))
    yield Settings(str(path), dict(flatten(tree)))


def _read_mapping(path: Path, named_by: Path | None) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(_missing(path, named_by))
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(_not_yaml(path, error)) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise ValueError(f"{path}: expected sections like 'SOLVER:' with keys below, got a {kind}")
    return tree


def _missing(path: Path, named_by: Path | None) -> str:
    what = "is a folder" if path.is_dir() else "does not exist"
    origin = f", the {BASE_KEY} of {named_by}," if named_by else ""
    siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    close = get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else ""
    return f"config file {path}{origin} {what}{hint}"


def _not_yaml(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if isinstance(error, yaml.constructor.ConstructorError) and "tag" in problem:
        return f"{where}: refused, as only plain YAML is read: {problem}"
    return f"{where}: not valid YAML: {problem}"
