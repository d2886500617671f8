"""The random numbers that published rules draw, from a generator or replayed from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator


class Draws(Protocol):
    """A source of random numbers."""

    def uniform(self, low: float, high: float) -> float:
        """A real number between `low` and `high`."""

    def integer(self, low: int, high: int) -> int:
        """One of the integers `low` .. `high`, both included."""

    def normal(self, mean: float, std: float) -> float:
        """A normally distributed number."""


@dataclass(frozen=True)
class TorchDraws:
    """Random numbers of a `torch.Generator`."""

    generator: Generator

    def uniform(self, low: float, high: float) -> float:
        share = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        return low + share * (high - low)

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def normal(self, mean: float, std: float) -> float:
        share = torch.randn((), generator=self.generator, dtype=torch.float64).item()
        return mean + std * share
