"""Videos that cannot be read: counted, listed in a file, and too many of them are an error."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from slowfast.datasets import Failure

SHOWN = 20  # failures that an error message lists; the file has all


class Failures:
    """The videos of an epoch that could not be read, of `videos` in the list.

    More than `limit` of them, a share below 1 or else a number, are refused.
    """

    def __init__(self, videos: int, limit: float, path: Path) -> None:
        self.videos, self.limit, self.path = videos, limit, path
        self.found: list[Failure] = []

    def __len__(self) -> int:
        return len(self.found)

    def add(self, failures: Iterable[Failure]) -> None:
        """Take in the failures of a batch.

        Raises ValueError with the list of failures, which is also written to `path`, when they
        become too many.
        """
        self.found += failures
        if len(self.found) <= (self.limit if self.limit >= 1 else self.limit * self.videos):
            return
        write_failures(self.path, self.found)
        lines = [f"  {failure.error}" for failure in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            lines.append(f"  ... and {len(self.found) - SHOWN} more in {self.path}")
        raise ValueError(
            f"{len(self.found)} of {self.videos} training videos could not be read so far, more "
            f"than DATA.MAX_FAILURES={self.limit:g} allows; mend them, take them off the list or "
            f"raise the limit (tools/data.py check finds all of them):\n" + "\n".join(lines)
        )


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """A csv file with index, path and error of each."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Failure._fields, *failures])
