"""Whether exported networks say what the original says, and what each form costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from slowfast.layers.resize import resize
from slowfast.models import final_logits, to_scores

TOLERANCE = 1e-3  # of the scale of the logits
Way = Callable[[np.ndarray], np.ndarray]  # clips to logits


@dataclass
class Row:
    """A form of one rate: its size, the median times of a batch and, where measured, its accuracy.

    error      max |difference of logits| over max |logit| of the network as trained
    cpu_ms     of all threads; it does not count what else the machine does
    accuracy   percent of the videos of a list whose first class is right
    """

    rate: str
    way: str
    megabytes: float
    error: float
    ms: float
    cpu_ms: float
    accuracy: float | None = None


def torch_way(net: nn.Module, size: int) -> Way:
    """`net` as a function of arrays that, as testing does, resizes clips to `size` pixels."""

    @torch.inference_mode()
    def run(clips: np.ndarray) -> np.ndarray:
        clip = torch.from_numpy(clips)
        return final_logits(net(resize(clip, (clip.shape[2], size, size)))).numpy()

    return run


def errors(ways: Mapping[str, Way], clips: Sequence[np.ndarray]) -> dict[str, float]:
    """How far each form is from the first one, over all of `clips`, as a part of the scale."""
    first, *_ = ways.values()
    expected = [first(batch) for batch in clips]
    scale = max(np.abs(logits).max() for logits in expected)
    found = {}
    for name, way in ways.items():
        pairs = zip(clips, expected, strict=True)
        distances = [np.abs(way(batch) - logits).max() for batch, logits in pairs]
        # NaN has to count as far, which max() would not tell.
        found[name] = float(np.max(distances) / max(scale, 1e-12))
    return found


def check(rate: str, found: Mapping[str, float], exact: Sequence[str]) -> None:
    """Raises ValueError where a form that has to be equal is not."""
    for name in exact:
        if not found[name] <= TOLERANCE:
            raise ValueError(
                f"rate {rate}: logits of {name} differ by {found[name]:.1e} of their scale, more "
                f"than {TOLERANCE:.0e}; do not use this file, and report it with the checkpoint"
            )


class Times(NamedTuple):
    """Milliseconds, by the clock on the wall and of all threads of this process."""

    ms: float
    cpu_ms: float


def latencies(ways: Mapping[str, Way], clips: np.ndarray, repeats: int) -> dict[str, Times]:
    """What one batch takes each form: the medians of `repeats` rounds, in turns."""
    taken: dict[str, list[Times]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):  # the first warms up
        for name, way in ways.items():
            start, cpu = perf_counter(), process_time()
            way(clips)
            times = Times(1e3 * (perf_counter() - start), 1e3 * (process_time() - cpu))
            if repeat:
                taken[name].append(times)
    return {name: Times(*map(median, zip(*times, strict=True))) for name, times in taken.items()}


def accuracies(
    ways: Mapping[str, Way], clips: Sequence[np.ndarray], labels: Sequence[int], batch: int = 16
) -> dict[str, float]:
    """Percent of `clips` (1, 3, T, S, S) whose first class is that of `labels`, by each form."""
    found = {}
    for name, way in ways.items():
        starts = range(0, len(clips), batch)
        logits = [torch.from_numpy(way(np.concatenate(clips[i : i + batch]))) for i in starts]
        first = torch.cat([to_scores(part) for part in logits]).argmax(1)
        found[name] = 100 * (first == torch.tensor(labels)).double().mean().item()
    return found


def megabytes(thing: nn.Module | Path) -> float:
    """Of a file on disk, or of the weights and statistics of a network."""
    if isinstance(thing, Path):
        return thing.stat().st_size / 1e6
    return sum(tensor.nbytes for tensor in thing.state_dict().values()) / 1e6


def table(rows: Sequence[Row]) -> str:
    """The rows in aligned columns; `faster` is in CPU time, over the first form of the rate."""
    has_accuracy = any(row.accuracy is not None for row in rows)
    lines = [["rate", "form", "MB", "error", "ms", "CPU ms", "faster", "top-1"]]
    first: dict[str, float] = {}
    for row in rows:
        faster = first.setdefault(row.rate, row.cpu_ms) / row.cpu_ms
        numbers = [f"{row.megabytes:.2f}", f"{row.error:.0e}", f"{row.ms:.1f}", f"{row.cpu_ms:.1f}"]
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.1f}"
        lines.append([row.rate, row.way, *numbers, f"{faster:.2f}", accuracy])
    if not has_accuracy:
        lines = [line[:-1] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
