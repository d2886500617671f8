"""The frames that other projects' loaders take, with their quirks, to repeat published numbers.

`sampling.py` holds the rules to train by; these are chosen by name (DATA.SAMPLING).  Each rule is a
function of the video's length.  With `draws` it takes a random clip, else view `view` of
`num_views`.  It returns int64 indices from 0, whatever number the first frame's file has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from torch import Generator, Tensor

from slowfast.datasets.draws import Draws, TorchDraws
from slowfast.datasets.sampling import Indices, Sampling, check_length, dense_indices

# --------------------------------------------------------------------- segments of a whole video


def pyslowfast_ssv2_indices(
    length: int, count: int, draws: Draws | None = None, view: int = 0, num_views: int = 1
) -> Tensor:
    """Something-Something in PySlowFast: a frame of each of `count` segments.

    The segments divide length - 1 and share their rounded bounds, so that neighbours may take the
    same frame.  The fixed frame is half-way between the bounds; all views are the same.
    """
    bounds = _rounded_bounds(length, count)
    return _between(bounds, draws, [(low + high) // 2 for low, high in bounds])


def sth_ffn_indices(
    length: int, count: int, draws: Draws | None = None, view: int = 0, num_views: int = 1
) -> Tensor:
    """Something-Something in UniFormer and FFN (3D, transformer): as in PySlowFast when random.

    View v of V moves by (v + 1) / (V + 1) of a segment from its lower bound, rounded down: segments
    of one frame have a single view, their first frame.
    """
    bounds = _rounded_bounds(length, count)
    offset = int((length - 1) / count / (num_views + 1) * (view + 1))
    return _between(bounds, draws, [low + offset for low, _ in bounds])


def tsn_indices(
    length: int, count: int, draws: Draws | None = None, view: int = 0, num_views: int = 1
) -> Tensor:
    """TSN, TSM and the 2D networks of FFN: a frame of each of `count` segments.

    Random: segments of floor(length / count) frames, so that the remainder at the end of a video
    is never seen; a video with fewer frames than segments is its first frame, `count` times.
    Fixed: centres of segments of real length, but the first frame only if length <= count.  Of two
    views the other is at the segments' starts ("twice sample"), and both treat short videos alike.
    """
    size = length // count
    if draws is not None and size:
        return torch.tensor([i * size + draws.integer(0, size - 1) for i in range(count)])
    _at_most_two(num_views)
    if draws is not None or (num_views == 1 and length <= count):
        return torch.zeros(count, dtype=torch.int64)
    tick = length / count
    shift = tick / 2 if view == 0 else 0.0
    return torch.tensor([int(shift + tick * i) for i in range(count)])


def mmaction_segment_indices(
    length: int, count: int, draws: Draws | None = None, view: int = 0, num_views: int = 1
) -> Tensor:
    """TSN in mmaction2 and ResKD: `SampleFrames` with one frame per clip and `count` clips.

    Random: as `tsn_indices`, remainder included, but a video with fewer frames than segments
    spreads over all of them, and the last of these may wrap around to the first frame.  Fixed:
    centres; of two views the other is at the segments' starts.
    """
    if draws is None:
        _at_most_two(num_views)
        starts = mmaction_views(length, count, span=1, shifted=view == 0)
    else:
        starts = mmaction_starts(length, count, span=1, draws=draws)
    return torch.tensor(starts) % length


def frameexit_indices(
    length: int, count: int, draws: Draws | None = None, view: int = 0, num_views: int = 1
) -> Tensor:
    """FrameExit: `count` frames evenly from 0 to `length`, that end included and then clipped.

    Training is not random, and all views are the same.  57 frames, 4: 0 19 38 56.
    """
    return torch.from_numpy(np.linspace(0, length, count).clip(0, length - 1)).long()


def _rounded_bounds(length: int, count: int) -> list[tuple[int, int]]:
    """First and last frame, both included, of segments; halves round to even as in NumPy."""
    size = (length - 1) / count
    edges = [round(size * i) for i in range(count + 1)]
    return list(zip(edges, edges[1:], strict=False))


def _between(bounds: list[tuple[int, int]], draws: Draws | None, fixed: list[int]) -> Tensor:
    return torch.tensor(fixed if draws is None else [draws.integer(*ends) for ends in bounds])


def _at_most_two(num_views: int) -> None:
    if num_views > 2:
        raise ValueError(
            f"the published rule has one or two views; got TEST.NUM_ENSEMBLE_VIEWS={num_views}. "
            "Lower it, or set DATA.SAMPLING segment"
        )


def mmaction_starts(length: int, num_clips: int, span: int, draws: Draws) -> list[int]:
    """First frames of random clips of `span` frames: one in each of `num_clips` intervals."""
    room = length - span + 1
    size = room // num_clips
    if size > 0:
        return [i * size + draws.integer(0, size - 1) for i in range(num_clips)]
    if length > max(num_clips, span):
        return sorted(draws.integer(0, room - 1) for _ in range(num_clips))
    if size == 0:
        return [round(i * (room / num_clips)) for i in range(num_clips)]
    return [0] * num_clips


def mmaction_views(length: int, num_clips: int, span: int, shifted: bool = True) -> list[int]:
    """First frames of clips of `span` frames at the centres of intervals, or at their starts."""
    size = (length - span + 1) / num_clips
    if length < span:
        return [0] * num_clips
    return [int(i * size + (size / 2 if shifted else 0.0)) for i in range(num_clips)]


# --------------------------------------------------------------------- one stretch of a video


def pyslowfast_start(
    length: int,
    span: float,
    draws: Draws | None = None,
    view: int = 0,
    num_views: int = 1,
    offset: bool = False,
) -> float:
    """Where a span of `span` frames starts in PySlowFast.

    View k of K starts at k / K of the room, so that the last one does not reach the video's end and
    a single one is the video's beginning.  With `offset` at k whole steps of floor(room / (K - 1)),
    a single one at floor(room / 2).
    """
    room = max(length - span, 0)
    if draws is not None:
        return draws.uniform(0, room)
    if not offset:
        return room * view / num_views
    return floor(room / 2) if num_views == 1 else view * floor(room / (num_views - 1))


def trimmed_indices(length: int, count: int, start: float, span: float) -> Tensor:
    """`dense_indices` among the frames that PySlowFast decodes with torchvision.

    It decodes the frames inside the span and takes its clip from the first of them on, up to one
    frame late; the last decoded frame stands for those beyond it.  There is one at least, where
    PySlowFast decodes none and takes another video.
    """
    first = ceil(start)
    last = max(min(floor(start + span - 1), length - 1), first)
    return first + dense_indices(last - first + 1, count, 0, span)


def charades_indices(
    length: int,
    count: int,
    stride: int,
    draws: Draws | None = None,
    view: int = 0,
    num_views: int = 1,
) -> Tensor:
    """Charades in PySlowFast: `count` frames, `stride` apart; outside the video its end frames.

    In a shorter video random clips may start before its first frame.  PySlowFast divides by the
    number of views less one; a single view, which it therefore cannot have, is the centre here.
    """
    room = length - ((count - 1) * stride + 1)
    if draws is not None:
        start = draws.integer(min(room, 0), max(room, 0))
    elif num_views > 1:
        start = round(max(room, 0) / (num_views - 1) * view)
    else:
        start = max(room, 0) // 2
    return (start + stride * torch.arange(count)).clamp_(0, length - 1)


def mmaction_dense_indices(
    length: int,
    count: int,
    stride: int,
    draws: Draws | None = None,
    view: int = 0,
    num_views: int = 1,
) -> Tensor:
    """`SampleFrames` of mmaction2 and ResKD: `count` frames, `stride` apart, wrapping around."""
    span = count * stride
    if draws is None:
        start = mmaction_views(length, num_views, span)[view]
    else:
        (start,) = mmaction_starts(length, 1, span, draws)
    return (start + stride * torch.arange(count)) % length


# --------------------------------------------------------------------- by name


@dataclass(frozen=True)
class EachRate:
    """Each rate follows `rule` by itself, as in FFN: a lower rate's frames are no subset."""

    rule: Callable[..., Tensor]
    num_frames: tuple[int, ...]
    num_clips: int = 1

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        check_length(length)
        if generator is not None:
            draws = TorchDraws(generator)
            return [tuple(self.rule(length, t, draws) for t in self.num_frames)]
        return [
            tuple(self.rule(length, t, None, view, self.num_clips) for t in self.num_frames)
            for view in range(self.num_clips)
        ]


@dataclass(frozen=True)
class Strided:
    """A clip of `most` frames follows `rule`; every rate, unpublished, takes evenly of its frames.

    Frame rates do not matter.
    """

    rule: Callable[..., Tensor]
    num_frames: tuple[int, ...]
    most: int
    stride: int
    num_clips: int = 1

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        check_length(length)
        if generator is not None:
            clips = [self.rule(length, self.most, self.stride, TorchDraws(generator))]
        else:
            clips = [
                self.rule(length, self.most, self.stride, None, view, self.num_clips)
                for view in range(self.num_clips)
            ]
        places = [torch.arange(t) * self.most // t for t in self.num_frames]
        return [tuple(clip[where] for where in places) for clip in clips]


@dataclass(frozen=True)
class PySlowFastSpan:
    """Kinetics in PySlowFast: all rates evenly over one span of `span` frames at `target_fps`.

    Validation clips are random.  `offset` as in `pyslowfast_start`; with `trimmed`, a video longer
    than `span` frames is decoded for its span only, see `trimmed_indices`.
    """

    num_frames: tuple[int, ...]
    span: int
    target_fps: float = 30.0
    num_clips: int = 1
    offset: bool = False
    trimmed: bool = False

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        check_length(length)
        span = max(1.0, self.span / self.target_fps * fps)
        draws = None if generator is None else TorchDraws(generator)
        take = trimmed_indices if self.trimmed and length > self.span else dense_indices
        clips = []
        for view in range(1 if draws else self.num_clips):
            start = pyslowfast_start(length, span, draws, view, self.num_clips, self.offset)
            clips.append(tuple(take(length, t, start, span) for t in self.num_frames))
        return clips


EACH_RATE = {
    "pyslowfast_ssv2": pyslowfast_ssv2_indices,
    "sth_ffn": sth_ffn_indices,
    "tsn": tsn_indices,
    "mmaction_segment": mmaction_segment_indices,
    "frameexit": frameexit_indices,
}
STRIDED = {"charades": charades_indices, "mmaction_dense": mmaction_dense_indices}
SPAN = ("pyslowfast", "pyslowfast_trimmed")
NAMES = (*SPAN, *STRIDED, *EACH_RATE)
# Their validation takes random clips as training does.
RANDOM_VALIDATION = (*SPAN, "charades")


def published_sampling(
    name: str,
    num_frames: tuple[int, ...],
    num_clips: int = 1,
    *,
    most: int,
    stride: int,
    target_fps: float = 30.0,
    offset: bool = False,
) -> Sampling:
    """The rule `name`, one of `NAMES`; dense clips have `most` frames at `stride`."""
    if name in EACH_RATE:
        return EachRate(EACH_RATE[name], num_frames, num_clips)
    if name in STRIDED:
        return Strided(STRIDED[name], num_frames, most, stride, num_clips)
    trimmed = name == "pyslowfast_trimmed"
    return PySlowFastSpan(num_frames, most * stride, target_fps, num_clips, offset, trimmed)
