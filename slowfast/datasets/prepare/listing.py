"""The splits of a configuration or of official files, as records and as lists of this project."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from slowfast.config import CfgNode
from slowfast.datasets.annotations import class_names
from slowfast.datasets.catalogue import DATASETS
from slowfast.datasets.lines import write_lines
from slowfast.datasets.lists import find_list, read_list
from slowfast.datasets.loader import build_records, list_path
from slowfast.datasets.records import Records


def read_splits(cfg: CfgNode) -> dict[str, Records]:
    """The records of "train", "val" and "test", without a test split that is the validation one."""
    splits = ["train", "val"]
    if list_path(cfg, "test") != list_path(cfg, "val"):
        splits.append("test")
    return {split: build_records(cfg, split) for split in splits}


class Converted(NamedTuple):
    """A list that was written, with its numbers of videos."""

    path: Path
    listed: int
    found: int


def convert_lists(
    kind: str, annotations: Path, videos: Path, out: Path, only_found: bool = False
) -> list[Converted]:
    """Write train.csv, val.csv and classes.txt into `out` from the official files of `kind`.

    Paths start at `videos`.  `only_found` leaves out videos that are not there.  Raises ValueError
    if a list is in `out` already, and as `read_list` does.
    """
    entry = DATASETS.get(kind)
    names = class_names(annotations)
    if not names:
        raise ValueError(
            f"{annotations} does not tell the classes; put the data set's file of classes there, "
            f"or a classes.txt with a name per line"
        )
    paths = [out / name for name in ("train.csv", "val.csv", "classes.txt")]
    if existing := [path for path in paths if path.exists()]:
        raise ValueError(f"{existing[0]} is there already; remove it or use another --out")
    out.mkdir(parents=True, exist_ok=True)
    converted = []
    for split in ("train", "val"):
        records = read_list(
            find_list(annotations, split, fold=entry.fold),
            len(names),
            prefix=videos,
            split=split,
            fold=entry.fold,
            multi_label=entry.multi_label,
        )
        converted.append(_write(records, out / f"{split}.csv", only_found))
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return converted


def _write(records: Records, path: Path, only_found: bool) -> Converted:
    found = np.array([Path(records.path(i)).exists() for i in range(len(records))])
    kept = np.flatnonzero(found) if only_found else range(len(records))
    counts = [int(records.lengths[i]) for i in kept] if len(records.lengths) else ()
    names, labels = zip(*((records.name(i), records.classes(i)) for i in kept), strict=True)
    write_lines(path, names, labels, counts)
    return Converted(path, len(records), int(found.sum()))
