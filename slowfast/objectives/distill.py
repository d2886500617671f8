"""A network that is small or sees few pixels learns from another one (ResKD, arXiv:2209.12797)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config import load_cfg
from slowfast.layers.resize import resize, shrink
from slowfast.models import FrameFlexible, build_model
from slowfast.models.backbone import Backbone
from slowfast.objectives.losses import LABEL_LOSSES, feature_mse, location_kl, logit_kl
from slowfast.objectives.term import OBJECTIVES, Term
from slowfast.weights import load_weights

logger = logging.getLogger(__name__)

# What each loss compares, as `Backbone` calls it.
LOSSES = {"feature_mse": "map", "location_kl": "places", "logit_kl": ""}
MODES = ("train", "eval")
_AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@OBJECTIVES.register("distill")
class Distillation(nn.Module):
    """The loss of the labels, and `weight` times how far the network is from its `teacher`.

        feature_mse    of the last maps of features
        location_kl    of what either classifier says of each place of its map
        logit_kl       of the logits

    The batch has the teacher's clips; the network sees them at `size` x `size` pixels (0: as they
    are), and what it says of fewer places is interpolated to the teacher's.  One term per clip, the
    longest first.  A `projection` to the teacher's width goes before the comparison of features.

    The teacher is no part of this module: not of its parameters, state or mode.  It moves along
    with it, keeps no graph and gets no gradient.  In the `mode` "train" its norms take the
    statistics of the batch, and track them, and its layers drop, as published (arXiv:1904.01866
    says why).  Raises ValueError for a choice that is not there.
    """

    def __init__(
        self,
        teacher: nn.Module,
        loss: str = "feature_mse",
        weight: float = 1.0,
        temperature: float = 2.0,
        size: int = 0,
        mode: str = "train",
        projection: nn.Module | None = None,
        smoothing: float = 0.0,
        label_loss: str = "cross_entropy",
        amp_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        for key, value, choices in (("LOSS", loss, LOSSES), ("TEACHER_MODE", mode, MODES)):
            if value not in choices:
                raise ValueError(f"DISTILL.{key}={value!r} must be one of {', '.join(choices)}")
        self.loss, self.weight, self.temperature = loss, weight, temperature
        self.size, self.mode, self.smoothing = size, mode, smoothing
        self.label_loss, self.label_part = LABEL_LOSSES[label_loss]
        self.amp_dtype = amp_dtype
        self.projection = projection
        self._teacher = [teacher.requires_grad_(False)]  # in a list: no part of this module

    @classmethod
    def from_cfg(cls, cfg: Any) -> Distillation:
        part = cfg.DISTILL
        teacher = build_teacher(cfg)
        return cls(
            teacher,
            loss=part.LOSS,
            weight=part.WEIGHT,
            temperature=part.TEMPERATURE,
            size=part.STUDENT_SIZE,
            mode=part.TEACHER_MODE,
            projection=bridge(cfg, teacher) if part.LOSS == "feature_mse" else None,
            smoothing=cfg.OBJECTIVE.LABEL_SMOOTHING,
            label_loss=cfg.MODEL.LOSS_FUNC,
            amp_dtype=_AMP_DTYPES[cfg.TRAIN.AMP_DTYPE] if cfg.TRAIN.MIXED_PRECISION else None,
        )

    @property
    def teacher(self) -> nn.Module:
        return self._teacher[0]

    def num_terms(self, batch: Any) -> int:
        return len(batch.clips)

    def forward(self, model: nn.Module, batch: Any) -> Iterator[Term]:
        for clip in reversed(batch.clips):
            wanted = self.ask_teacher(clip)  # first: its activations are gone before ours come
            yield self._term(model, self.student_clip(clip), batch.labels, wanted)

    def student_clip(self, clip: Tensor) -> Tensor:
        """What the network sees of `(B, 3, T, H, W)`."""
        return shrink(clip, self.size)

    @torch.no_grad()
    def ask_teacher(self, clip: Tensor) -> Tensor:
        """The teacher's map, logits of places, or logits, for a clip as it sees it."""
        self.teacher.train(self.mode == "train")
        with self._autocast(clip):
            return _ask(self.teacher, clip, LOSSES[self.loss])[1]

    def _term(self, model: nn.Module, clip: Tensor, labels: Tensor, wanted: Tensor) -> Term:
        logits, shown = _ask(model, clip, LOSSES[self.loss])
        num_frames = clip.shape[2]
        of_labels = self.label_loss(logits, labels, self.smoothing)
        of_teacher = self.compare(shown, wanted)
        parts = {self.label_part: of_labels.detach(), self.loss: of_teacher.detach()}
        return Term(
            of_labels + self.weight * of_teacher,
            {f"{name}_{num_frames}": part for name, part in parts.items()},
            {num_frames: logits.detach()},
        )

    def compare(self, shown: Tensor, wanted: Tensor) -> Tensor:
        """How far what the network shows is from what the teacher does."""
        if self.projection is not None:
            with self._autocast(shown):
                shown = self.projection(shown)
        if shown.shape[1] != wanted.shape[1]:
            raise ValueError(
                f"the network shows {shown.shape[1]} channels or classes and its teacher "
                f"{wanted.shape[1]}: DISTILL.LOSS={self.loss!r} takes a teacher with as many"
            )
        if self.loss == "logit_kl":
            return logit_kl(shown, wanted, self.temperature)
        shown = resize(shown, wanted.shape[2:])
        if self.loss == "feature_mse":
            return feature_mse(shown, wanted)
        return location_kl(shown, wanted, self.temperature)

    def _autocast(self, like: Tensor) -> AbstractContextManager:
        if self.amp_dtype is None:
            return nullcontext()
        return torch.autocast(like.device.type, self.amp_dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distillation:
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _ask(model: Callable[..., Any], clip: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Logits, and what is asked for beside them: the logits again if it is nothing more."""
    if what:
        return model(clip, what)
    logits = model(clip)
    return logits, logits


def build_teacher(cfg: Any) -> nn.Module:
    """The network of the YAML DISTILL.TEACHER_CFG with the weights of DISTILL.TEACHER_WEIGHTS.

    Raises ValueError if one of them is not given, or does not fit.
    """
    part = cfg.DISTILL
    for key in ("TEACHER_CFG", "TEACHER_WEIGHTS"):
        if not part[key]:
            raise ValueError(
                f"OBJECTIVE.NAME='distill' needs DISTILL.{key}: the YAML and the checkpoint of the "
                "network to learn from"
            )
    teacher = build_model(load_cfg(teacher_yaml(part.TEACHER_CFG)))
    loaded = load_weights(teacher, part.TEACHER_WEIGHTS)
    logger.info("teacher: weights of %s\n%s", part.TEACHER_WEIGHTS, loaded.table())
    return teacher


def teacher_yaml(name: str) -> Path:
    """The file of that name, as seen from here, or else from the folder of the project."""
    path = Path(name).expanduser()
    inside = Path(__file__).parents[2] / path
    return inside if not path.exists() and inside.exists() else path


def bridge(cfg: Any, teacher: nn.Module) -> nn.Module | None:
    """A 1x1x1 convolution from the width of the network to its teacher's; None if both are one."""
    with torch.device("meta"):  # no weights: for its width alone
        dim = map_dim(build_model(cfg))
    teacher_dim = map_dim(teacher)
    return None if dim == teacher_dim else nn.Conv3d(dim, teacher_dim, 1)


def map_dim(model: nn.Module) -> int:
    """The channels of a network's map; ValueError for a network that shows none."""
    net = model.net if isinstance(model, FrameFlexible) else model
    if not isinstance(net, Backbone):
        raise ValueError(
            f"{type(net).__name__} shows no map of features; set DISTILL.LOSS to 'logit_kl'"
        )
    return net.map_dim
