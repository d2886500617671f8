"""Annotation files as their publishers ship them, told apart by content."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"),
    *(".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".3gp", ".ogv"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# ActivityNet's words for the splits; the labels of its testing videos are kept back.
_SUBSETS = {"train": "training", "val": "validation", "test": "validation"}


class Listed(NamedTuple):
    """What a list says: a name and the classes of each video, and where it says so, for errors.

    `names` are paths or, with `by_id`, file names without suffix that are to be looked up on disk.
    `num_frames` is empty if the list does not state them.  `complete` lists come with all classes
    of their data set, so that their number is certain.
    """

    names: list[str]
    labels: list[tuple[int, ...]]
    places: Sequence[str]
    num_frames: list[int] = []
    by_id: bool = False
    complete: bool = True


class ClassTable:
    """Class numbers by name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def number(self, name: str, place: str) -> int:
        """The number of class `name`, which stands at `place`.  ValueError if there is none."""
        if name not in self._numbers:
            raise ValueError(
                f"{place}: no class {name!r} among {len(self)}; correct it, or put the data set's "
                f"file of classes beside the list"
            )
        return self._numbers[name]


# ------------------------------------------------------------------------------------ json files


def read_json(path: Path, split: str, classes: ClassTable) -> Listed:
    """Something-Something V2 (videos as {id, template}) or ActivityNet ({database: {id: ...}})."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); download it again") from None
    if isinstance(data, dict) and isinstance(data.get("database"), dict):
        return _activitynet(path, data["database"], split, classes)
    if isinstance(data, list) and data and isinstance(data[0], dict) and "id" in data[0]:
        return _something(path, data, classes)
    raise ValueError(
        f"{path} is no list of videos; expected Something-Something's [{{id, template}}, ...] or "
        f"ActivityNet's {{database: {{...}}}}"
    )


def _something(path: Path, videos: list[dict[str, Any]], classes: ClassTable) -> Listed:
    labels, places = [], [f"{path}, video {video['id']}" for video in videos]
    for video, place in zip(videos, places, strict=True):
        if "template" not in video:
            raise ValueError(f"{place} has no template, hence no label; test on the validation set")
        name = video["template"].replace("[", "").replace("]", "")
        labels.append((classes.number(name, place),))
    return Listed([str(video["id"]) for video in videos], labels, places, by_id=True)


def _activitynet(
    path: Path, database: dict[str, dict[str, Any]], split: str, classes: ClassTable
) -> Listed:
    names, labels, places = [], [], []
    for name, video in database.items():
        if video.get("subset") != _SUBSETS[split]:
            continue
        place = f"{path}, video {name}"
        found = {classes.number(a["label"], place) for a in video.get("annotations", ())}
        names.append(name)
        labels.append(tuple(sorted(found)))
        places.append(place)
    return Listed(names, labels, places, by_id=True)


# ------------------------------------------------------------------------------------- csv files


def read_table(path: Path, lines: Sequence[str], split: str, classes: ClassTable) -> Listed | None:
    """The csv files with a header: Charades', HVU's, Kinetics' and PySlowFast's lists of frames.

    None if the header is none of theirs.
    """
    if lines[0].startswith("original_vido_id"):  # the misspelling is the format's
        return _frame_list(path, lines, split, classes)
    columns = set(next(csv.reader(lines[:1])))
    if {"id", "actions"} <= columns:
        return _charades(path, lines, classes)
    if {"youtube_id", "time_start", "time_end"} <= columns:
        return (_hvu if "Tags" in columns else _kinetics)(path, lines, classes)
    return None


def _rows(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a csv file with a header, and their lines' numbers."""
    for number, row in enumerate(csv.DictReader(lines), start=2):
        if None in row or None in row.values():
            raise ValueError(
                f"{path}, line {number}: another number of fields than the header; "
                f"download it again"
            )
        yield number, row


def _charades(path: Path, lines: Sequence[str], classes: ClassTable) -> Listed:
    """Actions are "c092 11.90 21.20;c147 0.00 12.60": class, start and end in seconds."""
    rows = [row for _, row in _rows(path, lines)]
    places = [f"{path}, video {row['id']}" for row in rows]
    labels = []
    for row, place in zip(rows, places, strict=True):
        actions = [action.split()[0] for action in row["actions"].split(";") if action.strip()]
        if wrong := [a for a in actions if a[0] != "c" or not a[1:].isdecimal()]:
            raise ValueError(f"{place}: action {wrong[0]!r} must be like c092; download it again")
        labels.append(tuple(sorted({int(action[1:]) for action in actions})))
    return Listed(
        [row["id"] for row in rows], labels, places, by_id=True, complete=len(classes) > 0
    )


def _kinetics(path: Path, lines: Sequence[str], classes: ClassTable) -> Listed:
    """Files are called by YouTube id, start and end in seconds: ID_000010_000020.mp4."""
    names, labels, places = [], [], []
    for number, row in _rows(path, lines):
        place = f"{path}, line {number}"
        names.append(_cut_of_youtube(row))
        labels.append((classes.number(row["label"], place),))
        places.append(place)
    return Listed(names, labels, places, by_id=True)


def _hvu(path: Path, lines: Sequence[str], classes: ClassTable) -> Listed:
    """Kinetics' names of files; the tags of a video are joined by bars: "Beach|Running|Sand"."""
    names, labels, places = [], [], []
    for number, row in _rows(path, lines):
        place = f"{path}, line {number}"
        tags = [tag for tag in row["Tags"].split("|") if tag]
        names.append(_cut_of_youtube(row))
        labels.append(tuple(sorted({classes.number(tag, place) for tag in tags})))
        places.append(place)
    return Listed(names, labels, places, by_id=True)


def _cut_of_youtube(row: dict[str, str]) -> str:
    start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
    return f"{row['youtube_id']}_{start:06d}_{end:06d}"


def _frame_list(path: Path, lines: Sequence[str], split: str, classes: ClassTable) -> Listed:
    """A line per frame: original_vido_id video_id frame_id path labels.

    The classes of a video are those of all its frames.  Lists of Something-Something leave them
    out: then they come from its json file beside the list.
    """
    folders: dict[str, str] = {}
    counts: dict[str, int] = {}
    found: dict[str, set[int]] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split()
        if len(fields) != 5:
            raise ValueError(
                f"{path}, line {number}: {line!r} must be 'original_vido_id video_id frame_id "
                f"path labels'; make the list anew"
            )
        video, labels = fields[0], fields[4].strip('"')
        folders.setdefault(video, fields[3].rpartition("/")[0])
        counts[video] = counts.get(video, 0) + 1
        found.setdefault(video, set()).update(map(int, filter(None, labels.split(","))))
    places = [f"{path}, video {video}" for video in folders]
    if not any(found.values()):
        found = _labels_of_json(path, split, classes)
        if missing := [video for video in folders if video not in found]:
            raise ValueError(
                f"{path}: video {missing[0]} has no labels here, nor in a json file of the "
                f"{split} split beside it"
            )
    labels = [tuple(sorted(found[video])) for video in folders]
    return Listed(
        list(folders.values()), labels, places, list(counts.values()), complete=len(classes) > 0
    )


def _labels_of_json(path: Path, split: str, classes: ClassTable) -> dict[str, set[int]]:
    word = "train" if split == "train" else "validation"
    for found in sorted(path.parent.glob(f"*{word}.json")):
        listed = read_json(found, split, classes)
        return {name: set(c) for name, c in zip(listed.names, listed.labels, strict=True)}
    return {}


# --------------------------------------------------------------------------------------- folders


def read_folder(folder: Path, split: str, fold: int, classes: ClassTable) -> Listed:
    """HMDB51's split files if the folder has them, else a folder of videos per class."""
    if any(folder.glob(f"*_test_split{fold}.txt")):
        return _hmdb(folder, split, fold, classes)
    names, labels = [], []
    for directory in subfolders(folder):
        label = classes.number(directory.name, str(directory))
        found = videos_in(directory)
        names += found
        labels += [(label,)] * len(found)
    return Listed([f"{folder.name}/{name}" for name in names], labels, [str(folder)] * len(names))


def _hmdb(folder: Path, split: str, fold: int, classes: ClassTable) -> Listed:
    """A file per class with lines "name.avi 1": 1 is for training, 2 for testing, 0 for neither."""
    wanted = "1" if split == "train" else "2"
    names, labels, places = [], [], []
    for path in sorted(folder.glob(f"*_test_split{fold}.txt")):
        name = path.name.removesuffix(f"_test_split{fold}.txt")
        for number, line in _numbered(path):
            video, _, use = line.rpartition(" ")
            if use not in ("0", "1", "2"):
                raise ValueError(
                    f"{path}, line {number}: {line!r} must end in 0, 1 or 2; download it again"
                )
            if use == wanted:
                names.append(f"{name}/{video.strip()}")
                labels.append((classes.number(name, str(path)),))
                places.append(f"{path}, line {number}")
    return Listed(names, labels, places)


def subfolders(folder: Path) -> list[Path]:
    """Folders in `folder`, sorted; hidden ones are passed over."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def videos_in(directory: Path) -> list[str]:
    """Files, and folders that hold frames, as `class/name`, sorted."""
    suffixes = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    return [
        f"{directory.name}/{path.name}"
        for path in sorted(directory.iterdir())
        if not path.name.startswith(".") and (path.suffix.lower() in suffixes or path.is_dir())
    ]


def text_lines(path: Path) -> list[str]:
    """The lines of a text, without the byte order mark of Windows programs; else ValueError."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8 text") from None


def _numbered(path: Path) -> Iterable[tuple[int, str]]:
    lines = enumerate(text_lines(path), start=1)
    return ((number, line.strip()) for number, line in lines if line.strip())


# --------------------------------------------------------------------------------- class names


def class_names(folder: str | Path) -> list[str]:
    """The names of the classes in the order of their numbers; [] if `folder` does not tell.

    From the first there is of: classes.txt and category.txt (one per line), *classInd.txt
    ("1 Name"), Charades_v1_classes.txt ("c000 Name"), *labels.json ({name: number}), *labels.csv
    (one per line, numbered in alphabetical order as in the published lists of Something-Something
    V1 and Jester), in alphabetical order those of ActivityNet's json, of HVU's *Categories*.csv, of
    Kinetics' train*.csv and of HMDB51's split files, and the folders in train/.
    """
    folder = Path(folder)
    if folder == Path():
        return []
    for pattern, read in _CLASS_FILES.items():
        for path in sorted(folder.glob(pattern)):
            if names := read(path):
                return names
    if splits := sorted(folder.glob("*_test_split1.txt")):
        return [path.name.removesuffix("_test_split1.txt") for path in splits]
    return [path.name for path in subfolders(folder / "train")]


def _plain(path: Path) -> list[str]:
    return [line for _, line in _numbered(path)]


def _without_numbers(path: Path) -> list[str]:
    """Names behind running numbers, if all have one."""
    pairs = [line.split(maxsplit=1) for _, line in _numbered(path)]
    numbers = [pair[0].lstrip("c") for pair in pairs if len(pair) == 2]
    running = [int(number) for number in numbers if number.isdecimal()]
    if len(running) < len(pairs) or running != list(range(running[0], running[0] + len(pairs))):
        return _plain(path)
    return [pair[1] for pair in pairs]


def _of_numbers(path: Path) -> list[str]:
    numbers = {name: int(n) for name, n in json.loads(path.read_text(encoding="utf-8-sig")).items()}
    names = sorted(numbers, key=numbers.__getitem__)
    if [numbers[name] for name in names] != list(range(len(names))):
        raise ValueError(f"{path} must number its classes from 0 on; download it again")
    return names


def _sorted(path: Path) -> list[str]:
    return sorted(_plain(path))


def _of_activitynet(path: Path) -> list[str]:
    videos = json.loads(path.read_text(encoding="utf-8-sig"))["database"].values()
    return sorted({a["label"] for video in videos for a in video.get("annotations", ())})


def _of_kinetics(path: Path) -> list[str]:
    lines = text_lines(path)
    if not lines or "youtube_id" not in lines[0]:
        return []
    return sorted({row["label"] for row in csv.DictReader(lines)})


def _of_hvu(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return sorted({row["Tag"] for row in csv.DictReader(file) if row.get("Tag")})


_CLASS_FILES = {
    "classes.txt": _plain,
    "category.txt": _plain,
    "*classInd.txt": _without_numbers,
    "Charades_v1_classes.txt": _without_numbers,
    "*labels.json": _of_numbers,
    "*labels.csv": _sorted,
    "activity_net*.json": _of_activitynet,
    "*[Cc]ategories*.csv": _of_hvu,
    "*train*.csv": _of_kinetics,
}
