"""Rectangles of the source frames: drawn once per sample, cut and resized in uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate


class Scale(NamedTuple):
    """Frames resized as a whole; without `antialias` every pixel comes from its four nearest."""

    height: int
    width: int
    antialias: bool


class Box(NamedTuple):
    """A rectangle of the source frames, or of these resized to `scale`; mirrored if `flip`."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    scale: Scale | None = None


class Crops(Protocol):
    """The crops of one video."""

    size: int
    num_crops: int

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        """Rectangles of frames of `height` x `width`, to become `size` x `size` pixels."""


@dataclass(frozen=True)
class RandomCrop:
    """A crop of `size` pixels from frames whose short side is drawn between `jitter`'s two.

    The short side is uniform, or uniform in 1/length with `inverse`; `flip` mirrors half the time.
    """

    size: int
    jitter: tuple[int, int]
    inverse: bool = False
    flip: bool = False
    num_crops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        low, high = self.jitter
        if not self.size <= low <= high:
            raise ValueError(
                f"DATA.TRAIN_JITTER_SCALES={list(self.jitter)} must rise from at least "
                f"DATA.TRAIN_CROP_SIZE={self.size}"
            )

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        u, y, x, mirror = torch.rand(4, generator=generator).tolist()
        low, high = self.jitter
        if self.inverse:
            short_side = 1 / (1 / high + u * (1 / low - 1 / high))
        else:
            short_side = low + u * (high - low)
        short = min(height, width)
        side = max(1, min(short, round(short * self.size / short_side)))
        top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
        return [Box(top, left, side, side, self.flip and mirror < 0.5)]


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop with a share of the frame between `area`'s two and width / height between `aspect`'s.

    The share is uniform, the aspect uniform in its logarithm.  If ten draws do not fit the frame,
    the largest centred crop within `aspect` is taken.  Inception, arXiv:1409.4842.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    num_crops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(
                f"DATA.TRAIN_JITTER_SCALES_RELATIVE={list(self.area)} must be [smallest, largest] "
                "share of the frame's area, at most 1"
            )
        if len(self.aspect) != 2 or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(
                f"DATA.TRAIN_JITTER_ASPECT_RELATIVE={list(self.aspect)} must be "
                "[smallest, largest] width over height"
            )

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        *draws, mirror = torch.rand(41, generator=generator, dtype=torch.float64).tolist()
        flip = self.flip and mirror < 0.5
        narrow, wide = map(log, self.aspect)
        for a, r, y, x in zip(*[iter(draws)] * 4, strict=True):
            area = height * width * (self.area[0] + a * (self.area[1] - self.area[0]))
            aspect = exp(narrow + r * (wide - narrow))
            h, w = round(sqrt(area / aspect)), round(sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                return [Box(int(y * (height - h + 1)), int(x * (width - w + 1)), h, w, flip)]
        w = min(width, max(1, round(height * self.aspect[1])))
        h = min(height, max(1, round(width / self.aspect[0])))
        return [Box((height - h) // 2, (width - w) // 2, h, w, flip)]


@dataclass(frozen=True)
class MultiScaleCrop:
    """The crop of TSN and TSM: two of four sizes for height and width, at one of 13 places.

    Sizes are `scales` of the short side and differ by at most one step; one within 3 pixels of
    `size` becomes `size`.  Places are the corners, the middles of edges and of the frame, and the
    middles of its quarters, on a grid of quarters of the rest.  arXiv:1608.00859.
    """

    size: int
    flip: bool = False
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    num_crops: ClassVar[int] = 1
    # Quarters of the rest below and to the right: (top, left).
    places: ClassVar[tuple[tuple[int, int], ...]] = (
        *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
        *((2, 0), (2, 4), (4, 2), (0, 2)),
        *((1, 1), (1, 3), (3, 1), (3, 3)),
    )

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        sides = [self._snapped(int(min(height, width) * scale)) for scale in self.scales]
        steps = range(len(sides))
        pairs = [(sides[i], sides[j]) for i in steps for j in steps if abs(i - j) <= 1]
        pick, place, mirror = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        chosen = pairs[int(pick * len(pairs))]
        h, w = min(chosen[0], height), min(chosen[1], width)
        down, right = self.places[int(place * len(self.places))]
        top, left = down * ((height - h) // 4), right * ((width - w) // 4)
        return [Box(top, left, h, w, self.flip and mirror < 0.5)]

    def _snapped(self, side: int) -> int:
        return self.size if abs(side - self.size) < 3 else max(side, 1)


@dataclass(frozen=True)
class UniformCrops:
    """The centre, or three crops along the long side (left or top, centre, right or bottom).

    They span the short side.
    """

    size: int
    num_crops: int = 1

    def __post_init__(self) -> None:
        check_num_crops(self.num_crops)

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        side = min(height, width)
        places = (0.5,) if self.num_crops == 1 else (0.0, 0.5, 1.0)
        rest_y, rest_x = height - side, width - side
        return [Box(ceil(place * rest_y), ceil(place * rest_x), side, side) for place in places]


def check_num_crops(num_crops: int) -> None:
    """Raises ValueError unless there is one crop or three."""
    if num_crops not in (1, 3):
        raise ValueError(f"TEST.NUM_SPATIAL_CROPS={num_crops} must be 1 or 3")


def cut(frames: Tensor, box: Box, size: int) -> Tensor:
    """The `box` of `frames` `(n, H, W, 3)` uint8, resized: `(n, 3, size, size)` uint8."""
    (pixels,) = cut_all(frames, [box], size)
    return pixels


def cut_all(frames: Tensor, boxes: Sequence[Box], size: int) -> list[Tensor]:
    """`cut` for each of `boxes`; whole frames are resized once for all boxes of one scale."""
    scaled: dict[Scale | None, Tensor] = {None: frames.permute(0, 3, 1, 2)}
    pieces = []
    for box in boxes:
        if box.scale not in scaled:
            target = (box.scale.height, box.scale.width)
            scaled[box.scale] = _resize(scaled[None], target, box.scale.antialias)
        rows = slice(box.top, box.top + box.height)
        columns = slice(box.left, box.left + box.width)
        piece = _resize(scaled[box.scale][:, :, rows, columns], (size, size))
        pieces.append(piece.flip(-1) if box.flip else piece)
    return pieces


def _resize(pixels: Tensor, size: tuple[int, int], antialias: bool = True) -> Tensor:
    if pixels.shape[2:] == size:
        return pixels
    return interpolate(pixels, size, mode="bilinear", antialias=antialias)
