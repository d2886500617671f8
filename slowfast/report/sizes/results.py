"""How networks did at pairs of frame count and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from slowfast.models.flexible import Rate
from slowfast.report.results import METRICS, Metric

ByRate = Mapping[Rate, Sequence[float]]  # percent, a number per seed


@dataclass(frozen=True)
class SizeResults:
    """How networks did at pairs of frame count and size.

    flexible   the one network, at all tested pairs
    highest    the network trained for the dearest of the `trained` pairs alone, at all of them
    separate   of each trained pair the network that was trained for it alone
    gflops     billions of multiply-adds of a clip at each tested pair
    """

    trained: tuple[Rate, ...]
    flexible: ByRate
    highest: ByRate
    separate: ByRate
    gflops: Mapping[Rate, float]
    metric: str = "top1"

    @property
    def words(self) -> Metric:
        """What the networks are judged by."""
        return METRICS[self.metric]

    @property
    def tested(self) -> list[Rate]:
        """All tested pairs, cheap to dear."""
        return sorted(self.flexible, key=lambda rate: self.gflops[rate])

    def gap(self, rate: Rate) -> float:
        """Points of the one network above the separate one of a trained pair; means over seeds."""
        return fmean(self.flexible[rate]) - fmean(self.separate[rate])


def front(gflops: Mapping[Rate, float], accuracy: ByRate) -> list[Rate]:
    """The pairs that no other one beats in both: cheap to dear, each better than all before."""
    found: list[Rate] = []
    for rate in sorted(accuracy, key=lambda rate: (gflops[rate], -fmean(accuracy[rate]))):
        if not found or fmean(accuracy[rate]) > fmean(accuracy[found[-1]]):
            found.append(rate)
    return found


def axes_of(rates: Sequence[Rate]) -> tuple[list[int], list[int]]:
    """The frame counts and the sizes among `rates`, rising."""
    return sorted({r.num_frames for r in rates}), sorted({r.size for r in rates})
