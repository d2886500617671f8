"""What is known of each video of a data set: a line of JSON per video, beside the lists."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from slowfast.datasets.records import Records

logger = logging.getLogger(__name__)

_BROKEN = '{"ok": false'  # how the lines of unreadable videos begin


class Probe(NamedTuple):
    """One video: its name in the lists, the state of its file, and what was found in it.

    `error` says why it cannot be read, and the fields behind it are 0.  `variable` is a rate that
    changes; equal files have equal `digest`s.  `whole` says that every frame was decoded.
    """

    name: str
    size: int
    mtime: int
    error: str
    num_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    variable: bool = False
    digest: str = ""
    whole: bool = False

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / self.fps if self.fps else 0.0


def file_state(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; (0, 0) if there is no such file."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def write_manifest(path: Path, probes: Iterable[Probe]) -> None:
    """Replace the manifest by one of `probes`; no half-written file is ever seen."""
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "w", encoding="utf-8") as file:
        for probe in probes:
            file.write(json.dumps({"ok": probe.ok, **probe._asdict()}) + "\n")
    os.replace(temporary, path)


def read_manifest(path: Path, only_broken: bool = False) -> dict[str, Probe]:
    """The probes by name; {} without a manifest.  Raises ValueError if it is damaged."""
    if not path.is_file():
        return {}
    probes = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if only_broken and not line.startswith(_BROKEN):
                continue
            try:
                values = json.loads(line)
                del values["ok"]
                probes[values["name"]] = Probe(**values)
            except (ValueError, TypeError, KeyError):
                raise ValueError(
                    f"{path}, line {number}: {line[:60]!r} is no line of a manifest; remove the "
                    f"file and run tools/data.py check again"
                ) from None
    return probes


def known_failures(records: Records, path: Path | None) -> dict[int, str]:
    """The videos that the manifest at `path` says cannot be read, with the reason.

    Only those whose files have not changed since.
    """
    broken = read_manifest(path, only_broken=True) if path else {}
    if not broken:
        return {}
    found = {}
    for index in range(len(records)):
        probe = broken.get(records.name(index))
        if probe and file_state(records.path(index)) == (probe.size, probe.mtime):
            found[index] = probe.error
    if found:
        logger.warning("%s knows %d videos that cannot be read", path, len(found))
    return found
