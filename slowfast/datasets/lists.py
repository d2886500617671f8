"""List files: one `path<separator>label` per line, as in the Kinetics lists, without a header."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SEPARATORS = (" ", ",", "\t", ";")


class Records:
    """Paths and labels of a data set, in flat buffers that worker processes share uncopied."""

    def __init__(self, paths: Sequence[str], labels: Sequence[int], root: str | Path = "") -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._paths = b"".join(encoded)
        self._bounds = np.cumsum([0, *map(len, encoded)])
        self.labels = np.array(labels, np.int64)
        self.root = os.fspath(root)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """Full path of video `index`."""
        start, end = self._bounds[index : index + 2]
        return os.path.join(self.root, os.fsdecode(self._paths[start:end]))

    def label(self, index: int) -> int:
        """Class of video `index`."""
        return int(self.labels[index])


def find_list(folder: str | Path, split: str) -> Path:
    """`folder/<split>.csv`; for "test" without one, `val.csv`.  Raises ValueError if missing."""
    path = Path(folder) / f"{split}.csv"
    if not path.is_file() and split == "test":
        path = path.with_name("val.csv")
    if not path.is_file():
        raise ValueError(
            f"list {path} does not exist; "
            f"set DATA.PATH_TO_DATA_DIR to the folder of train.csv and val.csv"
        )
    return path


def read_list(
    path: str | Path, num_classes: int, *, prefix: str | Path = "", separator: str = " "
) -> Records:
    """The records of a list file; relative paths start at `prefix`, or else at the list's folder.

    The label is the last field of a line, so paths may contain the separator.  Raises ValueError,
    naming file, line, value and remedy, for a line that does not parse, a label outside
    [0, num_classes), an empty list, and a first video that does not exist.
    """
    path = Path(path)
    paths, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, label = _parse(line, separator, num_classes)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        paths.append(name)
        labels.append(label)
    if not paths:
        raise ValueError(f"list {path} is empty; write one 'path{separator}label' per line")
    records = Records(paths, labels, prefix or path.parent)
    if not os.path.exists(records.path(0)):
        raise ValueError(
            f"{path}: its first video {os.path.abspath(records.path(0))} does not exist; "
            f"set DATA.PATH_PREFIX to the folder its paths start from"
        )
    return records


def _parse(line: str, separator: str, num_classes: int) -> tuple[str, int]:
    fields = _split(line, separator)
    if fields is None:
        for other in SEPARATORS:
            if other != separator and _split(line, other):
                raise ValueError(
                    f"{line!r} is not separated by {separator!r}; "
                    f"set DATA.PATH_LABEL_SEPARATOR {other!r}"
                )
        raise ValueError(f"{line!r} does not end in {separator!r} and a label; labels are integers")
    name, label = fields
    if not 0 <= label < num_classes:
        raise ValueError(
            f"label {label} is outside 0 .. {num_classes - 1}; correct it or set MODEL.NUM_CLASSES"
        )
    return name, label


def _split(line: str, separator: str) -> tuple[str, int] | None:
    name, found, label = line.strip().rpartition(separator)
    try:
        return (name.strip(), int(label)) if found and name.strip() else None
    except ValueError:
        return None
