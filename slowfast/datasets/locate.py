"""Where the videos of a list lie: under their names, with another suffix, or by their ids."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from slowfast.datasets.annotations import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

TRIED = 20  # names that decide whether a list finds its videos
DEPTH = 3  # levels of folders that are searched for ids: Kinetics has train/CLASS/ID.mp4


def locate(names: Sequence[str], root: Path, by_id: bool, path: Path) -> list[str]:
    """The paths of the videos below `root`, whether they are there or not, one per name.

    Names that are found with another suffix, or as a folder of frames without one, stand for these;
    ids (`by_id`) are found among the names of files and folders in `root` or below.
    Raises ValueError, naming the list `path`, if none of the first names is there.
    """
    if by_id:
        names = _by_id(names, root)
    elif not _any_exists(names, root):
        names = _with_other_suffix(names, root)
    if not _any_exists(names, root):
        raise ValueError(
            f"{path}: its first video {os.path.abspath(root / names[0])} does not exist; "
            f"set DATA.PATH_PREFIX to the folder its paths start from"
        )
    return list(names)


def _any_exists(names: Sequence[str], root: Path) -> bool:
    return any((root / name).exists() for name in names[:TRIED])


def _with_other_suffix(names: Sequence[str], root: Path) -> Sequence[str]:
    """All names changed in the one way that finds one of the first; the same names if none does."""
    for suffix in ("", *VIDEO_SUFFIXES):
        for change in (_stem, str):
            changed = [change(name) + suffix for name in names[:TRIED]]
            if _any_exists(changed, root):
                logger.info("reading %s for %s, and all names alike", changed[0], names[0])
                return [change(name) + suffix for name in names]
    return names


def _by_id(names: Sequence[str], root: Path) -> Sequence[str]:
    """A path per id; ids that are not there get the most frequent suffix."""
    found: dict[str, str] = {}
    folders = [""]
    for _ in range(DEPTH):
        entries = [entry for folder in folders for entry in _entries(root, folder)]
        folders = [path for path, is_folder in entries if is_folder]
        videos = [path for path, is_folder in entries if not is_folder and _is_video(path)]
        # A video wins over a folder of its frames.
        found = {_stem(os.path.basename(path)): path for path in (*folders, *videos)}
        if any(_find(found, name) for name in names):
            break
    paths = [_find(found, name) for name in names]
    suffixes = [os.path.splitext(path)[1] for path in paths if path]
    usual = max(set(suffixes), key=suffixes.count) if suffixes else ".mp4"
    return [path or name + usual for path, name in zip(paths, names, strict=True)]


def _find(found: dict[str, str], name: str) -> str | None:
    return found.get(name) or found.get(f"v_{name}")  # ActivityNet's files start with v_


def _entries(root: Path, folder: str) -> list[tuple[str, bool]]:
    """The paths from `root` of all that is in `folder`, and whether each is a folder."""
    if not (root / folder).is_dir():
        return []
    with os.scandir(root / folder) as entries:
        return [(os.path.join(folder, entry.name), entry.is_dir()) for entry in entries]


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _stem(name: str) -> str:
    """`name` without the suffix of a video."""
    return os.path.splitext(name)[0] if _is_video(name) else name
