"""Which videos a user means by files, folders and lists, and what to call what is made of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from slowfast.datasets.annotations import IMAGE_SUFFIXES, VIDEO_SUFFIXES

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst", ".list")
_HEADER = re.compile(r"(path|video|file|filename)\b", re.IGNORECASE)


class Input(NamedTuple):
    """A video, and a name for its results: a relative path without the video's suffix."""

    name: str
    path: str


def find_inputs(sources: Sequence[str | os.PathLike]) -> list[Input]:
    """The videos in files, folders (at any depth) and lists, each once, in the order given.

    A folder that holds nothing but images is one video.  A list has a path per line, relative to
    its own folder, and whatever follows behind a separator.  Names are the paths below the folder
    or list, or the name of a file; where two would be the same they keep the suffixes or get the
    folder in front.  A file that does not exist counts as a video, which opening it will report.
    Raises ValueError where there is no video at all, and for videos that cannot be told apart.
    """
    found: dict[str, Input] = {}
    for source in map(Path, sources):
        videos = list(_videos(source))
        if not videos:
            kinds = ", ".join(VIDEO_SUFFIXES[:4])
            raise ValueError(
                f"no videos in {source}; give a file, a folder of {kinds}, ... or a list"
            )
        for root, path in videos:
            found.setdefault(os.path.abspath(path), Input(_name(root, path), str(path)))
    return _told_apart(list(found.values()))


def _videos(source: Path) -> Iterator[tuple[Path, Path]]:
    """The root that names are relative to, and the path, of each video in `source`."""
    if source.is_dir():
        inside = list(_in_folder(source))
        root = source if inside != [source] else source.parent
        yield from ((root, path) for path in inside)
    elif source.suffix.lower() in LIST_SUFFIXES and source.is_file():
        yield from ((source.parent, path) for path in _in_list(source))
    else:
        yield source.parent, source


def _in_folder(folder: Path) -> Iterator[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
    folders = [path for path in entries if path.is_dir()]
    if not videos and not folders:
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in entries):
            yield folder
        return
    for path in entries:
        if path in folders:
            yield from _in_folder(path)
        elif path in videos:
            yield path


def _in_list(source: Path) -> Iterator[Path]:
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is no list of videos but a binary file") from error
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if lines and _HEADER.match(lines[0]):
        lines = lines[1:]
    for line in lines:
        yield _path_of(line, source.parent)


def _path_of(line: str, folder: Path) -> Path:
    """The longest beginning of a line that is there; else what stands before a separator."""
    ends = [*(match.start() for match in re.finditer(r"[ ,;\t]", line)), len(line)]
    for end in reversed(ends):
        path = folder / line[:end].strip().strip('"')
        if path != folder and path.exists():
            return path
    return folder / re.split(r"[,;\t]| (?=[-\d;]+$)", line)[0].strip().strip('"')


def _name(root: Path, path: Path) -> str:
    """Below `root`; the bare name of what lies elsewhere, so that no result leaves its folder."""
    relative = Path(os.path.relpath(path, root))
    inside = relative if ".." not in relative.parts else Path(path.name)
    return str(_without_suffix(inside).as_posix())


def _without_suffix(path: Path) -> Path:
    is_known = path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    return path.with_suffix("") if is_known else path


def _told_apart(inputs: list[Input]) -> list[Input]:
    for rename in (_with_suffix, _with_folder):
        taken = Counter(found.name for found in inputs)
        inputs = [rename(found) if taken[found.name] > 1 else found for found in inputs]
    name, count = Counter(found.name for found in inputs).most_common(1)[0]
    if count > 1:
        same = [found.path for found in inputs if found.name == name]
        raise ValueError(f"{same[0]} and {same[1]} would both be {name!r}; give them separately")
    return inputs


def _with_suffix(found: Input) -> Input:
    return found._replace(name=os.path.splitext(found.name)[0] + Path(found.path).suffix)


def _with_folder(found: Input) -> Input:
    return found._replace(name=f"{Path(found.path).absolute().parent.name}/{found.name}")
