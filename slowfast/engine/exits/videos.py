"""Conditional inference from video files: frames are decoded when a network asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.on_demand import GrowingBatch
from slowfast.models.rate_exit import RateExit


@dataclass
class FromFiles:
    """What became of videos: their logits `(K,)` and exits, frames decoded, and all seconds."""

    logits: list[torch.Tensor] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def mean_decoded(self) -> float:
        return sum(self.decoded) / max(len(self.decoded), 1)

    @property
    def milliseconds(self) -> float:
        """Per video, decoding included."""
        return 1e3 * self.seconds / max(len(self.exits), 1)


@torch.inference_mode()
def infer_videos(
    network: RateExit,
    dataset: VideoDataset,
    indices: Iterable[int] | None = None,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> FromFiles:
    """`network` on the videos `indices` of `dataset` (None: all), whose rates are the network's.

    The frames of the lowest rate are decoded of all, more only of videos that are unsure.  Raises
    VideoError if one cannot be read.
    """
    found, start = FromFiles(), time.perf_counter()
    for part in _parts(list(range(len(dataset)) if indices is None else indices), batch_size):
        with GrowingBatch(dataset, part) as videos:
            decision = network.infer_on_demand(
                lambda rate, rows, videos=videos: videos.read(rate, rows).to(device), len(part)
            )
            found.decoded += videos.decoded
        found.logits += decision.logits.cpu().unbind(0)
        found.exits += decision.exits.tolist()
    found.seconds = time.perf_counter() - start
    return found


def _parts(indices: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (indices[first : first + size] for first in range(0, len(indices), size))
