"""The interface of all objectives, and the objective of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from slowfast.config.registry import Registry

OBJECTIVES = Registry("objective")


class Term(NamedTuple):
    """A loss to back-propagate, and what there is to see of it, detached.

    `parts` are its unweighted components by name and frame count (`ce_16`, `kl_4`), `logits` the
    network's outputs by frame count.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: dict[int, Tensor]


class Objective(Protocol):
    """Yields the losses of a training step on a batch:

    for term in objective(model, batch):
        term.loss.backward()

    The gradients add up; a term's graph may be freed before the next one is built.
    """

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]: ...


def build_objective(cfg: Any) -> Objective:
    """The objective named by OBJECTIVE.NAME; `auto` is `ffn` when FFN.ENABLE, else `classify`."""
    name = cfg.OBJECTIVE.NAME
    if name == "auto":
        name = "ffn" if cfg.FFN.ENABLE else "classify"
    return OBJECTIVES.get(name).from_cfg(cfg)
