"""The training loop: it never asks which task, model or data set runs."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from slowfast.config import frame_counts
from slowfast.datasets import DATASETS, Batch, build_loader
from slowfast.datasets.lists import class_names
from slowfast.datasets.mixing import Mixing, build_mixing
from slowfast.engine.checkpoint import Checkpoints
from slowfast.engine.device import AMP_DTYPES, autocast_forward, pick_device
from slowfast.engine.evaluate import evaluate
from slowfast.engine.failures import Failures
from slowfast.engine.logs import Metrics
from slowfast.engine.meters import Averages, hits_at
from slowfast.engine.optimizer import build_optimizer, clip_gradients, set_learning_rate
from slowfast.engine.schedule import Schedule, build_schedule
from slowfast.models import build_model
from slowfast.objectives import build_objective
from slowfast.weights import load_weights, save

logger = logging.getLogger(__name__)


@dataclass
class Stepper:
    """One optimiser step: every loss of the objective back-propagated, then clip and step."""

    model: nn.Module
    objective: Callable[..., Iterator]
    optimizer: Optimizer
    device: torch.device
    amp_dtype: torch.dtype | None = None
    clip_value: float | None = None
    clip_norm: float | None = None
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype is torch.float16
        )
        self.forward = autocast_forward(self.model, self.device, self.amp_dtype)
        self.parameters = list(self.model.parameters())

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step; the loss and its parts, top-1 percent per frame count and gradient norm.

        Raises FloatingPointError, naming the part and the videos, if a loss is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        record: dict[str, Tensor] = {}
        for term in self.objective(self.forward, batch):
            if not torch.isfinite(term.loss):
                raise FloatingPointError(
                    f"the loss is {term.loss.item()} ({', '.join(term.parts)}) on the videos "
                    f"{', '.join(batch.paths)}; lower SOLVER.BASE_LR or set SOLVER.CLIP_GRAD_L2NORM"
                )
            self.scaler.scale(term.loss).backward()
            record["loss"] = record.get("loss", 0) + term.loss.detach()
            record |= term.parts
            for num_frames, logits in term.logits.items():
                hits = hits_at(logits, batch.labels, 1)
                record[f"top1_{num_frames}"] = 100 * hits.float().mean()
            del term  # or its graph would stay alive while the next rate runs
        self.scaler.unscale_(self.optimizer)
        record["grad_norm"] = clip_gradients(self.parameters, self.clip_value, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return record


@dataclass
class Training:
    """All that a run of training holds; `state_dict` is what a checkpoint keeps of it."""

    cfg: CfgNode
    model: nn.Module
    step: Stepper
    schedule: Schedule
    checkpoints: Checkpoints
    mixing: Mixing | None = None
    epoch: int = 0  # epochs finished
    best: float = -1.0  # mean of the data set's metric over rates

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Training":
        device = pick_device(cfg)
        torch.manual_seed(cfg.RNG_SEED)
        model = build_model(cfg)
        if cfg.TRAIN.CHECKPOINT_FILE_PATH:
            path = cfg.TRAIN.CHECKPOINT_FILE_PATH
            loaded = load_weights(model, path, new_head=cfg.TRAIN.CHECKPOINT_NEW_HEAD)
            logger.info("weights of %s\n%s", path, loaded.table())
        model.to(device)
        step = Stepper(
            model=model,
            objective=build_objective(cfg),
            optimizer=build_optimizer(model, cfg),
            device=device,
            amp_dtype=AMP_DTYPES[cfg.TRAIN.AMP_DTYPE] if cfg.TRAIN.MIXED_PRECISION else None,
            clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
            clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
        )
        folder = Path(cfg.OUTPUT_DIR) / "checkpoints"
        checkpoints = Checkpoints(folder, cfg.TRAIN.KEEP_CHECKPOINTS)
        return cls(cfg, model, step, build_schedule(cfg), checkpoints, build_mixing(cfg))

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "best": self.best,
            "model_state": self.model.state_dict(),
            "optimizer_state": self.step.optimizer.state_dict(),
            "scaler_state": self.step.scaler.state_dict(),
            "rng_state": _rng_state(self.step.device),
            "cfg": self.cfg.dump(),
        }

    def save_best(self) -> None:
        """Keeps the network as it is now: to train on, and to use with `slowfast.load`."""
        self.checkpoints.save_best(self.state_dict())
        labels = class_names(self.cfg.DATA.PATH_TO_DATA_DIR)
        if len(labels) != self.cfg.MODEL.NUM_CLASSES:
            labels = []  # the folder has none, or those of other classes
        save(self.model, self.cfg, self.checkpoints.folder / "best.safetensors", labels)

    def resume(self) -> None:
        """Continue from the newest readable checkpoint of the run, if there is one."""
        found = self.checkpoints.newest()
        if found is None:
            return
        path, state = found
        load_weights(self.model, state["model_state"])
        self.step.optimizer.load_state_dict(state["optimizer_state"])
        if state["scaler_state"]:  # empty where the checkpoint was written without loss scaling
            self.step.scaler.load_state_dict(state["scaler_state"])
        _set_rng_state(state["rng_state"])
        self.epoch, self.best = state["epoch"], state["best"]
        logger.info("resumed from %s: %d epochs done", path, self.epoch)


def train(cfg: CfgNode) -> nn.Module:
    """Train as `cfg` says, resuming from OUTPUT_DIR if TRAIN.AUTO_RESUME; the trained network.

    Writes metrics.jsonl and checkpoints below OUTPUT_DIR.  Raises ValueError for unusable data,
    weights or settings, and FloatingPointError for a loss that is not finite.
    """
    training = Training.from_cfg(cfg)
    if cfg.TRAIN.AUTO_RESUME:
        training.resume()
    if training.epoch >= cfg.SOLVER.MAX_EPOCH:
        logger.info("all %d epochs are done already", cfg.SOLVER.MAX_EPOCH)
        return training.model
    loader, val_loader = build_loader(cfg, "train"), build_loader(cfg, "val")
    logger.info(
        "training %s at %s frames on %d videos, validating on %d",
        cfg.MODEL.MODEL_NAME,
        "/".join(map(str, frame_counts(cfg))),
        len(loader.dataset),
        len(val_loader.dataset),
    )
    with Metrics.from_cfg(cfg) as metrics:
        while training.epoch < cfg.SOLVER.MAX_EPOCH:
            train_epoch(training, loader, metrics)
            if _due(training, cfg.TRAIN.EVAL_PERIOD):
                validate(training, val_loader, metrics)
            if _due(training, cfg.TRAIN.CHECKPOINT_PERIOD):
                training.checkpoints.save(training.epoch, training.state_dict())
    return training.model


def train_epoch(training: Training, loader: Iterable[Batch], metrics: Metrics) -> None:
    """One pass over the training data; videos that cannot be read are named and left out."""
    cfg, epoch = training.cfg, training.epoch
    training.model.train()
    loader.set_epoch(epoch)
    averages, clock = Averages(), LoopClock()
    listing = Path(cfg.OUTPUT_DIR) / "failures.csv"
    failures = Failures(len(loader.dataset), cfg.DATA.MAX_FAILURES, listing)
    bar = tqdm(loader, desc=f"epoch {epoch + 1}/{cfg.SOLVER.MAX_EPOCH}", unit="step", disable=None)
    for iteration, batch in enumerate(clock.watch(bar)):
        learning_rate = training.schedule(epoch + iteration / len(loader))
        failures.add(batch.failures)
        if not len(batch):
            continue
        set_learning_rate(training.step.optimizer, learning_rate)
        batch = batch.to(training.step.device)
        if training.mixing is not None:
            batch = training.mixing(batch, epoch, iteration)
        record = training.step(batch)
        averages.add(record, len(batch))
        if (iteration + 1) % cfg.LOG_PERIOD == 0:
            values = _rounded(record) | {"lr": learning_rate, "data_wait": clock.data_wait}
            metrics.write("train_iter", epoch * len(loader) + iteration, **values)
            left = cfg.SOLVER.MAX_EPOCH - epoch - (iteration + 1) / len(loader)
            eta = tqdm.format_interval(clock.seconds * left * len(loader) / (iteration + 1))
            bar.set_postfix_str(
                f"loss {values['loss']:.3f}, data_wait {clock.data_wait} %, all epochs in {eta}"
            )
    if not averages.means():
        first = failures.found[0].error
        raise ValueError(f"none of the training videos could be read; first: {first}")
    training.epoch += 1
    summary = _rounded(averages.means()) | {"data_wait": clock.data_wait}
    logger.info("epoch %d: %s", training.epoch, _text(summary))
    summary |= {"lr": learning_rate, "seconds": clock.seconds, "failures": len(failures)}
    metrics.write("train_epoch", training.epoch * len(loader), epoch=training.epoch, **summary)
    for failure in failures.found:
        logger.warning("left out of training: %s", failure.error)


def validate(training: Training, loader: Iterable[Batch], metrics: Metrics) -> None:
    """Evaluate every rate, write it down and keep the network if its mean metric is the best."""
    metric = DATASETS.get(training.cfg.TRAIN.DATASET).metric
    results = evaluate(training.model, loader, training.step.device, training.cfg, metric)
    main = {f"{metric}_{t}": meter.main for t, meter in results.by_frames.items()}
    logger.info("  validation: %s, mean %.2f; %s", _text(main), results.mean, results.coverage)
    record = results.summary | {f"mean_{metric}": results.mean}
    record = _rounded(record) | {"failures": len(results.failures)}
    metrics.write("val_epoch", training.epoch, epoch=training.epoch, **record)
    if results.mean > training.best:
        training.best = results.mean
        training.save_best()


class LoopClock:
    """Times a loop over batches and how much of it waits for the next one."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited = 0.0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the time the loop spends between them is its own."""
        asked = time.perf_counter()
        for batch in batches:
            self._waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    @property
    def data_wait(self) -> float:
        """Percent of the time spent waiting for data."""
        return round(100 * self._waited / max(self.seconds, 1e-9), 1)


def _due(training: Training, period: int) -> bool:
    return training.epoch % period == 0 or training.epoch == training.cfg.SOLVER.MAX_EPOCH


def _rounded(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in values.items()}


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _rng_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_rng_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
