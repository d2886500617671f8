"""Plain lists, a line per video: which separator, which fields, what is wrong with a line."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from slowfast.config.registry import nearest
from slowfast.datasets.annotations import ClassTable, Listed

logger = logging.getLogger(__name__)

SEPARATORS = (" ", ",", "\t", ";")
NO_CLASS = "-"
_HEADER = {"path", "video", "file", "filename", "num_frames", "frames", "label", "labels", "class"}

Numbered = tuple[int, str]  # a line of a file with its number, from 1


class _Line(NamedTuple):
    """A line, what stands in it before the classes, and these."""

    number: int
    text: str
    rest: str
    labels: tuple[int, ...]


def read_lines(
    path: Path,
    lines: Sequence[Numbered],
    separator: str,
    multi_label: bool,
    classes: ClassTable,
    exists: Callable[[str], bool],
) -> Listed:
    """The videos in `lines`: path, perhaps number of frames, and classes.

    Classes are integers, or names of `classes`, or missing where the videos' folders are called
    like `classes`.  `exists` says whether a path is there: it tells a number of frames from the end
    of a path.  Raises ValueError with file, line, value and remedy.
    """
    if lines and set(re.split(r"[ ,;\t]+", lines[0][1].lower())) <= _HEADER:
        lines = lines[1:]
    separators = [separator, *(s for s in SEPARATORS if s != separator)]
    found = _with_numbers(path, lines, separators, multi_label)
    if found is None:
        return _without_numbers(path, lines, separators, classes, exists)
    used, parsed = found
    if used != separator:
        logger.info("%s is separated by %r; DATA.PATH_LABEL_SEPARATOR is %r", path, used, separator)
    names, labels, counts = _fields(path, parsed, used, multi_label, exists)
    return Listed(names, labels, _places(path, lines), counts, complete=False)


def write_lines(
    path: Path, names: Sequence[str], labels: Sequence[Sequence[int]], counts: Sequence[int] = ()
) -> None:
    """Write a list that `read_lines` reads; `counts` are numbers of frames."""
    with open(path, "w", encoding="utf-8") as file:
        for i, (name, classes) in enumerate(zip(names, labels, strict=True)):
            fields = [name, *([str(counts[i])] if counts else [])]
            file.write(" ".join([*fields, ";".join(map(str, classes)) or NO_CLASS]) + "\n")


def _places(path: Path, lines: Sequence[Numbered]) -> list[str]:
    return [f"{path}, line {number}" for number, _ in lines]


# ------------------------------------------------------------------------- classes as integers


def _with_numbers(
    path: Path, lines: Sequence[Numbered], separators: Sequence[str], multi_label: bool
) -> tuple[str, list[_Line]] | None:
    """The first of `separators` under which all lines end in integers, and the lines.

    None if no line does under any.  Raises ValueError if only some do, or if the first separator
    does not fit and several others do.
    """
    fits = {}
    for separator in separators:
        fits[separator] = [_parse(*line, separator, multi_label) for line in lines]
        if None not in fits[separators[0]]:
            return separator, fits[separator]
    whole = [s for s in separators if None not in fits[s]]
    if len(whole) == 1:
        return whole[0], fits[whole[0]]
    if whole:
        choices = " or ".join(map(repr, whole))
        raise ValueError(
            f"{path}, line {lines[0][0]}: {lines[0][1]!r} may be separated by {choices}; "
            f"say which with DATA.PATH_LABEL_SEPARATOR"
        )
    best = max(separators, key=lambda s: sum(line is not None for line in fits[s]))
    if not any(fits[best]):
        return None
    number, text = lines[fits[best].index(None)]
    raise ValueError(
        f"{path}, line {number}: {text!r} does not end in {best!r} and a label as other lines do; "
        f"labels are integers"
    )


def _parse(number: int, text: str, separator: str, multi_label: bool) -> _Line | None:
    rest, found, last = text.rpartition(separator)
    rest = rest.strip()
    if not found or not rest or rest[-1] in SEPARATORS:
        return None
    parts = last.split(";") if multi_label else [last]
    if multi_label and last == NO_CLASS:
        parts = []
    try:
        return _Line(number, text, rest, tuple(sorted({int(part) for part in parts})))
    except ValueError:
        return None


def _fields(
    path: Path,
    lines: Sequence[_Line],
    separator: str,
    multi_label: bool,
    exists: Callable[[str], bool],
) -> tuple[list[str], list[tuple[int, ...]], list[int]]:
    """Names, classes and numbers of frames, [] if the list has none of these."""
    split = [_trailing(line, separator, multi_label) for line in lines]
    counted = [bool(numbers) for _, numbers in split]
    first = counted.index(True) if any(counted) else None
    if first is None or exists(lines[first].rest):
        return [line.rest for line in lines], [line.labels for line in lines], []
    if all(counted):
        labels = [
            tuple(sorted({*numbers[1:], *line.labels}))
            for line, (_, numbers) in zip(lines, split, strict=True)
        ]
        return [name for name, _ in split], labels, [numbers[0] for _, numbers in split]
    if 2 * sum(counted) < len(lines) and not multi_label:
        return [line.rest for line in lines], [line.labels for line in lines], []
    odd = lines[counted.index(False)]
    remedy = "write several labels as 3;17, or the number of frames in each line"
    raise ValueError(
        f"{path}, line {odd.number}: {odd.text!r} has no number of frames before its label, but "
        f"line {lines[first].number} has; {remedy if multi_label else 'write all lines alike'}"
    )


def _trailing(line: _Line, separator: str, multi_label: bool) -> tuple[str, tuple[int, ...]]:
    """What stands before the classes as a name and the integers behind it: at most one, or all of
    the list of classes in "path num_frames 3 17"."""
    name, numbers = line.rest, ()
    joined = not multi_label or len(line.labels) != 1
    while not (joined and numbers):
        head, _, last = name.rpartition(separator)
        if not head.strip() or not last.isdecimal():
            break
        name, numbers = head.strip(), (int(last), *numbers)
    return name, numbers


# ---------------------------------------------------------------- classes by name, by folder, none


def _without_numbers(
    path: Path,
    lines: Sequence[Numbered],
    separators: Sequence[str],
    classes: ClassTable,
    exists: Callable[[str], bool],
) -> Listed:
    texts, places = [text for _, text in lines], _places(path, lines)
    for separator in separators:
        pairs = [text.split(separator, 1) for text in texts]
        if all(len(pair) == 2 and _name(pair[1]) in classes for pair in pairs):
            names, words = [p[0].strip() for p in pairs], [_name(p[1]) for p in pairs]
            labels = [(classes.number(w, at),) for w, at in zip(words, places, strict=True)]
            by_id = not any("/" in name or "." in name for name in names)
            return Listed(names, labels, places, by_id=by_id)
    folders = [folder_of(text) for text in texts]
    if len(classes) and all(folder in classes for folder in folders):
        labels = [(classes.number(f, at),) for f, at in zip(folders, places, strict=True)]
        return Listed(texts, labels, places)
    if lines and exists(texts[0]):
        logger.warning("%s has no labels: all of its videos count as class 0", path)
        return Listed(texts, [(0,)] * len(lines), places, complete=False)
    raise ValueError(_no_label(lines, places, separators, classes))


def _no_label(
    lines: Sequence[Numbered],
    places: Sequence[str],
    separators: Sequence[str],
    classes: ClassTable,
) -> str:
    """What is wrong with the first line whose class is not known."""
    best = max(separators, key=lambda s: sum(_name(t.partition(s)[2]) in classes for _, t in lines))
    names = [_name(text.partition(best)[2]) for _, text in lines]
    odd = next(i for i, name in enumerate(names) if name not in classes)
    text = lines[odd][1]
    if any(name in classes for name in names):
        guess = nearest(names[odd], classes.names)
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        return f"{places[odd]}: no class {names[odd]!r} among {len(classes)}{hint}"
    return (
        f"{places[odd]}: {text!r} does not end in {separators[0]!r} and a label; labels are "
        f"integers, or names of a classes.txt beside the list"
    )


def _name(field: str) -> str:
    return field.strip().strip('"')


def folder_of(path: str) -> str:
    """The name of the folder that a path lies in."""
    return path.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
