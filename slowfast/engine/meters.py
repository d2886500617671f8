"""Sums that become averages, and what is counted behind every accuracy and precision."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor


def hits_at(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the `k` (at most K) highest of `scores` (B, K); (B,) bool.

    Of labels that are weights of the classes (B, K), one of the largest weight has to be; where all
    are 0 there is nothing to hit.
    """
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices
    if labels.ndim == 2:
        largest = labels.amax(dim=1, keepdim=True)
        return ((labels.gather(1, top) == largest) & (largest > 0)).any(dim=1)
    return (top == labels[:, None]).any(dim=1)


class Averages:
    """Sample-weighted means by name.  Sums stay on the device: adding never waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Take in the means `values` of `count` samples."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach() * count
            self._counts[name] = self._counts.get(name, 0) + count

    def state_dict(self) -> dict[str, dict]:
        """The sums, on the CPU, and the counts."""
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {"sums": sums, "counts": dict(self._counts)}

    @classmethod
    def from_states(
        cls, states: Iterable[Mapping[str, Mapping]], device: torch.device | str = "cpu"
    ) -> "Averages":
        """All that was added to several, for example in other processes."""
        averages = cls()
        for state in states:
            for name, value in state["sums"].items():
                averages._sums[name] = averages._sums.get(name, 0) + value.to(device)
                averages._counts[name] = averages._counts.get(name, 0) + state["counts"][name]
        return averages

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


class Meter(Protocol):
    """What a data set's metric says of the scores of its videos."""

    @property
    def main(self) -> float:
        """The number that the data set is judged by, in percent."""

    @property
    def summary(self) -> dict[str, float]:
        """Numbers for all videos by name, in percent, the main one first."""

    @property
    def per_class(self) -> list[float | None]:
        """Percent for each class; None for a class without videos."""

    @property
    def counts(self) -> list[int]:
        """Videos of each class."""

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Take in the scores (B, K) of videos with `labels`."""

    def merge(self, other: Self) -> None:
        """Take in the videos that `other`, of another process, has taken in."""

    def record(self) -> dict[str, Any]:
        """All of it as plain JSON values."""


class Confusion:
    """Counts of (true class, predicted class), with the top-5 hits beside them."""

    def __init__(self, num_classes: int) -> None:
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._top5 = 0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Take in the scores (B, K) of videos with `labels` (B,)."""
        scores, labels = scores.cpu(), labels.cpu()
        cells = labels * len(self.matrix) + scores.argmax(dim=1)
        self.matrix += torch.bincount(cells, minlength=self.matrix.numel()).view_as(self.matrix)
        self._top5 += int(hits_at(scores, labels, 5).sum())

    def merge(self, other: Self) -> None:
        """Take in the videos of another one, too."""
        self.matrix += other.matrix
        self._top5 += other._top5

    @property
    def count(self) -> int:
        return int(self.matrix.sum())

    @property
    def counts(self) -> list[int]:
        return self.matrix.sum(dim=1).tolist()

    @property
    def top1(self) -> float:
        """Percent of videos whose highest score is at their label; 0 without videos."""
        return 100 * float(self.matrix.trace()) / max(self.count, 1)

    main = top1

    @property
    def top5(self) -> float:
        return 100 * self._top5 / max(self.count, 1)

    @property
    def per_class(self) -> list[float | None]:
        """Top-1 percent of each class; None for a class without videos."""
        hits = self.matrix.diagonal().tolist()
        return [100 * h / n if n else None for h, n in zip(hits, self.counts, strict=True)]

    @property
    def summary(self) -> dict[str, float]:
        mean_class = _mean_of_known(self.per_class)
        return {"top1": self.top1, "top5": self.top5, "mean_class": mean_class}

    def record(self) -> dict[str, Any]:
        return {
            **self.summary,
            "per_class": self.per_class,
            "confusion": self.matrix.tolist(),
        }


class Precision:
    """Average precision of each class where videos have any number of them (labels (B, K)).

    A class ranks the videos by their score for it; its average precision is the mean, over the
    videos that have it, of the share of such videos among those ranked as high or higher.
    """

    def __init__(self, num_classes: int) -> None:
        self._scores = [torch.empty(0, num_classes)]
        self._labels = [torch.empty(0, num_classes, dtype=torch.bool)]

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Take in the scores (B, K) of videos with `labels` (B, K), 1 at each of their classes."""
        self._scores.append(scores.cpu())
        self._labels.append(labels.cpu() > 0)

    def merge(self, other: Self) -> None:
        """Take in the videos of another one, too."""
        self._scores += other._scores
        self._labels += other._labels

    @property
    def per_class(self) -> list[float | None]:
        """Average precision of each class in percent; None for a class without videos."""
        scores, labels = torch.cat(self._scores), torch.cat(self._labels)
        pairs = zip(scores.unbind(1), labels.unbind(1), strict=True)
        return [100 * average_precision(*pair) if pair[1].any() else None for pair in pairs]

    @property
    def counts(self) -> list[int]:
        return torch.cat(self._labels).sum(dim=0).tolist()

    @property
    def main(self) -> float:
        """Mean over the classes that have videos."""
        return _mean_of_known(self.per_class)

    @property
    def hit1(self) -> float:
        """Percent of the videos with classes whose highest score is at one of these."""
        scores, labels = torch.cat(self._scores), torch.cat(self._labels)
        hits = labels.gather(1, scores.argmax(dim=1, keepdim=True))
        return 100 * float(hits.sum()) / max(int(labels.any(dim=1).sum()), 1)

    @property
    def summary(self) -> dict[str, float]:
        return {"map": self.main, "hit1": self.hit1}

    def record(self) -> dict[str, Any]:
        return {**self.summary, "per_class": self.per_class}


METERS = {"top1": Confusion, "map": Precision}  # by the metric of a catalogue's entry


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean precision at the scores (N,) of the videos with the class, `labels` (N,) bool.

    Videos of equal score share a rank, so that their order does not matter.
    """
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], labels[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])  # of its rank
    rank = last.nonzero()[:, 0]
    precision = hits[rank] / (rank + 1)
    gained = hits[rank].diff(prepend=hits.new_zeros(1))
    return float((gained * precision).sum() / hits[-1])


def _mean_of_known(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / max(len(known), 1)
