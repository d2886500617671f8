"""What a loader yields: clips of several videos at several rates, and the videos that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Failure(NamedTuple):
    """A video that could not be read."""

    index: int
    path: str
    error: str


class Sample(NamedTuple):
    """One video: `clips` holds a (V, 3, T, H, W) float32 tensor of its V views per frame count."""

    clips: tuple[Tensor, ...]
    label: int
    index: int
    path: str


@dataclass(frozen=True)
class Batch:
    """B videos with V views each; videos that failed are listed and in no other field.

    clips     one (B * V, 3, T, H, W) float32 per frame count, low to high; video 0's views first
    labels    (B,) int64
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
    """Samples and failures to a Batch; its clips have no rows when every video failed."""

    num_frames: tuple[int, ...]
    num_views: int
    crop_size: int

    def __call__(self, items: Sequence[Sample | Failure]) -> Batch:
        samples = [item for item in items if isinstance(item, Sample)]
        return Batch(
            clips=tuple(self._clips(samples, rate) for rate in range(len(self.num_frames))),
            labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
            index=torch.tensor([sample.index for sample in samples], dtype=torch.int64),
            failures=tuple(item for item in items if isinstance(item, Failure)),
            num_views=self.num_views,
            paths=tuple(sample.path for sample in samples),
        )

    def _clips(self, samples: Sequence[Sample], rate: int) -> Tensor:
        if not samples:
            return torch.empty(0, 3, self.num_frames[rate], self.crop_size, self.crop_size)
        return torch.cat([sample.clips[rate] for sample in samples])
