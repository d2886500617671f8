"""One step of the optimiser: the same result for any number of processes and micro batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slowfast.datasets import Batch
from slowfast.engine.device import autocast_forward
from slowfast.engine.meters import hits_at
from slowfast.engine.optimization.ema import Ema
from slowfast.engine.optimization.optimizer import clip_gradients, gradient_norm
from slowfast.engine.processes.parallel import Sharded, Statistics, no_sync
from slowfast.engine.processes.world import World
from slowfast.objectives import Objective, parameters_of

logger = logging.getLogger(__name__)


@dataclass
class Stepper:
    """One optimiser step: every loss of the objective back-propagated, then clip and step.

    `model` is wrapped for `world`, see `parallel.wrap`.  The gradient is that of the mean loss over
    the videos of all processes, however many each of them could read; it is exchanged once, with
    the last backward pass.  `micro_batches` splits a process's videos into parts that follow one
    another.

    `check(record, batch)` sees the gradients, not yet clipped, before the optimiser does.
    It may raise, or return False to leave the step out; all processes have to agree.
    """

    model: nn.Module
    objective: Objective
    optimizer: Optimizer
    device: torch.device
    amp_dtype: torch.dtype | None = None
    clip_value: float | None = None
    clip_norm: float | None = None
    world: World = field(default_factory=World)
    micro_batches: int = 1
    check: Callable[..., bool | None] | None = None
    ema: Ema | None = None
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        fp16 = self.amp_dtype is torch.float16
        if fp16 and isinstance(self.model, Sharded):
            raise ValueError(
                "DIST.STRATEGY='fsdp' does not go with TRAIN.AMP_DTYPE='fp16': each process would "
                "scale its part of the weights by itself; take 'bf16'"
            )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        self.forward = autocast_forward(self.model, self.device, self.amp_dtype)
        self.parameters = list(self.model.parameters())
        self.beside = parameters_of(self.objective)  # no part of the network, nor of what wraps it
        self.statistics = Statistics(self.model, self.world)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step; the loss and its parts, top-1 percent per frame count and gradient norm.

        The record is that of this process's videos, see `mean_record`.  It is empty where no step
        was taken: a process has no video (all leave the step out), or `check` returned False.  It
        has no gradient norm where the scaled gradient was too large for half precision: then the
        scaler moves no weight and lowers its scale.
        """
        self.optimizer.zero_grad(set_to_none=True)
        counts = self._counts(len(batch))
        if not min(counts):
            without = [rank for rank, count in enumerate(counts) if not count]
            logger.warning(
                "step left out: no video of process %s could be read",
                ", ".join(map(str, without)),
            )
            return {}
        record = self._backward(batch, counts)
        self.scaler.unscale_(self.optimizer)
        norm = record["grad_norm"] = gradient_norm(self.parameters, self.beside)
        taken = self.check is None or self.check(record, batch) is not False
        if taken:
            for parameters in (self.parameters, self.beside):
                clip_gradients(parameters, self.clip_value, self.clip_norm, norm)
            self.scaler.step(self.optimizer)
            self.statistics.average()
            overflow = self.scaler.is_enabled() and not norm.isfinite()
            if overflow:
                del record["grad_norm"]
            elif self.ema is not None:
                self.ema.update(self.model)
        self.scaler.update()
        return record if taken else {}

    def mean_record(self, record: Mapping[str, Tensor], num_videos: int) -> dict[str, Tensor]:
        """`record`, of `num_videos` here, as the mean over the videos of all processes.

        All processes ask for it together.
        """
        if self.world.size == 1:
            return dict(record)
        values = torch.stack([torch.as_tensor(value).double() for value in record.values()])
        sums = self.world.sum(torch.cat([values, values.new_ones(1)]) * num_videos)
        return dict(zip(record, sums[:-1] / sums[-1], strict=True))

    def _counts(self, num_videos: int) -> list[int]:
        """How many videos each process has."""
        counts = torch.zeros(self.world.size, dtype=torch.int64)
        counts[self.world.rank] = num_videos
        return self.world.sum(counts).tolist()

    def _backward(self, batch: Batch, counts: list[int]) -> dict[str, Tensor]:
        """Fills the gradients; the means of what the terms say."""
        record: dict[str, Tensor] = {}
        # As many parts in every process: norms and split weights may exchange data in each pass.
        parts = split(batch, min(self.micro_batches, *counts))
        for number, part in enumerate(parts, start=1):
            share = len(part) / len(batch)
            weight = len(part) * self.world.size / sum(counts)  # gradients become means, not sums
            terms, left = self.objective(self.forward, part), self.objective.num_terms(part)
            while left:
                left -= 1
                last = number == len(parts) and not left
                # Asking for a term runs its forward pass, which decides about the exchange.
                with nullcontext() if last else no_sync(self.model):
                    term = next(terms)
                    self.scaler.scale(term.loss * weight).backward()
                _add(record, {"loss": term.loss.detach()} | term.parts, share)
                for num_frames, logits in term.logits.items():
                    hits = hits_at(logits, part.labels, 1)
                    _add(record, {f"top1_{num_frames}": 100 * hits.float().mean()}, share)
                del term  # or its graph would stay alive while the next rate runs
            assert next(terms, None) is None, "an objective yields more terms than num_terms says"
        for parameter in self.beside if self.world.size > 1 else ():
            if parameter.grad is not None:
                parameter.grad = self.world.sum(parameter.grad) / self.world.size
        return record


def split(batch: Batch, num_parts: int) -> list[Batch]:
    """`batch` in `num_parts` batches of neighbouring videos, as even as can be."""
    if num_parts <= 1:
        return [batch]
    rows = torch.arange(len(batch)).tensor_split(num_parts)
    return [_rows(batch, part[0].item(), part[-1].item() + 1) for part in rows]


def _rows(batch: Batch, start: int, stop: int) -> Batch:
    views = batch.num_views
    return replace(
        batch,
        clips=tuple(clip[start * views : stop * views] for clip in batch.clips),
        labels=batch.labels[start:stop],
        index=batch.index[start:stop],
        paths=batch.paths[start:stop],
        failures=(),
    )


def _add(record: dict[str, Tensor], values: Mapping[str, Tensor], share: float) -> None:
    for name, value in values.items():
        record[name] = record.get(name, 0) + value * share
