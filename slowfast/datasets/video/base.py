"""What every source of frames is: a timeline, and pictures by index on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor


class VideoError(ValueError):
    """A video that cannot be read as asked; one sentence that names the file and the trouble."""


class Video(ABC):
    """The frames of one video, by index on a constant-rate timeline.

    Index `i` of `num_frames` is the slot `[i, i + 1) / fps` seconds after the first frame, and
    means the frame on screen in the middle of the slot.  At a constant rate that is frame `i`; at
    a variable one a lasting frame is met several times, a brief one perhaps never.

    path          where the frames come from
    fps           slots per second
    timestamps    (num_frames,) seconds from the first frame to each one, rising

    A video is open until `close()` or the end of a `with` block.
    """

    path: str
    fps: float
    timestamps: np.ndarray

    @property
    def num_frames(self) -> int:
        """Length of the timeline, equal to the number of stored frames."""
        return len(self.timestamps)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned, shrunk and upright.  May decode one frame."""
        _, height, width, _ = self.frames([0]).shape
        return height, width

    @property
    def num_bytes(self) -> int:
        """Size of all frames when decoded."""
        height, width = self.size
        return self.num_frames * height * width * 3

    def frames(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The frames at `indices` (any order, repeats allowed): `(n, H, W, 3)` uint8 RGB, upright.

        Each is decoded once, in the order of the file.  Raises VideoError if one of them cannot be
        decoded undamaged, ValueError for no indices and IndexError for one beyond the end.
        """
        if len(indices) == 0:
            raise ValueError(f"{self.path}: no frames asked for; give at least one index")
        ranks = self._ranks[np.asarray(indices)]
        wanted, inverse = np.unique(ranks, return_inverse=True)
        pictures = torch.from_numpy(self._read(wanted))
        is_sorted = np.array_equal(wanted, ranks)
        return pictures if is_sorted else pictures[torch.from_numpy(inverse)]

    @cached_property
    def _ranks(self) -> np.ndarray:
        """The stored frame that each slot shows, counted in display order."""
        middles = (np.arange(self.num_frames) + 0.5) / self.fps
        return np.searchsorted(self.timestamps, middles, side="right") - 1

    @abstractmethod
    def _read(self, ranks: np.ndarray) -> np.ndarray:
        """The stored frames `ranks` (rising, in display order) as `(n, H, W, 3)` uint8 RGB."""

    def close(self) -> None:  # noqa: B027  (nothing to close is the usual case)
        """Let go of the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def shrunk(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with `short_side`; as they are if that is 0 or not smaller."""
    short = min(height, width)
    if not 0 < short_side < short:
        return height, width
    return round(height * short_side / short), round(width * short_side / short)
