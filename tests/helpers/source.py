"""What the source code of the project says, read from its syntax trees without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SKIPPED = {".git", "__pycache__", "build", "data", "dist", "results", "runs"}


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """The project's own files below `folders` (all of them without any), sorted."""
    return [path for folder in folders or (".",) for path in _walk(ROOT / folder, suffixes)]


def _walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir():
            if not (path.name in _SKIPPED or path.name.startswith((".venv", ".pytest", ".ruff"))):
                yield from _walk(path, suffixes)
        elif path.suffix in suffixes or not suffixes:
            yield path


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(path: Path, nodes: list[ast.AST] | None = None) -> Iterator[str]:
    """Full names of the modules a file imports anywhere, or in `nodes` only."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree(path)) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def keys_read(path: Path, sections: dict[str, set[str]]) -> set[str]:
    """The full configuration keys a file reads, `sections` being {"SOLVER": {"BASE_LR", ...}}.

    Seen are `cfg.SOLVER.BASE_LR`, `solver.BASE_LR` (a name like the section, or assigned from it,
    as in `part = cfg.TRAIN if training else cfg.TEST`) and `cfg[split].DATASET` (any section).
    The section "" holds the keys directly below the root, as in `cfg.NUM_GPUS`.
    """
    names = {section.lower(): {section} for section in sections if section} | {"cfg": {""}}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Assign):
            for target, value in _assignments(node):
                if found := _sections_of(value, sections, names):
                    names[target] = names.get(target, set()) | found
    return {
        f"{section}.{node.attr}".lstrip(".")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        for section in _sections_of(node.value, sections, names)
        if node.attr in sections[section]
    }


def _assignments(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of `a = x` and of `a, b = x, y`."""
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(name, ast.Name):
                    yield name.id, value


def _sections_of(node: ast.expr, sections: dict[str, set[str]], names: dict) -> set[str]:
    """The sections that an expression may stand for."""
    if isinstance(node, ast.Name):
        return names.get(node.id, set())
    if isinstance(node, ast.Attribute):
        return {node.attr} if node.attr in sections else {""} if node.attr == "cfg" else set()
    if isinstance(node, ast.IfExp):
        return _sections_of(node.body, sections, names) | _sections_of(node.orelse, sections, names)
    if isinstance(node, ast.Subscript) and "" in _sections_of(node.value, sections, names):
        return set(sections) - {""}
    return set()
