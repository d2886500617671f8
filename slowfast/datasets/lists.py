"""From the files of a data set to its records: found by name, read by content.

The plain list has a line `path label` per video, or `path num_frames label`; a path may contain the
separator.  Where videos have several classes these are joined by semicolons, `path 3;17` (`-` is
none), or follow the number of frames, `path num_frames 3 17`.  The annotation files of the
published data sets are read as they are, see `annotations.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from slowfast.datasets.annotations import (
    ClassTable,
    Listed,
    class_names,
    read_folder,
    read_json,
    read_table,
    text_lines,
)
from slowfast.datasets.lines import folder_of, read_lines
from slowfast.datasets.locate import locate
from slowfast.datasets.records import Records

__all__ = ["Records", "class_names", "find_list", "read_list"]

logger = logging.getLogger(__name__)

# Names of lists in the order of search.  Where the labels of a test set are kept back its list is
# of no use; hence "test" knows few names, and else means the validation list.
_PATTERNS = (
    *("{split}.csv", "{split}.txt", "{split}.json", "*{split}_videofolder.txt"),
    *("*_{split}_split_{fold}_*.txt", "{split}list{fold:02d}.txt", "*_{split}_split.txt"),
    *("*-{split}.json", "*-{split}.csv", "*_{split}.csv", "*_{split}.txt", "activity_net*.json"),
    "HVU_{Split}_V*.csv",
)
_VAL_IS_TEST = ("testlist{fold:02d}.txt", "*_test_split_{fold}_*.txt", "Charades_v1_test.csv")
_WORDS = {"train": ("train", "training"), "val": ("val", "validation", "validate", "valid")}


def find_list(folder: str | Path, split: str, template: str = "", fold: int = 1) -> Path:
    """The list file of `split` in `folder`, or the folder that holds one of videos per class.

    `template` names the file, with {} for the split; without it the published names are known, of
    which `fold` chooses one.  Without a list for "test", that of "val".  Raises ValueError if there
    is none, or several that look alike.
    """
    folder = Path(folder)
    words = _WORDS.get(split, (split,))
    for pattern in _patterns(split, words, template, fold):
        if found := [path for path in sorted(folder.glob(pattern)) if path.is_file()]:
            return _only(found, split)
    if not template and (found := _folder_of(folder, split, words, fold)):
        return found
    if split == "test":
        return find_list(folder, "val", template, fold)
    raise ValueError(
        f"list {folder / (template.replace('{}', split) or f'{split}.csv')} does not exist; "
        f"set DATA.PATH_TO_DATA_DIR to the folder of train.csv and val.csv, or to that of the "
        f"lists which DATASET.md names"
    )


def _patterns(split: str, words: Sequence[str], template: str, fold: int) -> list[str]:
    if template:
        return [template.replace("{}", word) for word in words]
    if split == "test":
        return ["test.csv", "test.txt"]
    known = [p.format(split=w, Split=w.title(), fold=fold) for p in _PATTERNS for w in words]
    return known + [p.format(fold=fold) for p in _VAL_IS_TEST if split == "val"]


def _only(found: Sequence[Path], split: str) -> Path:
    if len(found) > 1:
        raise ValueError(
            f"{found[0]} and {found[1].name} both look like the list of {split!r}; "
            f"set DATA.LABEL_PATH_TEMPLATE to its name, with {{}} for the split"
        )
    return found[0]


def _folder_of(folder: Path, split: str, words: Sequence[str], fold: int) -> Path | None:
    """`folder` itself if it has HMDB51's split files, else the split's folder of class folders."""
    if split != "test" and _has_hmdb_splits(folder, fold):
        return folder
    return next((folder / word for word in words if (folder / word).is_dir()), None)


def _has_hmdb_splits(folder: Path, fold: int) -> bool:
    return any(folder.glob(f"*_test_split{fold}.txt"))


def read_list(
    path: str | Path,
    num_classes: int,
    *,
    prefix: str | Path = "",
    separator: str = " ",
    split: str = "train",
    fold: int = 1,
    multi_label: bool = False,
) -> Records:
    """The records of a list; relative paths start at `prefix`, or else at the list's folder.

    `separator` is what to expect between the fields of a line; another one is found out and logged.
    Raises ValueError, naming file, line, value and remedy, for a line that does not parse or may
    mean several things, a label outside [0, num_classes), several labels without `multi_label`,
    another number of classes than `num_classes` where the files define it, an empty list, and
    videos that are not there.
    """
    path = Path(path)
    folder = path if path.is_dir() and _has_hmdb_splits(path, fold) else path.parent
    root, classes = Path(prefix or folder), ClassTable(class_names(folder))
    if path.is_dir():
        listed = read_folder(path, split, fold, classes)
    elif path.suffix == ".json":
        listed = read_json(path, split, classes)
    else:
        listed = _read_text(path, split, separator, multi_label, classes, root)
    if not listed.names:
        raise ValueError(f"list {path} is empty; write one 'path{separator}label' per line")
    _check_num_classes(path, listed, classes, num_classes)
    listed = _zero_based(path, listed, classes, num_classes)
    _check_labels(listed, num_classes, multi_label)
    names = locate(listed.names, root, listed.by_id, path)
    labels = listed.labels if multi_label else [label for (label,) in listed.labels]
    counted = num_classes if multi_label else 0
    return Records(names, labels, root, num_frames=listed.num_frames, num_classes=counted)


def _read_text(
    path: Path,
    split: str,
    separator: str,
    multi_label: bool,
    classes: ClassTable,
    root: Path,
) -> Listed:
    texts = text_lines(path)
    lines = [(number, text.strip()) for number, text in enumerate(texts, 1) if text.strip()]
    if lines and (listed := read_table(path, [text for _, text in lines], split, classes)):
        return listed
    return read_lines(
        path, lines, separator, multi_label, classes, lambda name: (root / name).exists()
    )


# ------------------------------------------------------------------------------------ checks


def _check_num_classes(path: Path, listed: Listed, classes: ClassTable, num_classes: int) -> None:
    if not len(classes) or len(classes) == num_classes:
        return
    if listed.complete:
        raise ValueError(
            f"{path} has {len(classes)} classes; set MODEL.NUM_CLASSES={num_classes} "
            f"to {len(classes)}"
        )
    logger.warning(
        "%d classes have names beside %s, but MODEL.NUM_CLASSES is %d",
        len(classes),
        path,
        num_classes,
    )


def _zero_based(path: Path, listed: Listed, classes: ClassTable, num_classes: int) -> Listed:
    """Labels less 1 where they certainly count from 1.

    The names of the videos' folders tell if they are those of classes; else the labels have to be
    all of 1 .. num_classes, without 0.
    """
    if listed.complete:
        return listed
    found = {label for labels in listed.labels for label in labels}
    folders = [folder_of(name) for name in listed.names]
    if all(folder in classes for folder in folders):
        pairs = zip(listed.labels, folders, listed.places, strict=True)
        numbers = [(labels, classes.number(folder, place)) for labels, folder, place in pairs]
        from_one = all(labels == (number + 1,) for labels, number in numbers)
    else:
        from_one = found == set(range(1, num_classes + 1))
    if not from_one:
        return listed
    logger.info("%s counts its classes from 1: label 1 is class 0", path)
    return listed._replace(labels=[tuple(c - 1 for c in labels) for labels in listed.labels])


def _check_labels(listed: Listed, num_classes: int, multi_label: bool) -> None:
    for labels, place in zip(listed.labels, listed.places, strict=True):
        for label in labels:
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"{place}: label {label} is outside 0 .. {num_classes - 1}; "
                    f"correct it or set MODEL.NUM_CLASSES"
                )
        if len(labels) != 1 and not multi_label:
            raise ValueError(
                f"{place}: {len(labels)} labels, but the data set has one per video; "
                f"set TRAIN.DATASET and TEST.DATASET to one with several, like activitynet"
            )
