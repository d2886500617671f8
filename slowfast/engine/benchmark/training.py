"""Time and memory of a training step in four ways, each in one or more settings.

`high` trains the highest rate alone, `per_rate` is FFN as this project runs it, `joint` FFN with
one backward pass for all rates, and `baseline` is `joint` computed as the originals do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from slowfast.config import CfgNode, frame_counts, trained_sizes
from slowfast.datasets import Batch
from slowfast.engine.benchmark.memory import MIB, held, in_a_new_process, most_held
from slowfast.engine.benchmark.timing import take_turns
from slowfast.engine.device import AMP_DTYPES
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.processes.parallel import compiled
from slowfast.layers.alter import plain_gains
from slowfast.layers.conv import plain_convolutions
from slowfast.models import build_model
from slowfast.objectives import Classify, FrameFlexibleTraining

WAYS = ("high", "per_rate", "joint", "baseline")


class Setting(NamedTuple):
    """How a step computes: `precision` is fp32, bf16 or fp16; the others are on or off."""

    precision: str = "fp32"
    compile: str = "off"
    channels_last: str = "off"


PLAIN = Setting()


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

    def __init__(
        self, cfg: CfgNode, batch: int, device: str = "cpu", setting: Setting = PLAIN
    ) -> None:
        torch.manual_seed(0)
        size, counts = cfg.DATA.TRAIN_CROP_SIZE, frame_counts(cfg)
        clips = tuple(torch.randn(batch, 3, t, size, size) for t in counts)
        if setting.channels_last == "on":  # the network's layers take it over from the clips
            clips = tuple(c.contiguous(memory_format=torch.channels_last_3d) for c in clips)
        labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,))
        self.batch = Batch(clips, labels, torch.arange(batch)).to(device)
        self.model = build_model(cfg).to(device).train()
        optimizer = build_optimizer(self.model, cfg)
        fill(self.model, optimizer)
        if setting.compile == "on":
            compiled(self.model)
        joint, per_rate = (
            FrameFlexibleTraining(backward=b, sizes=trained_sizes(cfg))
            for b in ("joint", "per_rate")
        )
        objectives = dict(zip(WAYS, (Classify(), per_rate, joint, joint), strict=True))
        self.steppers = {
            way: Stepper(
                self.model,
                objective,
                optimizer,
                torch.device(device),
                amp_dtype=AMP_DTYPES.get(setting.precision),
                clip_norm=20.0,
            )
            for way, objective in objectives.items()
        }

    def step(self, way: str) -> None:
        batch = self.batch
        if way == "high":
            batch = Batch(batch.clips[-1:], batch.labels, batch.index)
        with as_the_originals() if way == "baseline" else nullcontext():
            self.steppers[way](batch)


def fill(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Brings the optimiser's averages into memory, where they are before every real step."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def time_steps(
    cfg: CfgNode,
    batch: int,
    repeats: int,
    device: str = "cpu",
    ways: Sequence[str] = WAYS,
    settings: Sequence[Setting] = (PLAIN,),
) -> list[dict[str, Any]]:
    """A row per setting and way: seconds of a step, and over those of others in the setting.

    All take turns.  `over_first` compares with the same way in the first setting.
    """
    runs: dict[tuple[Setting, str], Callable[[], None]] = {}
    for setting in settings:
        trainer = Trainer(cfg, batch, device, setting)
        runs |= {(setting, way): partial(trainer.step, way) for way in ways}
    times = take_turns(runs, repeats, device)
    costs = {run: taken.cpu for run, taken in times.items()}
    return [
        {
            **_named(run, settings),
            "cpu_s": taken.cpu,
            "wall_s": taken.wall,
            "videos_per_s": batch / taken.wall,
            **_ratios(run, costs, ways, settings),
        }
        for run, taken in times.items()
    ]


def memory_peaks(
    cfg: CfgNode,
    batch: int,
    threads: int,
    device: str = "cpu",
    ways: Sequence[str] = WAYS,
    settings: Sequence[Setting] = (PLAIN,),
) -> list[dict[str, Any]]:
    """A row per setting and way: MiB by which a step exceeds the level before it.

    Each is measured in a new process.
    """
    peaks = {
        (setting, way): in_a_new_process(measure_peak, cfg, way, batch, threads, device, setting)
        for setting in settings
        for way in ways
    }
    return [
        {**_named(run, settings), "peak_mib": peak, **_ratios(run, peaks, ways, settings)}
        for run, peak in peaks.items()
    ]


def _named(run: tuple[Setting, str], settings: Sequence[Setting]) -> dict[str, str]:
    """The way and, where there are others, its setting."""
    setting, way = run
    return {"way": way, **(setting._asdict() if tuple(settings) != (PLAIN,) else {})}


def _ratios(
    run: tuple[Setting, str],
    costs: dict[tuple[Setting, str], float],
    ways: Sequence[str],
    settings: Sequence[Setting],
) -> dict[str, float]:
    """The cost of `run` over those that it is to be compared with, as far as they were measured."""
    setting, way = run
    others = {f"over_{w}": (setting, w) for w in ("high", "baseline") if w in ways}
    if len(settings) > 1:
        others["over_first"] = (settings[0], way)
    return {name: costs[run] / costs[other] for name, other in others.items()}


def measure_peak(
    cfg: CfgNode,
    way: str,
    batch: int,
    threads: int,
    device: str = "cpu",
    setting: Setting = PLAIN,
) -> float:
    """MiB by which one step, its gradients among them, exceeds the level before it.

    Call it once per process.
    """
    torch.set_num_threads(threads)
    trainer = Trainer(cfg, batch, device, setting)
    before = held(device)
    return (most_held(partial(trainer.step, way), device) - before) / MIB
