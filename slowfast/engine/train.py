"""The training loop: it never asks which task, model or data set runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NoReturn

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from slowfast.config import frame_counts, trained_sizes
from slowfast.datasets import DATASETS, Batch, Loader, build_loader
from slowfast.engine.device import pick_device
from slowfast.engine.evaluate import evaluate
from slowfast.engine.files.failures import Failures
from slowfast.engine.files.logs import Metrics
from slowfast.engine.meters import Averages
from slowfast.engine.optimization.optimizer import set_learning_rate
from slowfast.engine.processes.preemption import Preemption
from slowfast.engine.processes.world import World
from slowfast.engine.training import Training
from slowfast.models.flexible import all_rates

logger = logging.getLogger(__name__)


def train(cfg: CfgNode, world: World | None = None) -> nn.Module:
    """Train as `cfg` says, resuming from OUTPUT_DIR if TRAIN.AUTO_RESUME; the trained network.

    Every process of `world` calls this; without one, this process is alone.  Writes metrics.jsonl
    and checkpoints below OUTPUT_DIR.  Raises ValueError for unusable data, weights or settings,
    FloatingPointError for a loss that is not finite, and Preempted when the run was told to end,
    after saving.
    """
    world = World(device=pick_device(cfg)) if world is None else world
    training = Training.from_cfg(cfg, world)
    if cfg.TRAIN.AUTO_RESUME:
        training.resume()
    if training.is_done:
        logger.info("all %d epochs are done already", training.max_epoch)
        return training.model
    loader, val_loader = (
        build_loader(cfg, split, world.rank, world.size) for split in ("train", "val")
    )
    _log_start(cfg, loader, val_loader)
    with Metrics.from_cfg(cfg, world) as metrics, training.checkpoints, Preemption() as preemption:
        if cfg.TRAIN.AUTO_RESUME:
            metrics.rewind(training.steps, training.epoch, training.is_open)
        while not training.is_done:
            if not training.is_open:
                train_epoch(training, loader, metrics, preemption)
            close_epoch(training, loader, val_loader, metrics, preemption)
    return training.model


def train_epoch(
    training: Training, loader: Loader, metrics: Metrics, preemption: Preemption
) -> None:
    """The rest of an epoch; videos that cannot be read are named and left out."""
    cfg, world = training.cfg, training.world
    training.start_epoch(loader)
    failures = _failures(training, loader)
    clock = LoopClock()
    bar = _bar(training, loader)
    for batch in clock.watch(loader):
        learning_rate = training.schedule(training.epoch + training.iteration / len(loader))
        record = take_step(training, batch, learning_rate)
        training.loader_state = loader.state_dict()
        failures.add(batch.failures)
        bar.update()
        if training.iteration % cfg.LOG_PERIOD == 0 and record:
            values = _rounded(training.step.mean_record(record, len(batch)))
            values |= {"lr": learning_rate, "data_wait": clock.data_wait}
            metrics.write("train_iter", training.steps, **values)
            bar.set_postfix_str(_progress(training, loader, clock, values["loss"]))
        news = torch.tensor([float(preemption.requested), len(failures)])
        stop, failed = world.sum(news).tolist()
        failures.check(failed, world)
        if stop:
            _save_and_leave(training, preemption)
        if cfg.TRAIN.CHECKPOINT_STEPS and training.iteration % cfg.TRAIN.CHECKPOINT_STEPS == 0:
            training.save()
    bar.close()
    last = training.schedule(training.epoch + (training.iteration - 1) / len(loader))
    _write_epoch(training, failures, metrics, last, clock)
    training.end_epoch()


def take_step(training: Training, batch: Batch, learning_rate: float) -> dict[str, Tensor]:
    """One step on `batch`; its record, empty where no video could be read."""
    training.seed_step()
    training.guard.at(training.epoch, training.iteration)
    set_learning_rate(training.step.optimizer, learning_rate)
    batch = batch.to(training.world.device, non_blocking=True)
    if training.mixing is not None and len(batch):
        batch = training.mixing(batch, training.epoch, training.iteration)
    with training.guard.watch(batch):
        record = training.step(batch)
    if record:
        training.averages.add(record, len(batch))
    training.iteration += 1
    training.steps += 1
    return record


def close_epoch(
    training: Training,
    loader: Loader,
    val_loader: Loader,
    metrics: Metrics,
    preemption: Preemption,
) -> None:
    """Validate and save the network after an epoch, where they are due."""
    validated, saved = training.is_validated, training.is_saved
    if training.cfg.BN.USE_PRECISE_STATS and (validated or saved):
        estimate_statistics(training, loader, preemption)
    if validated:
        validate(training, val_loader, metrics, preemption)
    training.is_open = False
    if saved:
        training.save()


def estimate_statistics(training: Training, loader: Loader, preemption: Preemption) -> None:
    """Give the BatchNorms exact statistics, which a run that is told to leave starts anew."""

    def ask() -> None:
        if training.world.any(preemption.requested):
            raise _Told

    try:
        training.estimate_statistics(loader, ask)
    except _Told:
        _save_and_leave(training, preemption)


class _Told(Exception):
    """The run was told to leave where its network cannot be saved: norms have other settings."""


def validate(training: Training, loader: Loader, metrics: Metrics, preemption: Preemption) -> None:
    """Evaluate every rate, write it down and keep the network if its mean metric is the best."""
    world = training.world
    ask = preemption.between_batches(loader, world, lambda: _save_and_leave(training, preemption))
    metric = DATASETS.get(training.cfg.TRAIN.DATASET).metric
    results = evaluate(
        training.tested_model,
        loader,
        world.device,
        training.cfg,
        metric,
        lambda _: ask(),
        world,
        trained_sizes(training.cfg),
    )
    main = {f"{metric}_{t}": meter.main for t, meter in results.by_frames.items()}
    logger.info("  validation: %s, mean %.2f; %s", _text(main), results.mean, results.coverage)
    record = results.summary | {f"mean_{metric}": results.mean}
    record = _rounded(record) | {"failures": len(results.failures)}
    metrics.write("val_epoch", training.steps, epoch=training.epoch, **record)
    if results.mean >= training.best:  # training gates alone changes no prediction, but the gates
        training.best = results.mean
        training.save_best()


class LoopClock:
    """Times a loop over batches and how much of it waits for the next one."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited = 0.0
        self.steps = 0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the time the loop spends between them is its own."""
        asked = time.perf_counter()
        for batch in batches:
            self._waited += time.perf_counter() - asked
            self.steps += 1
            yield batch
            asked = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    @property
    def data_wait(self) -> float:
        """Percent of the time spent waiting for data."""
        return round(100 * self._waited / max(self.seconds, 1e-9), 1)


def _save_and_leave(training: Training, preemption: Preemption) -> NoReturn:
    """Save, and have all processes leave."""
    path = training.save()
    training.checkpoints.wait()
    preemption.leave(training.world, path or training.checkpoints.folder)


def _failures(training: Training, loader: Loader) -> Failures:
    """Those of the epoch that runs, which a checkpoint may have begun."""
    listing = Path(training.cfg.OUTPUT_DIR) / "failures.csv"
    limit = training.cfg.DATA.MAX_FAILURES
    return Failures(len(loader.dataset), limit, listing, training.failures)


def _bar(training: Training, loader: Loader) -> tqdm:
    return tqdm(
        desc=f"epoch {training.epoch + 1}/{training.max_epoch}",
        initial=training.iteration,
        total=len(loader),
        unit="step",
        disable=None if training.world.is_main else True,
    )


def _progress(training: Training, loader: Loader, clock: LoopClock, loss: float) -> str:
    done = clock.steps / len(loader)
    left = training.max_epoch - training.epoch - training.iteration / len(loader)
    eta = tqdm.format_interval(clock.seconds * left / done)
    return f"loss {loss:.3f}, data_wait {clock.data_wait} %, all epochs in {eta}"


def _write_epoch(
    training: Training, failures: Failures, metrics: Metrics, lr: float, clock: LoopClock
) -> None:
    """The epoch's averages and failures, of all processes."""
    world = training.world
    averages = Averages.from_states(world.gather(training.averages.state_dict()))
    found = list(chain(*world.gather(failures.found)))
    if found and not averages.means():
        raise ValueError(f"none of the training videos could be read; first: {found[0].error}")
    summary = _rounded(averages.means()) | {"data_wait": clock.data_wait}
    logger.info("epoch %d: %s", training.epoch + 1, _text(summary))
    summary |= {"lr": lr, "seconds": clock.seconds, "failures": len(found)}
    metrics.write("train_epoch", training.steps, epoch=training.epoch + 1, **summary)
    for failure in found:
        logger.warning("left out of training: %s", failure.error)


def _log_start(cfg: CfgNode, loader: Loader, val_loader: Loader) -> None:
    logger.info(
        "training %s at %s frames on %d videos, validating on %d",
        cfg.MODEL.MODEL_NAME,
        "/".join(map(str, all_rates(frame_counts(cfg), trained_sizes(cfg)))),
        len(loader.dataset),
        len(val_loader.dataset),
    )


def _rounded(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in values.items()}


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
