"""What a list says of its videos, in flat buffers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Records:
    """Paths and classes of a data set, in flat buffers that worker processes share uncopied.

    `labels` holds a class per video or, with `num_classes`, any number of them per video: then a
    label is the multi-hot row of that length.  `num_frames` holds the lengths that the list states,
    if it states any.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Sequence[int] | Sequence[Sequence[int]],
        root: str | Path = "",
        *,
        num_frames: Sequence[int] = (),
        num_classes: int = 0,
    ) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._paths = b"".join(encoded)
        self._bounds = np.cumsum([0, *map(len, encoded)])
        flat = [c for classes in labels for c in classes] if num_classes else labels
        self.labels = np.array(flat, np.int64)
        self._label_bounds = np.cumsum([0, *map(len, labels)]) if num_classes else np.empty(0)
        self.num_classes = num_classes
        self.lengths = np.array(num_frames, np.int32)
        self.root = os.fspath(root)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def name(self, index: int) -> str:
        """Path of video `index` as the list has it."""
        start, end = self._bounds[index : index + 2]
        return os.fsdecode(self._paths[start:end])

    def path(self, index: int) -> str:
        """Full path of video `index`."""
        return os.path.join(self.root, self.name(index))

    def classes(self, index: int) -> tuple[int, ...]:
        """All classes of video `index`."""
        if not self.num_classes:
            return (int(self.labels[index]),)
        start, end = self._label_bounds[index : index + 2]
        return tuple(self.labels[start:end].tolist())

    def label(self, index: int) -> int | np.ndarray:
        """Class of video `index`, or the float32 row `(num_classes,)` with a 1 at each of them."""
        if not self.num_classes:
            return int(self.labels[index])
        row = np.zeros(self.num_classes, np.float32)
        row[list(self.classes(index))] = 1
        return row

    def num_frames(self, index: int) -> int | None:
        """Length of video `index` as the list has it; None if it does not say."""
        return int(self.lengths[index]) or None if len(self.lengths) else None
