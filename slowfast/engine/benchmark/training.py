"""Time and memory of a training step in four ways.

`high` trains the highest rate alone, `per_rate` is FFN as this project runs it, `joint` FFN with
one backward pass for all rates, and `baseline` is `joint` computed as the originals do.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets import Batch
from slowfast.engine.benchmark.timing import take_turns
from slowfast.engine.optimizer import build_optimizer
from slowfast.engine.train import Stepper
from slowfast.layers.alter import plain_gains
from slowfast.layers.conv import plain_convolutions
from slowfast.models import build_model
from slowfast.objectives import Classify, FrameFlexibleTraining

WAYS = ("high", "per_rate", "joint", "baseline")
MIB = 2**20


@contextmanager
def as_the_originals() -> Iterator[None]:
    """Inside, networks compute as the original code: without the forms that are equal but faster.

    Convolutions run as conv3d (conv2d on images), gains as depthwise convolutions with a residual
    and attention with the matrix of all scores.
    """
    with plain_convolutions(), plain_gains(), sdpa_kernel(SDPBackend.MATH):
        yield


class Trainer:
    """The network of a frame-flexible `cfg` and one random batch, on which `step(way)` trains."""

    def __init__(self, cfg: CfgNode, batch: int, device: str = "cpu") -> None:
        torch.manual_seed(0)
        size, counts = cfg.DATA.TRAIN_CROP_SIZE, frame_counts(cfg)
        clips = tuple(torch.randn(batch, 3, t, size, size) for t in counts)
        labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,))
        self.batch = Batch(clips, labels, torch.arange(batch)).to(device)
        self.model = build_model(cfg).to(device).train()
        optimizer = build_optimizer(self.model, cfg)
        self._fill(optimizer)
        joint, per_rate = (FrameFlexibleTraining(backward=b) for b in ("joint", "per_rate"))
        objectives = dict(zip(WAYS, (Classify(), per_rate, joint, joint), strict=True))
        self.steppers = {
            way: Stepper(self.model, objective, optimizer, torch.device(device), clip_norm=20.0)
            for way, objective in objectives.items()
        }

    def _fill(self, optimizer: torch.optim.Optimizer) -> None:
        """Brings the optimiser's averages into memory, where they are before every real step."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def step(self, way: str) -> None:
        batch = self.batch
        if way == "high":
            batch = Batch(batch.clips[-1:], batch.labels, batch.index)
        with as_the_originals() if way == "baseline" else nullcontext():
            self.steppers[way](batch)


def time_steps(cfg: CfgNode, batch: int, repeats: int, device: str = "cpu") -> list[dict[str, Any]]:
    """A row per way: seconds of a step, and over those of `high` and `baseline`."""
    trainer = Trainer(cfg, batch, device)
    times = take_turns({way: partial(trainer.step, way) for way in WAYS}, repeats, device)
    return [
        {
            "way": way,
            "cpu_s": taken.cpu,
            "wall_s": taken.wall,
            "over_high": taken.cpu / times["high"].cpu,
            "over_baseline": taken.cpu / times["baseline"].cpu,
        }
        for way, taken in times.items()
    ]


def memory_peaks(
    cfg: CfgNode, batch: int, threads: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """A row per way: MiB by which a step exceeds the level before it, each in a new process."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for way in WAYS:
        with context.Pool(1) as pool:
            peaks[way] = pool.apply(measure_peak, (cfg, way, batch, threads, device))
    return [
        {
            "way": way,
            "peak_mib": peak,
            "over_high": peak / peaks["high"],
            "over_baseline": peak / peaks["baseline"],
        }
        for way, peak in peaks.items()
    ]


def measure_peak(cfg: CfgNode, way: str, batch: int, threads: int, device: str = "cpu") -> float:
    """MiB by which one step, its gradients among them, exceeds the level before it.

    Call it once per process.
    """
    torch.set_num_threads(threads)
    trainer = Trainer(cfg, batch, device)
    if torch.device(device).type == "cuda":
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
