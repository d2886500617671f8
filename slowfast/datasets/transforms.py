"""From decoded frames to network input: one crop for a whole sample, then resizing and colours.

Everything up to the last step works on uint8, and only on the pixels that are kept: cutting the
crop's rectangle out of the source frames, resizing it (antialiased) and one fused multiply-add cost
about a tenth of resizing whole frames in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate


class Box(NamedTuple):
    """A square of the source frames, to be mirrored if `flip`."""

    top: int
    left: int
    side: int
    flip: bool = False


class Crops(Protocol):
    """The crops of one video."""

    size: int
    num_crops: int

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        """Squares of frames of `height` x `width`, to become `size` x `size` pixels."""


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
        top = int(y * (height - side + 1))
        left = int(x * (width - side + 1))
        return [Box(top, left, side, self.flip and mirror < 0.5)]


@dataclass(frozen=True)
class UniformCrops:
    """The centre, or three crops along the long side (left or top, centre, right or bottom).

    They span the short side.
    """

    size: int
    num_crops: int = 1

    def __post_init__(self) -> None:
        if self.num_crops not in (1, 3):
            raise ValueError(f"TEST.NUM_SPATIAL_CROPS={self.num_crops} must be 1 or 3")

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        side = min(height, width)
        places = (0.5,) if self.num_crops == 1 else (0.0, 0.5, 1.0)
        rest_y, rest_x = height - side, width - side
        return [Box(ceil(place * rest_y), ceil(place * rest_x), side) for place in places]


def cut(frames: Tensor, box: Box, size: int) -> Tensor:
    """The `box` of `frames` `(n, H, W, 3)` uint8, resized: `(n, 3, size, size)` uint8."""
    top, left, side, flip = box
    square = frames[:, top : top + side, left : left + side].permute(0, 3, 1, 2)
    if side != size:
        square = interpolate(square, (size, size), mode="bilinear", antialias=True)
    return square.flip(-1) if flip else square


class Normalize:
    """Pixels `(n, 3, H, W)` uint8 RGB to a clip `(3, n, H, W)` float32, `(x / 255 - mean) / std`.

    `mean` and `std` are in RGB order; `bgr` then reverses the channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], bgr: bool = False) -> None:
        order = [2, 1, 0] if bgr else [0, 1, 2]
        centre = torch.tensor(mean, dtype=torch.float32)[order].view(3, 1, 1, 1)
        spread = torch.tensor(std, dtype=torch.float32)[order].view(3, 1, 1, 1)
        self.bgr = bgr
        self.scale = 1 / (255 * spread)
        self.shift = -centre / spread

    def __call__(self, pixels: Tensor) -> Tensor:
        channels = pixels.flip(1) if self.bgr else pixels
        clip = channels.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        return clip.mul_(self.scale).add_(self.shift)
