"""Which frames of a video each clip takes, for every rate and view: arithmetic without any video.

A rate is a frame count.  The rates of one clip see the same stretch of time: the whole video
(`SegmentSampling`, Something-Something) or one span of it (`DenseSampling`, Kinetics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

Indices = tuple[Tensor, ...]  # frame indices of one clip, one (T,) int64 per rate, low to high


class Sampling(Protocol):
    """The frames of a video's clips."""

    num_frames: tuple[int, ...]
    num_clips: int

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        """One random clip with `generator`, else the `num_clips` fixed views in time order."""


def segment_indices(
    num_frames: int, num_segments: int, generator: Generator | None = None, phase: float = 0.5
) -> Tensor:
    """One frame index per equal segment: random inside it with `generator`, else at its `phase`.

    9 frames, 3 segments:  [0 1 2][3 4 5][6 7 8] -> centres 1 4 7.   Short videos repeat frames.
    Segment bounds are real numbers: every frame belongs to a segment, whatever the division leaves.
    Returns (num_segments,) int64, non-decreasing.  Raises ValueError if num_frames < 1.
    TSN, arXiv:1608.00859.
    """
    check_length(num_frames)
    if generator is None:
        offsets = torch.full((num_segments,), phase, dtype=torch.float64)
    else:
        offsets = torch.rand(num_segments, generator=generator, dtype=torch.float64)
    indices = ((torch.arange(num_segments) + offsets) * (num_frames / num_segments)).long()
    return indices.clamp_(max=num_frames - 1)


def dense_indices(num_frames: int, num_samples: int, start: float, span: float) -> Tensor:
    """`num_samples` frame indices evenly over the `span` frames from `start`, both ends included.

    Span 8 from 2:  2 [. . . . . . .] 9 -> 4 samples 2 4 6 9, 1 sample 5 (its centre).
    Past the end of a short video the last frame repeats.  The rule of PySlowFast.
    Returns (num_samples,) int64, non-decreasing. Raises ValueError if num_frames < 1.
    """
    check_length(num_frames)
    end = start + max(span, 1) - 1
    first, last = (start, end) if num_samples > 1 else ((start + end) / 2,) * 2
    return torch.linspace(first, last, num_samples).clamp_(0, num_frames - 1).long()


@dataclass(frozen=True)
class SegmentSampling:
    """Each rate divides the whole video into as many segments as it has frames.

    Random clips draw every rate anew, or with `nested` draw the highest from the video and each
    lower one from the frames of the next higher.  View k of K is at (k + 1/2) / K of its segments.
    """

    num_frames: tuple[int, ...]
    num_clips: int = 1
    nested: bool = False

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        if generator is None:
            phases = [(view + 0.5) / self.num_clips for view in range(self.num_clips)]
            return [
                tuple(segment_indices(length, t, phase=phase) for t in self.num_frames)
                for phase in phases
            ]
        if not self.nested:
            return [tuple(segment_indices(length, t, generator) for t in self.num_frames)]
        rates = [segment_indices(length, self.num_frames[-1], generator)]
        for t in self.num_frames[-2::-1]:
            higher = rates[-1]
            rates.append(higher[segment_indices(len(higher), t, generator)])
        return [tuple(reversed(rates))]


@dataclass(frozen=True)
class DenseSampling:
    """All rates spread evenly over one span of `span` frames of a `target_fps` video.

    The span starts anywhere in a random clip.  View k of K starts at k / (K - 1) of the way to the
    last possible start, so that the views reach from the first to the last frame; one view is
    centred.  The rates share the span and have no other randomness; with `nested`, random clips
    take each lower rate evenly from the frames of the next higher.
    """

    num_frames: tuple[int, ...]
    span: float
    target_fps: float = 30.0
    num_clips: int = 1
    nested: bool = False

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        span = self.span * fps / self.target_fps
        room = max(length - span, 0.0)
        if generator is not None:
            start = torch.rand((), generator=generator, dtype=torch.float64).item() * room
            take = self._nested if self.nested else self._at
            return [take(length, start, span)]
        last = self.num_clips - 1
        ways = [view / last for view in range(self.num_clips)] if last else [0.5]
        return [self._at(length, way * room, span) for way in ways]

    def _at(self, length: int, start: float, span: float) -> Indices:
        return tuple(dense_indices(length, t, start, span) for t in self.num_frames)

    def _nested(self, length: int, start: float, span: float) -> Indices:
        rates = [dense_indices(length, self.num_frames[-1], start, span)]
        for t in self.num_frames[-2::-1]:
            higher = rates[-1]
            rates.append(higher[dense_indices(len(higher), t, 0, len(higher))])
        return tuple(reversed(rates))


@dataclass(frozen=True)
class ClipsSampling:
    """Short clips of `length` frames, one around a place in each equal part of the video.

        12 frames, 2 clips of 3 in a span of 3:  . 1 2 3 . . . 7 8 9 . .

    A rate of T frames has T / `length` clips, in temporal order.  Each takes its frames evenly from
    `span` frames of a `target_fps` video, inside the video if that is long enough.  Random clips
    draw the places, view k of K has them at (k + 1/2) / K of the parts.  Raises ValueError for a
    rate that `length` does not divide.
    """

    num_frames: tuple[int, ...]
    length: int
    span: float
    target_fps: float = 30.0
    num_clips: int = 1

    def __post_init__(self) -> None:
        for t in self.num_frames:
            if t % self.length:
                raise ValueError(
                    f"{t} frames are no whole number of clips of FRAME_EXIT.CLIP_LENGTH="
                    f"{self.length}; choose multiples of it"
                )

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        check_length(length)
        if generator is not None:
            return [tuple(self._at(length, fps, t, generator, 0.0) for t in self.num_frames)]
        phases = [(view + 0.5) / self.num_clips for view in range(self.num_clips)]
        return [
            tuple(self._at(length, fps, t, None, phase) for t in self.num_frames)
            for phase in phases
        ]

    def _at(
        self, length: int, fps: float, num_frames: int, generator: Generator | None, phase: float
    ) -> Tensor:
        parts = num_frames // self.length
        offsets = torch.full((parts,), phase, dtype=torch.float64)
        if generator is not None:
            offsets = torch.rand(parts, generator=generator, dtype=torch.float64)
        span = self.span * fps / self.target_fps
        middles = (torch.arange(parts) + offsets) * (length / parts)
        starts = (middles - span / 2).clamp(0, max(length - span, 0.0))
        return torch.cat([dense_indices(length, self.length, s, span) for s in starts.tolist()])


@dataclass(frozen=True)
class FixedViews:
    """The views of `sampling`, also where other parts of a sample are random."""

    sampling: Sampling

    @property
    def num_frames(self) -> tuple[int, ...]:
        return self.sampling.num_frames

    @property
    def num_clips(self) -> int:
        return self.sampling.num_clips

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        return self.sampling.clips(length, fps)


@dataclass(frozen=True)
class NestedViews:
    """The views of `sampling` at its highest rate, of whose frames the lower ones take theirs.

    A frame that is decoded for a rate serves all higher ones.  In random clips, too.
    """

    sampling: Sampling

    @property
    def num_frames(self) -> tuple[int, ...]:
        return self.sampling.num_frames

    @property
    def num_clips(self) -> int:
        return self.sampling.num_clips

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        positions = nested_positions(self.num_frames)
        views = self.sampling.clips(length, fps, generator)
        return [tuple(rates[-1][places] for places in positions) for rates in views]


def nested_positions(num_frames: Sequence[int]) -> list[Tensor]:
    """Which frames of the highest rate each rate takes, `(T,)` int64 each; lower ones of higher.

    Those in the middle of equal parts of the next higher rate; between two of them the later one,
    a rate below the earlier one, and so on: rates do not drift away from the middle.

         8 frames:  0 1 2 3 4 5 6 7
         4 frames:    1   3   5   7
         2 frames:    1       5
    """
    positions = [torch.arange(num_frames[-1])]
    for depth, count in enumerate(num_frames[-2::-1]):
        higher = positions[-1]
        middles = (torch.arange(count, dtype=torch.float64) + 0.5) * (len(higher) / count) - 0.5
        later = depth % 2 == 0
        chosen = (middles + 0.5).floor() if later else (middles - 0.5).ceil()
        positions.append(higher[chosen.long()])
    return positions[::-1]


def union(clips: Sequence[Indices]) -> tuple[Tensor, list[Indices]]:
    """All frames of `clips`, sorted and each once, and where each clip's frames lie among them.

    [(3 7), (1 3 5 7)] -> 1 3 5 7 and [(1 3), (0 1 2 3)].
    """
    flat = [indices for clip in clips for indices in clip]
    wanted, inverse = torch.unique(torch.cat(flat), return_inverse=True)
    pieces = iter(inverse.split([len(indices) for indices in flat]))
    return wanted, [tuple(next(pieces) for _ in clip) for clip in clips]


def check_length(num_frames: int) -> None:
    """Raises ValueError for a video without frames."""
    if num_frames < 1:
        raise ValueError(f"a video of {num_frames} frames cannot be sampled; it needs at least 1")
