"""Videos that cannot be read: counted, listed in a file, and too many of them are an error."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from slowfast.datasets import Failure
from slowfast.engine.processes.world import World

SHOWN = 20  # failures that an error message lists; the file has all


class Failures:
    """The videos of an epoch that this process could not read, of `videos` in the list.

    More than `limit` of them in all processes, a share below 1 or else a number, are refused.
    `found` are the ones known already; the list goes on.
    """

    def __init__(self, videos: int, limit: float, path: Path, found: list[Failure]) -> None:
        self.videos, self.limit, self.path = videos, limit, path
        self.found = found

    def __len__(self) -> int:
        return len(self.found)

    def add(self, failures: Iterable[Failure]) -> None:
        """Take in the failures of a batch."""
        self.found += failures

    def check(self, total: float, world: World) -> None:
        """Raise ValueError, with a list that goes to `path` too, if `total` of all are too many."""
        if total <= (self.limit if self.limit >= 1 else self.limit * self.videos):
            return
        found = list(chain(*world.gather(self.found)))
        if world.is_main:
            write_failures(self.path, found)
        lines = [f"  {failure.error}" for failure in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"  ... and {len(found) - SHOWN} more in {self.path}")
        raise ValueError(
            f"{len(found)} of {self.videos} training videos could not be read so far, more "
            f"than DATA.MAX_FAILURES={self.limit:g} allows; mend them, take them off the list or "
            f"raise the limit (tools/data.py check finds all of them):\n" + "\n".join(lines)
        )


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """A csv file with index, path and error of each."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Failure._fields, *failures])
