"""What stops a training that has gone wrong, before its weights do, and tells why."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.datasets import Batch
from slowfast.engine.processes.parallel import model_state
from slowfast.engine.processes.world import World
from slowfast.models import FrameFlexible

logger = logging.getLogger(__name__)

WARM_UP = 20  # steps before a loss can be too large
MEMORY = 0.98  # share of the running mean of losses that a step leaves
DUMPS = 3  # steps left out that are written down; the one that stops the run always is
LISTED = 3  # names of parameters in a message


@dataclass
class Guard:
    """Looks at every step between its backward passes and the optimiser's step.

    `skip` steps of a run may be left out because their loss or gradient is not finite; `max_factor`
    times its running mean is what the loss may not exceed, 0 is no limit.  `remedies` are the keys
    that save memory and are not yet used.  All processes of `world` come to the same decision.
    """

    model: nn.Module
    folder: Path  # of the files that show what went wrong
    world: World = World()
    skip: int = 0
    max_factor: float = 0.0
    remedies: tuple[str, ...] = ()
    scaler: torch.amp.GradScaler | None = None  # that of the step
    epoch: int = 0
    iteration: int = 0
    skipped: int = 0
    _losses: int = 0
    _sum: float = 0.0
    _buffers: list[Tensor] = field(default_factory=list)

    @classmethod
    def from_cfg(cls, cfg: CfgNode, model: nn.Module, world: World) -> Guard:
        train = cfg.TRAIN
        return cls(
            model=model,
            folder=Path(cfg.OUTPUT_DIR) / "dumps",
            world=world,
            skip=train.SKIP_NONFINITE,
            max_factor=train.MAX_LOSS_FACTOR,
            remedies=memory_remedies(cfg),
        )

    def state_dict(self) -> dict[str, float]:
        """What a resumed run has to know: steps left out, and the running mean of the loss."""
        return {"skipped": self.skipped, "losses": self._losses, "sum": self._sum}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.skipped = int(state["skipped"])
        self._losses, self._sum = int(state["losses"]), float(state["sum"])

    @property
    def mean_loss(self) -> float:
        """The running mean: each loss counts MEMORY times as much as the one after it."""
        return self._sum / (1 - MEMORY**self._losses) if self._losses else math.nan

    def at(self, epoch: int, iteration: int) -> None:
        """Say which step comes; both count from 0.

        Where steps may be left out it also keeps the network's buffers, as the forward pass moves
        BatchNorm's running statistics.
        """
        self.epoch, self.iteration = epoch, iteration
        if self.skip:
            self._keep_buffers()

    def check(self, record: Mapping[str, Tensor], batch: Batch) -> bool:
        """Whether to take the step with the gradients that `model` holds now, not yet clipped.

        `record` has the `loss`, its parts and, where it is known, the `grad_norm` of unscaled
        gradients.  With a loss scale above 1 a gradient that is not finite is up to the scaler:
        it leaves the step out and lowers the scale.

        False: leave the step out.  Parameters, optimiser and the network's buffers are then what
        they were before the step; the loss scale is not.
        Raises FloatingPointError, after writing a dump, when the run must stop.
        """
        loss, norm = (_scalar(record, name, self.world) for name in ("loss", "grad_norm"))
        flags = torch.stack([loss.isfinite(), norm.isfinite()]).logical_not().double()
        bad_losses, bad_norms, total = self.world.sum(torch.cat([flags, loss[None]])).tolist()
        if bad_losses or (bad_norms and not self._scale_can_fall):
            return self._leave_out(record, batch)
        self._check_growth(total / self.world.size, record, batch)
        return True

    @contextmanager
    def watch(self, batch: Batch) -> Iterator[None]:
        """Inside it, memory that runs out raises MemoryError with a sentence that helps."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            shapes = ", ".join("x".join(map(str, clip.shape)) for clip in batch.clips)
            raise MemoryError(
                f"out of memory on {self.world.device} in {self._place} with clips of {shapes} "
                f"({_usage(self.world.device)}); {'; '.join(self.remedies)}"
            ) from error

    @property
    def _place(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.iteration + 1}"

    @property
    def _scale_can_fall(self) -> bool:
        scaled = self.scaler is not None and self.scaler.is_enabled()
        return scaled and self.scaler.get_scale() > 1

    @property
    def _scale_text(self) -> str:
        scaled = self.scaler is not None and self.scaler.is_enabled()
        return f"; the loss scale is {self.scaler.get_scale():g}" if scaled else ""

    def _keep_buffers(self) -> None:
        buffers = list(self.model.buffers())
        if not self._buffers:
            self._buffers = [torch.empty_like(buffer) for buffer in buffers]
        _copy(buffers, self._buffers)

    def _leave_out(self, record: Mapping[str, Tensor], batch: Batch) -> bool:
        findings = self._findings(record, batch)
        message = f"{self._place}: {findings}{self._scale_text}"
        stops = self.skipped >= self.skip
        dump = self._dump(message, record, batch) if stops or self.skipped < DUMPS else ""
        if stops:
            left_out = f"{self.skipped} such steps were left out already; " if self.skip else ""
            raise FloatingPointError(
                f"{message}; {dump}{left_out}lower SOLVER.BASE_LR, set SOLVER.CLIP_GRAD_L2NORM, or "
                f"have more steps left out than TRAIN.SKIP_NONFINITE={self.skip}"
            )
        self.skipped += 1
        _copy(self._buffers, list(self.model.buffers()))
        if self.world.is_main:
            counted = f"{self.skipped} of at most {self.skip}"
            logger.warning("step left out (%s): %s; %s", counted, message, dump.rstrip("; "))
        return False

    def _check_growth(self, loss: float, record: Mapping[str, Tensor], batch: Batch) -> None:
        mean = self.mean_loss
        if self.max_factor and self._losses >= WARM_UP and loss > self.max_factor * mean:
            videos = _videos(self.world.gather(batch.paths))
            message = (
                f"{self._place}: the loss {loss:.4g} is {loss / mean:.3g} times its running mean "
                f"{mean:.4g} on the videos {videos}"
            )
            dump = self._dump(message, record, batch)
            raise FloatingPointError(
                f"{message}; {dump}lower SOLVER.BASE_LR, set SOLVER.CLIP_GRAD_L2NORM or raise "
                f"TRAIN.MAX_LOSS_FACTOR={self.max_factor:g}"
            )
        self._losses += 1
        self._sum = MEMORY * self._sum + (1 - MEMORY) * loss

    def _findings(self, record: Mapping[str, Tensor], batch: Batch) -> str:
        """What is not finite, at which rates, and on which videos, of all processes."""
        values = {name: float(value) for name, value in record.items()}
        parts = {name: v for name, v in values.items() if not math.isfinite(v)}
        mine = {"loss": parts.pop("loss", None), "parts": parts, "videos": batch.paths}
        parts.pop("grad_norm", None)
        everyone = self.world.gather(mine)
        guilty = [one for one in everyone if one["loss"] is not None]
        if not guilty:
            names = self.nonfinite_gradients()
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            listed = ", ".join(names[:LISTED]) or "the objective's own layers"
            where = f"the gradient of {listed}{more} is not finite"
            at = _at(self._rates(names))
            return f"{where}{at} on the videos {_videos(one['videos'] for one in everyone)}"
        bad = {name: value for one in guilty for name, value in one["parts"].items()}
        named = f" ({', '.join(f'{name} {value}' for name, value in bad.items())})" if bad else ""
        at = _at({found[0] for name in bad if (found := re.findall(r"\d+(?:x\d+)?$", name))})
        videos = _videos(one["videos"] for one in guilty)
        return f"the loss is {guilty[0]['loss']}{named}{at} on the videos {videos}"

    def _rates(self, names: list[str]) -> set[str]:
        """The rates, as text, whose private layers are among the parameters `names`."""
        if not isinstance(self.model, FrameFlexible):
            return set()
        rates = zip(self.model.rates.tags, self.model.rates.all, strict=True)
        return {
            str(rate) for tag, rate in rates if any(f".copies.{tag}." in name for name in names)
        }

    def nonfinite_gradients(self) -> list[str]:
        """Names of the parameters whose gradient has an entry that is not finite."""
        return [
            name
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]

    def _dump(self, message: str, record: Mapping[str, Tensor], batch: Batch) -> str:
        """Writes what is needed to look into the step; the part of a message that names the file.

        Every process writes its own videos.  The file opens with torch.load(weights_only=True).
        """
        name = f"epoch_{self.epoch:05d}_step_{self.iteration:06d}_rank_{self.world.rank}.pth"
        state = {
            "message": message,
            "epoch": self.epoch,
            "iteration": self.iteration,
            "record": {name: float(value) for name, value in record.items()},
            "clips": [clip.cpu() for clip in batch.clips],
            "labels": batch.labels.cpu(),
            "index": batch.index,
            "paths": list(batch.paths),
            "nonfinite_gradients": self.nonfinite_gradients(),
            "scaler_state": self.scaler.state_dict() if self.scaler is not None else {},
            "model_state": model_state(self.model),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(state, self.folder / name)
        except (OSError, RuntimeError) as error:  # what went wrong must be told all the same
            logger.warning("%s could not be written: %s", self.folder / name, error)
            return ""
        shown = name if self.world.size == 1 else name.replace(f"_{self.world.rank}.pth", "_*.pth")
        return f"batch and weights are in {self.folder / shown}; "  # the same text in all processes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory of the device or the machine ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return bool(re.search(r"can't allocate memory|out of memory|ALLOC_FAILED", str(error)))


def memory_remedies(cfg: CfgNode) -> tuple[str, ...]:
    """What would make a step of `cfg` smaller and is not yet done, the least costly first."""
    train = cfg.TRAIN
    remedies = []
    if cfg.FFN.ENABLE and cfg.FFN.BACKWARD == "joint" and cfg.FFN.DISTILL != "mutual":
        remedies.append("set FFN.BACKWARD to per_rate (same gradient, memory of one rate)")
    if not train.MIXED_PRECISION:
        remedies.append("set TRAIN.MIXED_PRECISION to True")
    if not cfg.MODEL.ACT_CHECKPOINT:
        remedies.append("set MODEL.ACT_CHECKPOINT to True (slower, same gradient)")
    micro = train.MICRO_BATCHES
    remedies.append(f"raise TRAIN.MICRO_BATCHES={micro} or lower TRAIN.BATCH_SIZE")
    return tuple(remedies)


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:  # a network of LayerNorms may have none
        torch._foreach_copy_(target, source)


def _scalar(record: Mapping[str, Tensor], name: str, world: World) -> Tensor:
    value = record.get(name, 0.0)
    return torch.as_tensor(value, dtype=torch.float64, device=world.device).detach()


def _at(rates: Collection[str]) -> str:
    ordered = sorted(rates, key=lambda rate: [int(part) for part in rate.split("x")])
    unit = "(frames x pixels)" if "x" in "".join(rates) else "frames"
    return f" at {'/'.join(ordered)} {unit}" if rates else ""


def _videos(groups: Iterable[Sequence[str]]) -> str:
    return ", ".join(path for paths in groups for path in paths)


def _usage(device: torch.device) -> str:
    if device.type != "cuda":
        return "main memory"
    gib = 2**30
    free, total = (value / gib for value in torch.cuda.mem_get_info(device))
    held = torch.cuda.memory_allocated(device) / gib
    return f"{held:.1f} GiB of tensors, {free:.1f} of {total:.1f} GiB free"
