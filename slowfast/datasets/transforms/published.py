"""The crops of other projects' loaders, with their quirks; chosen by DATA.CROPS.

They resize whole frames first, which costs more than cutting first and moves every pixel by a
fraction of its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import ClassVar

from torch import Generator

from slowfast.datasets.draws import Draws, TorchDraws
from slowfast.datasets.transforms.crops import Box, Scale, check_num_crops


def scale_to(short_side: int, height: int, width: int, antialias: bool) -> Scale:
    """Frames of `height` x `width` with `short_side`; the long side is rounded down."""
    if width < height:
        return Scale(floor(height / width * short_side), short_side, antialias)
    return Scale(short_side, floor(width / height * short_side), antialias)


@dataclass(frozen=True)
class ScaledRandomCrop:
    """`RandomCrop` of PySlowFast, for training and, as published, for validation too.

    The last place of the crop on either axis is never drawn, and the resize is not antialiased.
    """

    size: int
    jitter: tuple[int, int]
    inverse: bool = False
    flip: bool = False
    num_crops: ClassVar[int] = 1

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        assert generator is not None, "a random crop needs a generator"
        return [self.draw(height, width, TorchDraws(generator))]

    def draw(self, height: int, width: int, draws: Draws) -> Box:
        low, high = self.jitter
        if self.inverse:
            short_side = round(1 / draws.uniform(1 / high, 1 / low))
        else:
            short_side = round(draws.uniform(low, high))
        scale = scale_to(short_side, height, width, antialias=False)
        top, left = (
            draws.integer(0, side - self.size - 1) if side > self.size else 0
            for side in (scale.height, scale.width)
        )
        mirror = self.flip and draws.uniform(0, 1) < 0.5
        return Box(top, left, self.size, self.size, mirror, scale)


@dataclass(frozen=True)
class ScaledCrops:
    """Test crops of `size` from frames with `short_side`: the centre, or three along the long side.

    With `at_start` the single crop is the left or top one.  Half a pixel of a centre is rounded up,
    or to an even offset with `even`.
    """

    size: int
    num_crops: int
    short_side: int
    at_start: bool = False
    even: bool = False
    antialias: bool = False

    def __post_init__(self) -> None:
        check_num_crops(self.num_crops)
        if self.short_side < self.size:
            raise ValueError(
                f"DATA.TEST_CROP_SIZE={self.size} does not fit frames whose short side is "
                f"{self.short_side}; lower it, or set DATA.CROPS auto"
            )

    def boxes(self, height: int, width: int, generator: Generator | None = None) -> list[Box]:
        scale = scale_to(self.short_side, height, width, self.antialias)
        rest_y, rest_x = scale.height - self.size, scale.width - self.size
        centre = (self._half(rest_y), self._half(rest_x))
        if rest_y > rest_x:
            start, end = (0, centre[1]), (rest_y, centre[1])
        else:
            start, end = (centre[0], 0), (centre[0], rest_x)
        if self.num_crops == 3:
            corners = [start, centre, end]
        else:
            corners = [start if self.at_start else centre]
        return [Box(top, left, self.size, self.size, False, scale) for top, left in corners]

    def _half(self, rest: int) -> int:
        return round(rest / 2) if self.even else ceil(rest / 2)
