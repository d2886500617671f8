"""Thresholds of exits, from what each exit says of validation videos.

One list of thresholds answers every question.  Hence a higher target never costs less, and a larger
budget is never less accurate.  The best of the list for every cost are its `front`.  It has paths
on which thresholds only fall, so that videos leave ever earlier:

    one path where all exits share a threshold
    one path per choice of the exits that are asked (of up to four; with more, all of them are),
    on which next falls the threshold that saves most GFLOPs per prediction that becomes wrong

Thresholds lie at quantiles of the confidences at their exit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from slowfast.engine.meters import METERS, hits_at
from slowfast.models.exits import NEVER, first_exit
from slowfast.report.exit_cost import ExitCosts

MOST_CHOICES = 4  # exits of which every choice is tried
MOST_MEASURED = 64  # thresholds for which a slow metric is computed
LEVELS = 32  # quantiles per exit


class Point(NamedTuple):
    """Thresholds, one per exit but the last, and what they make of videos.

    accuracy   the metric in percent
    gflops     mean cost of a video
    score      mean score of the true classes: it sees differences that accuracy is too coarse for
    """

    thresholds: tuple[float, ...]
    accuracy: float
    gflops: float
    score: float


@dataclass(frozen=True)
class ExitTable:
    """What all E exits say of N videos, as if none had been taken.

    scores         (N, E, K)
    confidences    (N, E); that of the last exit does not matter
    labels         (N,) classes or (N, K) of several each
    metric         of METERS
    """

    scores: Tensor
    confidences: Tensor
    labels: Tensor
    costs: ExitCosts
    metric: str = "top1"

    def __len__(self) -> int:
        return len(self.labels)

    def exits(self, thresholds: Sequence[float]) -> Tensor:
        """The exit that each video takes, `(N,)`."""
        return first_exit(self.confidences, [*thresholds, 0.0])

    def taken(self, exits: Tensor) -> Tensor:
        """The scores `(N, K)` of these exits."""
        return self.scores[torch.arange(len(self)), exits]

    def accuracy(self, exits: Tensor) -> float:
        """The metric at these exits, in percent."""
        meter = METERS[self.metric](self.scores.shape[2])
        meter.add(self.taken(exits), self.labels)
        return meter.main

    def gflops(self, thresholds: Sequence[float], exits: Tensor) -> float:
        """Mean cost of a video."""
        return float(torch.tensor(self.costs.of_exits(thresholds))[exits].mean())

    def at(self, thresholds: Sequence[float]) -> Point:
        exits = self.exits(thresholds)
        cost, score = self.gflops(thresholds, exits), self.true_score(exits)
        return Point(tuple(thresholds), self.accuracy(exits), cost, score)

    def true_score(self, exits: Tensor) -> float:
        """Mean score of the true classes at these exits."""
        labels = self.labels
        if labels.ndim == 1:
            labels = one_hot(labels, self.scores.shape[2])
        return float((self.taken(exits) * labels).sum() / labels.sum().clamp(min=1))

    @property
    def unhurried(self) -> Point:
        """Without exits: everybody goes to the last one."""
        return self.at([NEVER] * (self.scores.shape[1] - 1))


def calibrate(
    table: ExitTable,
    target: float | None = None,
    budget: float | None = None,
    levels: int = LEVELS,
) -> Point:
    """The cheapest thresholds with `target` percent, or the most accurate for `budget` GFLOPs.

    A target of 0 or less counts from the accuracy without exits: -1 may lose a point.  Of equally
    accurate thresholds within a budget, those with the higher score of the true classes: the budget
    may be spent, and on other videos they are right more often.  Raises ValueError unless one of
    the two is given, and if no thresholds reach it.
    """
    if (target is None) == (budget is None):
        raise ValueError(f"give either a target or a budget; got {target} and {budget}")
    points = tried(table, levels)
    if target is not None:
        best = max(point.accuracy for point in points)
        wanted = target if target > 0 else table.unhurried.accuracy + target
        reached = [point for point in points if point.accuracy >= wanted]
        if not reached:
            raise ValueError(
                f"an accuracy of {wanted:.2f} % is out of reach: the best thresholds have "
                f"{best:.2f} % on these videos; lower the target"
            )
        return min(reached, key=lambda point: (point.gflops, -point.accuracy))
    within = [point for point in points if point.gflops <= budget]
    if not within:
        raise ValueError(
            f"a mean of {budget:g} GFLOPs is out of reach: the cheapest thresholds take "
            f"{min(point.gflops for point in points):.4g}; raise the budget"
        )
    return max(within, key=lambda point: (point.accuracy, point.score, -point.gflops))


def front(table: ExitTable, levels: int = LEVELS) -> list[Point]:
    """The best of all thresholds that are tried: rising in cost and in accuracy."""
    return _best(tried(table, levels))


def tried(table: ExitTable, levels: int = LEVELS) -> list[Point]:
    """All thresholds that are tried, each once; ValueError without videos."""
    if not len(table):
        raise ValueError("there are no videos to calibrate exits on")
    hits, found = _hits(table), {}
    for thresholds in _candidates(table, hits, levels):
        exits = table.exits(thresholds)
        right = float(hits[torch.arange(len(table)), exits].mean())
        cost, score = table.gflops(thresholds, exits), table.true_score(exits)
        found[thresholds] = Point(thresholds, 100 * right, cost, score)
    if table.metric == "top1":
        return list(found.values())
    # The paths follow what is quick to compute; their points are judged by the metric itself.
    points = _best(found.values())
    every = max(len(points) // MOST_MEASURED, 1)
    return [*(table.at(point.thresholds) for point in points[::every]), table.unhurried]


def sweep(table: ExitTable, points: int = 24) -> list[tuple[float, ...]]:
    """Thresholds that all exits share, from everybody at the first to nobody before the last.

    About as many of them as `points`, evenly over the confidences.
    """
    asked = table.scores.shape[1] - 1
    if not asked:
        return [()]
    shared = sorted(_quantiles(table.confidences[:, :asked].flatten(), points))
    return [(level,) * asked for level in [*shared, NEVER]]


def _best(points: Iterable[Point]) -> list[Point]:
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.gflops, -point.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def _hits(table: ExitTable) -> Tensor:
    """1 where the best score of an exit is at a label of the video, `(N, E)`."""
    exits = [hits_at(scores, table.labels, 1) for scores in table.scores.unbind(1)]
    return torch.stack(exits, dim=1).double()


def _candidates(table: ExitTable, hits: Tensor, levels: int) -> Iterator[tuple[float, ...]]:
    asked = range(table.scores.shape[1] - 1)
    yield (NEVER,) * len(asked)
    grid = [_quantiles(table.confidences[:, exit], levels) for exit in asked]
    shared = _quantiles(table.confidences[:, : len(asked)].flatten(), 2 * levels) if asked else []
    yield from ((level,) * len(asked) for level in shared)
    sizes = range(1, len(asked) + 1) if len(asked) <= MOST_CHOICES else [len(asked)]
    for choice in chain.from_iterable(combinations(asked, size) for size in sizes):
        yield from _path(table, hits, grid, choice)


def _quantiles(confidences: Tensor, levels: int) -> list[float]:
    """Thresholds from one that few or none pass down to one that all do; falling, below NEVER.

    They lie between two confidences, where rounding decides nothing.
    """
    values = confidences.double().nan_to_num(0.0).sort().values
    bounds = torch.cat([(values[1:] + values[:-1]) / 2, (values[-1:] + NEVER) / 2])
    places = torch.linspace(0, len(bounds) - 1, levels).round().long()
    found = {min(value, 1 - 1e-7) for value in bounds[places].tolist()}
    return [*sorted(found, reverse=True), -1.0]


def _path(
    table: ExitTable, hits: Tensor, grid: Sequence[Sequence[float]], choice: Sequence[int]
) -> Iterator[tuple[float, ...]]:
    """Thresholds from the highest to the lowest of the exits in `choice`; others are not asked."""
    place = dict.fromkeys(choice, 0)
    here = _Here(table, hits, _thresholds(grid, place))
    yield here.thresholds
    while True:
        moves = [(exit, _moved(here, grid, place, exit)) for exit in choice]
        moves = [(exit, there) for exit, there in moves if there is not None]
        if not moves:
            return
        exit, (place[exit], here) = max(moves, key=lambda move: move[1][1].gain(here))
        yield here.thresholds


def _moved(
    here: _Here, grid: Sequence[Sequence[float]], place: dict[int, int], exit: int
) -> tuple[int, _Here] | None:
    """The next lower level of `exit` at which another video leaves; None if there is none."""
    for level in range(place[exit] + 1, len(grid[exit])):
        there = _Here(here.table, here.hits, _thresholds(grid, {**place, exit: level}))
        if not torch.equal(there.exits, here.exits):
            return level, there
    return None


def _thresholds(grid: Sequence[Sequence[float]], place: dict[int, int]) -> tuple[float, ...]:
    return tuple(
        levels[place[exit]] if exit in place else NEVER for exit, levels in enumerate(grid)
    )


class _Here:
    """A place on a path: cost and right predictions of all videos together."""

    def __init__(self, table: ExitTable, hits: Tensor, thresholds: tuple[float, ...]) -> None:
        self.table, self.hits, self.thresholds = table, hits, thresholds
        self.exits = table.exits(thresholds)
        self.cost = table.gflops(thresholds, self.exits) * len(table)
        self.right = float(hits[torch.arange(len(table)), self.exits].sum())

    def gain(self, before: _Here) -> float:
        """GFLOPs saved since `before` per prediction that became wrong; none counts as a half."""
        return (before.cost - self.cost) / max(before.right - self.right, 0.5)
