"""Seconds of runs that take turns, and the proof that they compute the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Times(NamedTuple):
    """Seconds of one run; on CUDA the GPU's own clock stands for both."""

    cpu: float
    wall: float


def seconds(run: Callable[[], object], device: str = "cpu") -> Times:
    """What one call of `run` takes.  CPU seconds are those of all threads of this process."""
    if torch.device(device).type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return Times(*(start.elapsed_time(end) / 1e3,) * 2)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Times(time.process_time() - cpu, time.perf_counter() - wall)


def take_turns(
    runs: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[str, Times]:
    """The median of each run over `repeats` rounds, after one to warm up.

    In a round every run has one turn, so what else the machine does hits all alike.  Raises
    ValueError unless there is a round.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    taken: dict[str, list[Times]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            times = seconds(run, device)
            if repeat:
                taken[name].append(times)
    return {name: Times(*map(statistics.median, zip(*t, strict=True))) for name, t in taken.items()}


def check_equal(what: str, results: Mapping[str, Sequence[Tensor]], tolerance: float) -> None:
    """Raises ValueError if a result differs from the first by more than `tolerance` of its scale.

    A result is a list of tensors; the scale of a tensor is its largest absolute value.
    """
    (first, expected), *others = results.items()
    for name, tensors in others:
        for i, (a, b) in enumerate(zip(expected, tensors, strict=True)):
            error = (a - b).abs().max().item() / max(a.abs().max().item(), 1e-12)
            if not error <= tolerance:
                raise ValueError(
                    f"{what}: tensor {i} of {name!r} differs from that of {first!r} by {error:.1e} "
                    f"of its scale; at most {tolerance:.0e} is rounding"
                )
