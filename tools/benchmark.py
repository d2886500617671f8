#!/usr/bin/env python3
"""Time and memory of a training step: forward, backward and SGD.

    python tools/benchmark.py step       seconds of each way to train, taking turns
    python tools/benchmark.py memory     peak above the level before the step, each in a new process

The ways: `high` trains the highest rate alone; `per_rate` is FFN as this project runs it; `joint`
is FFN with one backward pass for all rates; `baseline` is `joint` as the originals compute it, with
conv3d everywhere and each gain a depthwise convolution with a residual.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from slowfast.datasets.batch import Batch
from slowfast.layers.alter import Gain
from slowfast.layers.conv import plain_convolutions
from slowfast.models import FrameFlexible, SlowFast, UniFormer, resnet3d
from slowfast.objectives import Classify, FrameFlexibleTraining

NETWORKS = {  # the published FFN networks and frame counts
    "slowfast": (partial(SlowFast, depth=50, num_classes=174), (16, 32, 64)),
    "uniformer": (partial(UniFormer, num_classes=174, depth="S"), (4, 8, 16)),
}
WAYS = ("high", "per_rate", "joint", "baseline")
MIB = 2**20


@contextmanager
def as_the_originals() -> Iterator[None]:
    """Inside, convolutions run as conv3d and gains as depthwise convolutions that are added."""

    def depthwise(gain, x):
        return x + F.conv3d(x, gain.weight, groups=len(gain.weight))

    def unfolded(layer, alter, x):
        return layer(alter(x))

    with (
        plain_convolutions(),
        patch.object(Gain, "forward", depthwise),
        patch.object(resnet3d, "altered", unfolded),
    ):
        yield


class Trainer:
    """One network and one random batch, on which `step(way)` trains."""

    def __init__(self, network: str, batch: int, size: int, device: str):
        torch.manual_seed(0)
        make, counts = NETWORKS[network]
        self.model: nn.Module = FrameFlexible(make(), counts).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
        clips = tuple(torch.randn(batch, 3, t, size, size) for t in counts)
        labels = torch.randint(174, (batch,))
        self.batch = Batch(clips, labels, torch.arange(batch)).to(device)
        for parameter in self.model.parameters():
            parameter.grad = torch.empty_like(parameter).fill_(0.0)  # in memory before the step

    def step(self, way: str) -> None:
        batch, objective = self.batch, FrameFlexibleTraining(backward="joint")
        if way == "high":
            batch, objective = Batch(batch.clips[-1:], batch.labels, batch.index), Classify()
        elif way == "per_rate":
            objective = FrameFlexibleTraining(backward="per_rate")
        with as_the_originals() if way == "baseline" else nullcontext():
            self.optimizer.zero_grad(set_to_none=False)
            for term in objective(self.model, batch):
                term.loss.backward()
                del term  # and its graph, before the next rate runs
            self.optimizer.step()


# ---------------------------------------------------------------------------- time


def seconds(run: Callable[[], None], device: str) -> tuple[float, float]:
    """(CPU, wall) seconds of one run; on CUDA the GPU's own clock stands for both."""
    if device.startswith("cuda"):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return (start.elapsed_time(end) / 1e3,) * 2
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def time_steps(network: str, args: argparse.Namespace) -> list[dict]:
    """A row per way: medians over repeats in which the ways take turns, after one warm-up each."""
    trainer = Trainer(network, args.batch, args.size, args.device)
    runs = {way: [] for way in WAYS}
    for repeat in range(args.repeats + 1):
        for way in WAYS:
            taken = seconds(partial(trainer.step, way), args.device)
            if repeat:
                runs[way].append(taken)
    medians = {way: [statistics.median(t) for t in zip(*runs[way], strict=True)] for way in WAYS}
    return [
        {
            "network": network,
            "way": way,
            "cpu_s": cpu,
            "wall_s": wall,
            "over_high": cpu / medians["high"][0],
            "over_baseline": cpu / medians["baseline"][0],
        }
        for way, (cpu, wall) in medians.items()
    ]


# ---------------------------------------------------------------------------- memory


def measure_peak(network: str, way: str, args: argparse.Namespace) -> float:
    """MiB by which one step exceeds the level before it; call it once per process."""
    torch.set_num_threads(args.threads)
    trainer = Trainer(network, args.batch, args.size, args.device)
    if args.device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        trainer.step(way)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = _resident_bytes()
    trainer.step(way)
    # Linux counts kilobytes; building the network peaks far below a step.
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / MIB


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def memory_peaks(network: str, args: argparse.Namespace) -> list[dict]:
    """A row per way, each measured in a process of its own."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for way in WAYS:
        with context.Pool(1) as pool:
            peaks[way] = pool.apply(measure_peak, (network, way, args))
    return [
        {"network": network, "way": way, "peak_mib": peak, "over_high": peak / peaks["high"]}
        for way, peak in peaks.items()
    ]


# ---------------------------------------------------------------------------- command line


def table(rows: Sequence[dict]) -> str:
    """The rows under their keys, in aligned columns."""
    lines = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("step", "memory"))
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=2, help="videos per step")
    parser.add_argument("--size", type=int, default=112, help="side of the clips in pixels")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU computation")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each way")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", help="also write the rows to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    measure = time_steps if args.what == "step" else memory_peaks
    rows = [row for network in args.networks for row in measure(network, args)]
    print(f"{args.what}: batch {args.batch}, {args.size} px, {args.device}, {args.threads} threads")
    print(table(rows))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "torch": torch.__version__, "rows": rows}, file)


if __name__ == "__main__":
    sys.exit(main())
