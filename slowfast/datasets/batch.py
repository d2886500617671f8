"""What a loader yields: clips of several videos at several rates, and the videos that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate


class Failure(NamedTuple):
    """A video that could not be read."""

    index: int
    path: str
    error: str


class Sample(NamedTuple):
    """One video: `clips` holds a (V, 3, T, H, W) float32 tensor of its V views per frame count.

    `label` is a class or, where videos have several, the row (K,) with a 1 at each of them.
    """

    clips: tuple[Tensor, ...]
    label: int | np.ndarray
    index: int
    path: str


@dataclass(frozen=True)
class Batch:
    """B videos with V views each; videos that failed are listed and in no other field.

    clips     one (B * V, 3, T, H, W) float32 per frame count, low to high; video 0's views first
    labels    (B,) int64; (B, K) float32 where videos have several classes, and after `Mixing`
    index     (B,) int64, rows of the list; stays on the CPU
    """

    clips: tuple[Tensor, ...]
    labels: Tensor
    index: Tensor
    failures: tuple[Failure, ...] = ()
    num_views: int = 1
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """A copy with clips and labels on `device`."""
        clips = tuple(clip.to(device, non_blocking=non_blocking) for clip in self.clips)
        labels = self.labels.to(device, non_blocking=non_blocking)
        return replace(self, clips=clips, labels=labels)

    def pin_memory(self) -> Batch:
        """A copy with clips and labels in page-locked memory."""
        clips = tuple(clip.pin_memory() for clip in self.clips)
        return replace(self, clips=clips, labels=self.labels.pin_memory())


@dataclass(frozen=True)
class Collate:
    """Samples and failures to a Batch; its clips have no rows when every video failed.

    Each of a sample's `copies` becomes a video of its own.
    """

    num_frames: tuple[int, ...]
    num_views: int
    crop_size: int
    copies: int = 1

    def __call__(self, items: Sequence[Sample | Failure]) -> Batch:
        samples = [item for item in items if isinstance(item, Sample)]
        videos = [sample for sample in samples for _ in range(self.copies)]
        return Batch(
            clips=tuple(self._clips(samples, rate) for rate in range(len(self.num_frames))),
            labels=_stacked([video.label for video in videos]),
            index=torch.tensor([video.index for video in videos], dtype=torch.int64),
            failures=tuple(item for item in items if isinstance(item, Failure)),
            num_views=self.num_views,
            paths=tuple(video.path for video in videos),
        )

    def _clips(self, samples: Sequence[Sample], rate: int) -> Tensor:
        if not samples:
            return torch.empty(0, 3, self.num_frames[rate], self.crop_size, self.crop_size)
        # In a worker this writes to shared memory at once, and leaves no holes in its own.
        return default_collate([sample.clips[rate] for sample in samples]).flatten(0, 1)


def _stacked(labels: Sequence[int | np.ndarray]) -> Tensor:
    """(B,) int64 or (B, K) float32."""
    return torch.from_numpy(np.array(labels)) if labels else torch.empty(0, dtype=torch.int64)
