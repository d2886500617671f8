"""All that a run of training holds: built from a configuration, saved, and taken up again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.config import trained_sizes
from slowfast.datasets import Batch, Failure, Loader
from slowfast.datasets.lists import class_names
from slowfast.datasets.mixing import Mixing, build_mixing
from slowfast.engine.device import AMP_DTYPES
from slowfast.engine.files.checkpoint import Checkpoints, read
from slowfast.engine.meters import Averages
from slowfast.engine.multigrid import Phases, solver_of
from slowfast.engine.optimization.ema import build_ema
from slowfast.engine.optimization.guards import Guard
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.schedule import Schedule, build_schedule
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.precise_bn import precise_statistics
from slowfast.engine.prepare import prepare_training, set_training
from slowfast.engine.processes.parallel import (
    Statistics,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
    unwrap,
    whole,
    wrap,
)
from slowfast.engine.processes.world import World
from slowfast.engine.selfcheck import check_mixed_precision
from slowfast.engine.start import load_start
from slowfast.models import build_model
from slowfast.objectives import build_objective, parameters_of
from slowfast.weights import describe, pack

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """A run of training at some moment; `state_dict` is what a checkpoint keeps of it.

    epoch          epochs trained
    is_open        whether the validation and the checkpoint of the last one are still to come
    iteration      steps done of the epoch that runs
    steps          steps done in all epochs
    best           mean of the data set's metric over rates
    """

    cfg: CfgNode
    world: World
    step: Stepper
    schedule: Schedule
    checkpoints: Checkpoints
    guard: Guard
    mixing: Mixing | None = None
    phases: Phases | None = None
    epoch: int = 0
    is_open: bool = False
    iteration: int = 0
    steps: int = 0
    best: float = -1.0
    loader_state: dict[str, int] | None = None
    averages: Averages = field(default_factory=Averages)
    failures: list[Failure] = field(default_factory=list)

    @classmethod
    def from_cfg(cls, cfg: CfgNode, world: World = World()) -> Training:
        torch.manual_seed(cfg.RNG_SEED)
        model = build_model(cfg)
        start = load_start(model, cfg)
        prepare_training(model, cfg, world)
        model.to(world.device)
        check_mixed_precision(model, cfg, world.device)
        guard = Guard.from_cfg(cfg, model, world)
        wrapped = wrap(model, cfg, world)
        objective, optimizer = build_objective(cfg), build_optimizer(wrapped, cfg)
        if isinstance(objective, nn.Module):
            objective.to(world.device)
        if beside := parameters_of(objective):
            optimizer.add_param_group({"params": beside, "weight_decay": cfg.SOLVER.WEIGHT_DECAY})
        step = Stepper(
            model=wrapped,
            objective=objective,
            optimizer=optimizer,
            device=world.device,
            amp_dtype=AMP_DTYPES[cfg.TRAIN.AMP_DTYPE] if cfg.TRAIN.MIXED_PRECISION else None,
            clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
            clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
            world=world,
            micro_batches=cfg.TRAIN.MICRO_BATCHES,
            check=guard.check,
            ema=build_ema(wrapped, cfg),
        )
        guard.scaler = step.scaler
        checkpoints = Checkpoints(
            Path(cfg.OUTPUT_DIR) / "checkpoints",
            cfg.TRAIN.KEEP_CHECKPOINTS,
            background=cfg.TRAIN.CHECKPOINT_BACKGROUND,
        )
        schedule, mixing = build_schedule(cfg), build_mixing(cfg)
        phases = Phases.from_cfg(cfg, world)
        training = cls(cfg, world, step, schedule, checkpoints, guard, mixing, phases)
        if "optimizer_state" in start:
            training.load_state_dict(start)
        training.epoch = start.get("epoch", 0)
        return training

    @property
    def max_epoch(self) -> int:
        return solver_of(self.cfg).MAX_EPOCH

    @property
    def is_done(self) -> bool:
        return self.epoch >= self.max_epoch and not self.is_open

    @property
    def is_validated(self) -> bool:
        """Whether a validation follows the epoch that has ended."""
        if self.phases is not None:
            return self.phases.grid.validates_after(self.epoch)
        return self._is_due(self.cfg.TRAIN.EVAL_PERIOD)

    @property
    def is_saved(self) -> bool:
        """Whether a checkpoint follows the epoch that has ended."""
        return self._is_due(self.cfg.TRAIN.CHECKPOINT_PERIOD)

    def _is_due(self, period: int) -> bool:
        return self.epoch % period == 0 or self.epoch == self.max_epoch

    @property
    def model(self) -> nn.Module:
        """The network that is trained, with all its weights."""
        return whole(self.step.model)

    @property
    def tested_model(self) -> nn.Module:
        """The network that is validated and kept as the best."""
        return self.model if self.step.ema is None else self.step.ema.whole()

    def seed_step(self) -> None:
        """Make the random numbers of the next step its own: no others have to be kept."""
        numbers = (self.cfg.RNG_SEED, self.world.rank, self.epoch, self.iteration)
        digest = blake2b(repr(numbers).encode(), digest_size=8).digest()
        torch.manual_seed(int.from_bytes(digest))

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on, in the main process; every process calls it."""
        # Between epochs nothing is gathered, nor is anybody waited for.
        gather = self.world.gather if self.iteration else lambda value: [value]
        ema = self.step.ema
        return {
            "epoch": self.epoch,
            "is_open": self.is_open,
            "iteration": self.iteration,
            "steps": self.steps,
            "best": self.best,
            "loader_state": self.loader_state,
            # Of the epoch that runs, one per process.
            "averages": gather(self.averages.state_dict()),
            "failures": [[tuple(f) for f in found] for found in gather(self.failures)],
            "model_state": model_state(self.step.model),
            "ema_state": None if ema is None else ema.state_dict(),
            "optimizer_state": optimizer_state(self.step.optimizer),
            "scaler_state": self.step.scaler.state_dict(),
            "guard_state": self.guard.state_dict(),
            "objective_state": _state_of(self.step.objective),
            "cfg": self.cfg.dump(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, written by any number of processes."""
        load_model_state(self.step.model, state["model_state"])
        load_optimizer_state(self.step.optimizer, state["optimizer_state"])
        if state["scaler_state"]:  # empty where the checkpoint was written without loss scaling
            self.step.scaler.load_state_dict(state["scaler_state"])
        if self.step.ema is not None:
            begun = {"updates": 0, "model_state": state["model_state"]}  # as of a new training
            self.step.ema.load_state_dict(state["ema_state"] or begun)
        self.guard.load_state_dict(state["guard_state"])
        if isinstance(self.step.objective, nn.Module):
            self.step.objective.load_state_dict(state["objective_state"])
        for name in ("epoch", "is_open", "iteration", "steps", "best", "loader_state"):
            setattr(self, name, state[name])
        rank, size = self.world.rank, self.world.size
        self.averages = Averages.from_states(state["averages"][rank::size], self.world.device)
        self.failures = [Failure(*f) for found in state["failures"][rank::size] for f in found]

    def save(self) -> Path | None:
        """Write a checkpoint of this moment; its path in the main process."""
        state = self.state_dict()
        if not self.world.is_main:
            return None
        return self.checkpoints.save(self.epoch, state, step=self.iteration)

    def save_best(self) -> None:
        """Keep the network as it is now: to train on, and to use with `slowfast.load`."""
        state = self.state_dict()
        if self.world.is_main:
            self.checkpoints.save_best(state, self._pack_tested)

    def _pack_tested(self, state: dict[str, Any]) -> bytes:
        """The network in `state`, a state of this training, as a file; it may run in a thread."""
        tested = state if state["ema_state"] is None else state["ema_state"]
        labels = class_names(self.cfg.DATA.PATH_TO_DATA_DIR)
        if len(labels) != self.cfg.MODEL.NUM_CLASSES:
            labels = []  # the folder has none, or those of other classes
        return pack(tested["model_state"], describe(unwrap(self.step.model), self.cfg, labels))

    def resume(self) -> None:
        """Continue from the newest readable checkpoint of the run, if there is one."""
        found = self.checkpoints.newest() if self.world.is_main else None
        path = self.world.broadcast(found and found[0])
        if path is None:
            return
        state = found[1] if found else read(path)
        try:
            self.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(misfit(path, error)) from error
        within = f" and {self.iteration} steps" if self.iteration else ""
        logger.info("resumed from %s: %d epochs%s done", path, self.epoch, within)

    def start_epoch(self, loader: Loader) -> None:
        """Set the network to training, and `loader` to where the epoch goes on or starts."""
        self._enter_phase(self.epoch)
        set_training(self.step.model, self.cfg)
        loader.set_epoch(self.epoch)
        if self.loader_state is not None:
            loader.load_state_dict(self.loader_state)
            # Of batches of another size than before, as many lie behind it as would with this one.
            self.iteration = max(len(loader) - loader.remaining, 0)

    def _enter_phase(self, epoch: int) -> None:
        """Give the norms the batch that they see in multigrid training's phase of `epoch`."""
        if self.phases is not None and self.phases.enter(epoch, *self._networks()):
            self.step.statistics = Statistics(self.step.model, self.world)

    def _networks(self) -> list[nn.Module]:
        """The one that is trained and, where there is one, its average."""
        ema = self.step.ema
        return [unwrap(self.step.model), *([unwrap(ema.averaged.module)] if ema else [])]

    def estimate_statistics(
        self, loader: Loader, before_batch: Callable[[], None] = lambda: None
    ) -> None:
        """Give the BatchNorms exact statistics of the first batches of the epoch that has ended.

        What `before_batch` raises leaves those of a network as they were.
        """

        def batches() -> Iterator[Batch]:
            for batch in loader:
                before_batch()
                yield batch

        self._enter_phase(self.max_epoch)  # that of whole clips in batches of TRAIN.BATCH_SIZE
        loader.set_epoch(self.epoch - 1, whole=True)
        for network in self._networks():
            precise_statistics(
                network,
                batches(),
                self.cfg.BN.NUM_BATCHES_PRECISE,
                self.world,
                self.step.amp_dtype,
                self.step.micro_batches,
                trained_sizes(self.cfg),
            )

    def end_epoch(self) -> None:
        """Count the epoch that ran, and forget what was gathered in it."""
        self.epoch += 1
        self.is_open, self.iteration, self.loader_state = True, 0, None
        self.averages, self.failures = Averages(), []


def misfit(path: Path, error: Exception) -> str:
    """A sentence for a checkpoint of the run's own folder that is none of this training."""
    ways = "choose another OUTPUT_DIR, or set TRAIN.AUTO_RESUME False"
    if isinstance(error, KeyError):
        return (
            f"{path} has no {error}: another version or program wrote it; {ways} and take its "
            "weights by TRAIN.CHECKPOINT_FILE_PATH"
        )
    reason = " ".join(str(error).split())
    return f"{path} does not fit this configuration, {ways} ({reason[:200]})"


def _state_of(objective: object) -> dict[str, Any]:
    return dict(objective.state_dict()) if isinstance(objective, nn.Module) else {}
