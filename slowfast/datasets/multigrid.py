"""Multigrid training: small clips in large batches and large clips in small ones, by turns.

A Multigrid Method for Efficiently Training Video Models, arXiv:1912.00998, with the epochs, shapes
and learning rates of PySlowFast.  Arithmetic only: `loader.py` makes batches of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Generator

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets.sampling import Indices, Sampling


class Shape(NamedTuple):
    """The clips of a batch: so many frames of `crop` x `crop` pixels."""

    num_frames: int
    crop: int


class Turn(NamedTuple):
    """A batch of the short cycle: clips of `shape`, `factor` times as many as TRAIN.BATCH_SIZE."""

    factor: int
    shape: Shape


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs, up to `end`, whose batches repeat `turns`.

    `factor` is that of the last turn: with it the learning rate of `step` (in SOLVER.LRS) grows.
    """

    step: int
    turns: tuple[Turn, ...]
    end: int

    @property
    def factor(self) -> int:
        return self.turns[-1].factor

    @property
    def shape(self) -> Shape:
        return self.turns[-1].shape


@dataclass(frozen=True)
class Multigrid:
    """The phases of a training, and the learning rate of them: `lrs[i]` from epoch `steps[i]` on.

    Within a phase `eval_freq` validations are spread evenly, the last at its end; or there is one
    each `eval_period` epochs and after the last, if that is not 0.
    """

    phases: tuple[Phase, ...]
    steps: tuple[int, ...]
    lrs: tuple[float, ...]
    eval_freq: int = 3
    eval_period: int = 0

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Multigrid | None:
        """What MULTIGRID says of SOLVER and DATA; None if both cycles are off."""
        grid, solver = cfg.MULTIGRID, cfg.SOLVER
        if not is_multigrid(cfg):
            return None
        shape = Shape(frame_counts(cfg)[-1], cfg.DATA.TRAIN_CROP_SIZE)
        parts = list(grid.SHORT_CYCLE_FACTORS) if grid.SHORT_CYCLE else []
        if grid.LONG_CYCLE:
            # The counts of a frame-flexible network are what its private layers are for.
            times = [1.0 if cfg.FFN.ENABLE else time for time, _ in grid.LONG_CYCLE_FACTORS]
            factors = [(t, s) for t, (_, s) in zip(times, grid.LONG_CYCLE_FACTORS, strict=True)]
            cycle = [turns(shape, time, side, parts) for time, side in factors]
            phases = long_cycle(cycle, list(solver.STEPS), solver.MAX_EPOCH, grid.EPOCH_FACTOR)
            return cls(phases, *learning_rates(phases, list(solver.LRS)), grid.EVAL_FREQ)
        end = int(solver.MAX_EPOCH * grid.EPOCH_FACTOR)
        phase = Phase(0, turns(shape, 1.0, 1.0, parts), end)
        steps = tuple(int(step * grid.EPOCH_FACTOR) for step in solver.STEPS)
        return cls((phase,), steps, tuple(solver.LRS), eval_period=cfg.TRAIN.EVAL_PERIOD)

    @property
    def max_epoch(self) -> int:
        return self.phases[-1].end

    @property
    def shapes(self) -> list[Shape]:
        """Every shape of a batch, once."""
        return list(dict.fromkeys(turn.shape for phase in self.phases for turn in phase.turns))

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0; the last one also after its end."""
        return next((phase for phase in self.phases if epoch < phase.end), self.phases[-1])

    def validates_after(self, epochs: int) -> bool:
        """Whether a validation follows when `epochs` are done."""
        if self.eval_period:
            return epochs % self.eval_period == 0 or epochs == self.max_epoch
        starts = accumulate((phase.end for phase in self.phases), max, initial=0)
        for start, phase in zip(starts, self.phases, strict=False):
            if epochs <= phase.end:
                period = (phase.end - start) // self.eval_freq + 1
                return (phase.end - epochs) % period == 0
        return False

    def table(self) -> str:
        """A line per phase: its epochs, and its batches as times TRAIN.BATCH_SIZE, frames, crop."""
        lines, start = [], 0
        for phase in self.phases:
            batches = ", ".join(f"{k} x {t}x{crop}x{crop}" for k, (t, crop) in phase.turns)
            if start < phase.end:
                lines.append(f"  epochs {start + 1}-{phase.end}: {batches}")
            start = phase.end
        return "\n".join(lines)


def is_multigrid(cfg: CfgNode) -> bool:
    """Whether training clips differ in size."""
    return cfg.MULTIGRID.LONG_CYCLE or cfg.MULTIGRID.SHORT_CYCLE


def turns(shape: Shape, time: float, side: float, parts: Iterable[float]) -> tuple[Turn, ...]:
    """The batches that repeat in a phase of clips `time` as long and `side` as wide as `shape`.

    Before its own batch come crops of `parts` of the full `shape`, as PySlowFast has it (the paper:
    of the phase's), never more than the phase's.  The pixels of all batches are about the same.
    """
    whole = Shape(_part(shape.num_frames, time), _part(shape.crop, side))
    factor = round(shape.num_frames * shape.crop**2 / (whole.num_frames * whole.crop**2))
    cycle = []
    for part in parts:
        crop = min(_part(shape.crop, part), whole.crop)
        more = max(round((whole.crop / (shape.crop * part)) ** 2), 1)
        cycle.append(Turn(factor * more, Shape(whole.num_frames, crop)))
    return (*cycle, Turn(factor, whole))


def _part(whole: int, part: float) -> int:
    """`part` of `whole`, rounded as in PySlowFast, where a quarter of 2 frames is none."""
    return max(round(whole * part), 1)


def long_cycle(
    cycle: Sequence[tuple[Turn, ...]], steps: Sequence[int], max_epoch: int, epoch_factor: float
) -> tuple[Phase, ...]:
    """All of `cycle` within each step of the learning rate but the last, which has only its end.

    `steps` are the epochs where the steps of the plain training begin, of `max_epoch` epochs.  The
    phases of a step take equally many batches.  The last step is shortened as much as the others,
    counted in batches; then all is stretched to `epoch_factor` * `max_epoch` epochs.
    """
    videos = [sum(turn.factor for turn in batch) / len(batch) for batch in cycle]
    stretches = [
        (step, batch, (after - before) * mean / sum(videos))
        for step, (before, after) in enumerate(zip(steps, steps[1:], strict=False))
        for batch, mean in zip(cycle, videos, strict=True)
    ]
    rest = (max_epoch - steps[-1]) * videos[-1] * len(videos) / sum(videos)
    stretches.append((len(steps) - 1, cycle[-1], rest))
    stretch = max_epoch * epoch_factor / sum(epochs for _, _, epochs in stretches)
    ends = accumulate(epochs * stretch for _, _, epochs in stretches)
    return tuple(
        Phase(step, batch, round(end))
        for (step, batch, _), end in zip(stretches, ends, strict=True)
    )


def learning_rates(
    phases: Sequence[Phase], lrs: Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """When the learning rate changes, and to what: `lrs` of the phase's step times its factor.

    The last phase has the rate of the one before in its first half.
    """
    ends = [0, *(phase.end for phase in phases)]
    rates = [phase.factor * lrs[phase.step] for phase in phases]
    steps = (*ends[:-1], (ends[-2] + ends[-1]) // 2)
    return steps, (*rates[:-1], rates[-2], rates[-1])


def norm_type(videos: int, base: int) -> tuple[str, int]:
    """The BN.NORM_TYPE, and its number of parts or processes, for which `base` videos share one.

    `videos` are those of one process: (64, 8) sub_batchnorm of 8, (2, 8) sync_batchnorm of 4.
    """
    if videos > base:
        return "sub_batchnorm", videos // base
    return ("sync_batchnorm", base // videos) if videos < base else ("batchnorm", 1)


@dataclass(frozen=True)
class AnyOf:
    """One of `choices`, drawn anew for each random clip; fixed views are those of the first."""

    choices: tuple[Sampling, ...]

    @property
    def num_frames(self) -> tuple[int, ...]:
        return self.choices[0].num_frames

    @property
    def num_clips(self) -> int:
        return self.choices[0].num_clips

    def clips(self, length: int, fps: float, generator: Generator | None = None) -> list[Indices]:
        which = 0
        if generator is not None:
            which = int(torch.randint(len(self.choices), (), generator=generator))
        return self.choices[which].clips(length, fps, generator)


def strides(full: int, num_frames: int, stride: int) -> range:
    """Distances between frames of a short clip, of which each clip draws one, as in PySlowFast.

    They rise from `stride` to where `num_frames` span the time of `full` frames `stride` apart.
    """
    return range(stride, stride * (full // num_frames) + 1)


def of_shape(cfg: CfgNode, shape: Shape, stride: int) -> CfgNode:
    """`cfg` for training clips of `shape` and frames `stride` apart.

    The smallest short side shrinks with the crop, the largest stays, as in PySlowFast.
    """
    data, full = cfg.DATA, cfg.DATA.TRAIN_CROP_SIZE
    smallest, largest = data.TRAIN_JITTER_SCALES
    other = cfg.clone()
    other.defrost()
    other.DATA.TRAIN_CROP_SIZE = shape.crop
    other.DATA.TRAIN_JITTER_SCALES = [round(smallest * shape.crop / full), largest]
    if not cfg.FFN.ENABLE:
        other.DATA.NUM_FRAMES, other.DATA.SAMPLING_RATE = shape.num_frames, stride
    return other
