"""Sums that become averages, and the confusion matrix behind every accuracy."""

from collections.abc import Mapping

import torch
from torch import Tensor


def hits_at(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the `k` (at most K) highest of `scores` (B, K); (B,) bool."""
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices
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

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


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

    @property
    def count(self) -> int:
        return int(self.matrix.sum())

    @property
    def top1(self) -> float:
        """Percent of videos whose highest score is at their label; 0 without videos."""
        return 100 * float(self.matrix.trace()) / max(self.count, 1)

    @property
    def top5(self) -> float:
        return 100 * self._top5 / max(self.count, 1)

    @property
    def per_class(self) -> list[float | None]:
        """Top-1 percent of each class; None for a class without videos."""
        totals = self.matrix.sum(dim=1).tolist()
        hits = self.matrix.diagonal().tolist()
        return [100 * h / n if n else None for h, n in zip(hits, totals, strict=True)]
