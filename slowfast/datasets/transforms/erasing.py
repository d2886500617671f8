"""Random erasing (arXiv:1708.04896): rectangles of noise in the normalised clip."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from slowfast.datasets.draws import TorchDraws

MODES = ("pixel", "rand", "const")


class Patch(NamedTuple):
    """What covers a rectangle of n frames: `values` (3, n, h, w)."""

    top: int
    left: int
    values: Tensor

    def put(self, clip: Tensor, where: Tensor) -> None:
        """Cover `clip` (3, T, H, W), whose frames are number `where` (T,) of the n."""
        height, width = self.values.shape[2:]
        rows = slice(self.top, self.top + height)
        clip[:, :, rows, self.left : self.left + width] = self.values[:, where]


@dataclass(frozen=True)
class RandomErasing:
    """In a share `prob` of the samples, 1 to `count` rectangles at one place in all frames.

    They cover 2 to 33 % of the frame together, with sides up to 3.3 : 1.  Each pixel of each frame
    is normal noise (`pixel`), or each frame's rectangle has one such colour (`rand`), or all are 0,
    the mean colour (`const`).
    """

    prob: float
    mode: str = "pixel"
    count: int = 1
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"AUG.RE_MODE={self.mode!r} must be one of {', '.join(MODES)}")

    def patches(self, num_frames: int, size: int, generator: Generator) -> list[Patch]:
        """The rectangles for `num_frames` frames of `size` x `size` pixels."""
        draws = TorchDraws(generator)
        if draws.uniform(0, 1) >= self.prob:
            return []
        count = draws.integer(1, self.count)
        places = [self._place(size, count, draws) for _ in range(count)]
        return [
            Patch(top, left, self._values(num_frames, height, width, generator))
            for top, left, height, width in places
        ]

    def _place(self, size: int, count: int, draws: TorchDraws) -> tuple[int, int, int, int]:
        """Top, left, height and width of one of `count` rectangles; empty if ten do not fit."""
        for _ in range(10):
            area = size * size * draws.uniform(*self.area) / count
            aspect = exp(draws.uniform(*map(log, self.aspect)))
            height, width = round(sqrt(area * aspect)), round(sqrt(area / aspect))
            if height < size and width < size:
                top, left = draws.integer(0, size - height), draws.integer(0, size - width)
                return top, left, height, width
        return 0, 0, 0, 0

    def _values(self, num_frames: int, height: int, width: int, generator: Generator) -> Tensor:
        shape = (3, num_frames, height, width)
        if self.mode == "const":
            return torch.zeros(()).expand(shape)
        if self.mode == "rand":
            return torch.randn(3, num_frames, 1, 1, generator=generator).expand(shape)
        return torch.randn(shape, generator=generator)
