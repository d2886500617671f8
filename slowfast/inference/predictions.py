"""What a network says of a video, and how it came to say it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slowfast.models.flexible import Rate


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one video, best first.

    name         where the video came from
    rate         the trained rate whose private layers ran
    num_frames   frames that the network saw, and `size`, their side in pixels
    indices      which frames of the video these are
    labels       names of the classes, their `scores` (0 to 1 but for MODEL.HEAD_ACT none) and
                 their numbers, `classes`
    gflops       billions of multiply-adds of the network
    decode_ms    from the source to the pixels that the network sees
    network_ms   from these pixels to the scores
    """

    name: str
    rate: Rate
    num_frames: int
    size: int
    indices: tuple[int, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    classes: tuple[int, ...]
    gflops: float
    decode_ms: float
    network_ms: float

    @property
    def label(self) -> str:
        """The most likely class."""
        return self.labels[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in the order of the fields; the rate as text."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}
        return values | {"rate": str(self.rate)}

    def __str__(self) -> str:
        classes = ", ".join(
            f"{label} {score:.1%}" for label, score in zip(self.labels, self.scores, strict=True)
        )
        return f"{self.name}: {classes} ({self.how})"

    @property
    def how(self) -> str:
        """Frames, size and cost, in words."""
        frames = f"{self.num_frames} frame{'s' * (self.num_frames != 1)}"
        at = "" if self.num_frames == self.rate.num_frames else f" at rate {self.rate}"
        cost = f"{self.gflops:.3g} GFLOPs, {self.network_ms:.1f} ms"
        return f"{frames} of {self.size} px{at}, {cost}"


def to_json(found: Sequence[Prediction], failures: Sequence[Mapping[str, str]] = ()) -> str:
    """Everything known of each video, and the `name` and `error` of those that failed."""
    record = {"predictions": [p.to_dict() for p in found], "failures": list(failures)}
    return json.dumps(record, indent=1) + "\n"


def to_csv(found: Sequence[Prediction], failures: Sequence[Mapping[str, str]] = ()) -> str:
    """A line per video, with as many classes as there are; a failure has its `error` alone."""
    topk = max((len(p.labels) for p in found), default=1)
    best = [f"{what}_{k + 1}" for k in range(topk) for what in ("label", "score")]
    facts = ("rate", "num_frames", "size", "gflops", "decode_ms", "network_ms")
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", *best, *facts, "error"], lineterminator="\n")
    writer.writeheader()
    for p in found:
        pairs = [value for pair in zip(p.labels, p.scores, strict=True) for value in pair]
        row = {"name": p.name, **dict(zip(best, pairs, strict=False))}
        writer.writerow(row | {fact: getattr(p, fact) for fact in facts})
    writer.writerows(failures)
    return text.getvalue()


def top_classes(scores: Tensor, labels: Sequence[str], topk: int) -> dict[str, tuple]:
    """The `topk` best of `scores` (K,), or all there are: `labels`, `scores` and `classes`.

    Of equal scores the lower class comes first.  Raises ValueError if `topk` is below 1.
    """
    if topk < 1:
        raise ValueError(f"topk={topk} must be 1 or more")
    order = torch.argsort(scores, descending=True, stable=True)[:topk].tolist()
    return {
        "labels": tuple(labels[k] for k in order),
        "scores": tuple(scores[order].tolist()),
        "classes": tuple(order),
    }
