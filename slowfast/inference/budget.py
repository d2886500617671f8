"""Which rate fits a budget: what each costs, counted and measured, and kept with the network.

A stored time is the largest 95th percentile of several blocks of runs, times a margin: how much
these blocks differ, 25 % at least.  A budget holds for the next block, not for the average one.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from slowfast.models.flexible import Rate

BLOCKS, TURNS = 5, 50  # of measuring: percentiles that may differ, and runs for each
FEWEST_TURNS = 10  # in a block, where the network is slow
LEAST_MARGIN = 1.25
OTHER_MEMORY = 2**25  # bytes


class NothingFits(ValueError):
    """Every trained rate costs more than the budget; says what the cheapest one does."""


class Place(NamedTuple):
    """Where times hold: the processor, its threads, the release of PyTorch and the precision."""

    device: str
    threads: int
    torch: str
    precision: str = "fp32"

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        precision = f", {self.precision}" if self.precision != "fp32" else ""
        return f"{self.device}{threads}, torch {self.torch}{precision}"


class Cost(NamedTuple):
    """Billions of multiply-adds of one clip, and the milliseconds that 95 % of them stay below.

    `ms` is that of the step from pixels to scores; None where it was not measured.
    """

    gflops: float
    ms: float | None = None


@dataclass(frozen=True)
class Costs:
    """What one clip costs at every trained rate, and where that was measured."""

    rows: Mapping[Rate, Cost]
    place: Place = Place("", 0, "")

    def among(self, rates: Iterable[Rate]) -> Costs:
        """The same without the other rates."""
        return replace(self, rows={rate: self.rows[rate] for rate in rates})

    def choose(self, budget_gflops: float | None = None, budget_ms: float | None = None) -> Rate:
        """The dearest rate that fits all budgets given.

        Raises NothingFits if none does, naming the cheapest and what it costs, and ValueError if
        milliseconds are asked for which were not measured.
        """
        rows = self.rows
        if budget_ms is not None and any(cost.ms is None for cost in rows.values()):
            raise ValueError("budget_ms needs times: measure them with tools/measure.py FILE")
        fitting = [
            rate
            for rate, cost in rows.items()
            if (budget_gflops is None or cost.gflops <= budget_gflops)
            and (budget_ms is None or cost.ms <= budget_ms)
        ]
        if fitting:
            return max(fitting, key=lambda rate: (rows[rate].gflops, rate.pixels))
        budgets = {"GFLOPs": budget_gflops, "ms": budget_ms}
        asked = " and ".join(f"{v:g} {unit}" for unit, v in budgets.items() if v is not None)
        raise NothingFits(f"nothing fits {asked}: {self._cheapest(budget_ms is not None)}")

    def _cheapest(self, timed: bool) -> str:
        rate = min(self.rows, key=lambda r: self.rows[r].ms if timed else self.rows[r].gflops)
        cost = self.rows[rate]
        needs = f"{cost.gflops:.3g} GFLOPs" + (f" and {cost.ms:.3g} ms" if timed else "")
        where = f" ({self.place})" if timed else ""
        return f"the cheapest rate, {rate}, takes {needs}{where}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rates = [{**rate._asdict(), **cost._asdict()} for rate, cost in self.rows.items()]
        return {**self.place._asdict(), "rates": rates}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Costs:
        """What `to_dict` made; ValueError for anything else."""
        try:
            rows = {
                Rate(int(row["num_frames"]), int(row["size"])): Cost(
                    float(row["gflops"]), None if row["ms"] is None else float(row["ms"])
                )
                for row in stored["rates"]
            }
            where = str(stored["device"]), int(stored["threads"]), str(stored["torch"])
            return cls(rows, Place(*where, str(stored.get("precision", "fp32"))))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"a table of costs is damaged ({error}); measure anew with tools/measure.py FILE"
            ) from error


def place(device: torch.device | str = "cpu", precision: str = "fp32") -> Place:
    """Where, and how, a network on `device` runs now."""
    device = torch.device(device)
    if device.type == "cuda":
        return Place(torch.cuda.get_device_name(device), 0, torch.__version__, precision)
    name = _processor() if device.type == "cpu" else device.type
    return Place(name, torch.get_num_threads(), torch.__version__, precision)


@cache
def _processor() -> str:
    """The model of the processor, as far as the system tells."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "cpu"


def percentile_95(times: Sequence[float]) -> float:
    """The smallest of `times` that 95 % of them do not exceed: of 50 the third largest."""
    return sorted(times)[ceil(0.95 * len(times)) - 1]


def bound(blocks: Sequence[Sequence[float]]) -> float:
    """A time that 95 % of a further block of runs stay below, from `blocks` of measured ones.

    The largest of their 95th percentiles, times their `unsteadiness`, 1.25 at least: where blocks
    differ, the next may differ as much again.
    """
    return max(map(percentile_95, blocks)) * max(LEAST_MARGIN, unsteadiness(blocks))


def unsteadiness(blocks: Sequence[Sequence[float]]) -> float:
    """The largest 95th percentile of `blocks` over their median one; 1 where they do not differ."""
    found = [percentile_95(block) for block in blocks]
    return max(found) / statistics.median(found)


def rising(bounds: Mapping[Rate, float]) -> dict[Rate, float]:
    """`bounds`, cheap to dear, none below one before: what delayed the cheaper may delay it too."""
    return dict(zip(bounds, accumulate(bounds.values(), max), strict=True))


def timed_blocks(
    runs: Mapping[Rate, Callable[[], object]], clock: Callable[[], float], seconds: float = 60.0
) -> dict[Rate, list[list[float]]]:
    """Milliseconds of each of `runs`, five blocks of 50 of them, fewer if `seconds` end before.

    They take turns, so that what else the machine does hits all alike, after three to warm up.
    Before each, other memory goes through the processor's caches, as when a video has been read.
    """
    other = torch.zeros(OTHER_MEMORY, dtype=torch.uint8)

    def turn() -> dict[Rate, float]:
        times = {}
        for rate, run in runs.items():
            other.add_(1)
            start = clock()
            run()
            times[rate] = 1e3 * (clock() - start)
        return times

    warm = [sum(turn().values()) for _ in range(3)]
    turns = int(1e3 * seconds / (BLOCKS * max(warm[-1], 1e-6)))
    turns = min(max(turns, FEWEST_TURNS), TURNS)
    blocks = [[turn() for _ in range(turns)] for _ in range(BLOCKS)]
    return {rate: [[times[rate] for times in block] for block in blocks] for rate in runs}


class Kept(NamedTuple):
    """Whether predictions kept a budget: milliseconds of the network over some videos.

    `rate` is None where nothing fits it, and `said` what the error said.
    """

    budget: float
    rate: Rate | None
    median: float = 0.0
    p95: float = 0.0
    said: str = ""

    @property
    def holds(self) -> bool:
        return self.rate is None or self.p95 <= self.budget


def check_budget(predict: Callable[..., Any], budget: float, sources: Iterable[Any]) -> Kept:
    """How long `predict(source, budget_ms=budget)` takes for the network of each of `sources`."""
    times, rate = [], None
    for source in sources:
        try:
            found = predict(source, budget_ms=budget)
        except NothingFits as error:
            return Kept(budget, None, said=str(error))
        times.append(found.network_ms)
        rate = found.rate
    return Kept(budget, rate, statistics.median(times), percentile_95(times))
