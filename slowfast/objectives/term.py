"""The interface of all objectives, and the objective of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from slowfast.config.registry import Registry
from slowfast.models.flexible import Rate

OBJECTIVES = Registry("objective")


class Term(NamedTuple):
    """A loss to back-propagate, and what there is to see of it, detached.

    `parts` are its unweighted components by name and rate (`ce_16`, `kl_4`, `kl_4x112`), `logits`
    the network's outputs by rate: a frame count or, where sizes are trained too, a `Rate`.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: dict[int | Rate, Tensor]


class Objective(Protocol):
    """Yields the losses of a training step on a batch:

    for term in objective(model, batch):
        term.loss.backward()

    The gradients add up; a term's graph may be freed before the next one is built.  Each term takes
    one call of `model`.  Losses are means over the videos of the batch, so that those of its parts,
    by their share of the videos, add up to that of the whole.

    An objective may be an `nn.Module`: it then moves to the network's device, its parameters are
    trained along and its state dict is kept in checkpoints, apart from the network's.
    """

    def num_terms(self, batch: Any) -> int:
        """How many terms `batch` gives: processes exchange gradients during the last one's."""

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]: ...


def parameters_of(objective: Objective) -> list[nn.Parameter]:
    """What an objective learns itself, beside the network."""
    return list(objective.parameters()) if isinstance(objective, nn.Module) else []


def build_objective(cfg: Any) -> Objective:
    """The objective named by OBJECTIVE.NAME.

    `auto` is `ffn` when FFN.ENABLE, `early_exit` for FrameExit, else `classify`.
    """
    name = cfg.OBJECTIVE.NAME
    if name == "auto":
        plain = "early_exit" if cfg.MODEL.MODEL_NAME == "FrameExit" else "classify"
        name = "ffn" if cfg.FFN.ENABLE else plain
    return OBJECTIVES.get(name).from_cfg(cfg)
