"""What a network of several exits returns, and which exit is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

CONFIDENCES = ("softmax", "sigmoid")
ALWAYS = float("-inf")  # the threshold of an exit that is taken whatever the confidence
NEVER = 1.0  # that of an exit which no confidence passes


class Exits(NamedTuple):
    """What every exit says, as if none had been taken.

    logits        (B, T, K), exit t classifies all that was seen until then
    gate_logits   (B, T - 1), of gates 1 .. T - 1; exit 0 has none
    """

    logits: Tensor
    gate_logits: Tensor

    @property
    def gates(self) -> Tensor:
        """How sure each gate is that its exit should be taken, 0 to 1, `(B, T - 1)`."""
        return gate_confidence(self.gate_logits)


class Decision(NamedTuple):
    """Logits `(B, K)` of the exits that were taken, and their numbers from 0, `(B,)` int64."""

    logits: Tensor
    exits: Tensor


def final_logits(output: Any) -> Tensor:
    """The prediction in what a network returns: the last exit's, or all there is."""
    return output.logits[:, -1] if isinstance(output, Exits) else output


def confidence(logits: Tensor, kind: str = "softmax") -> Tensor:
    """The largest score of the classes, `(..., K)` to `(...)`: what exit 0 has in place of a gate.

    `kind` is softmax, or sigmoid where videos have several classes.
    """
    if kind not in CONFIDENCES:
        raise ValueError(f"confidence={kind!r} must be one of {', '.join(CONFIDENCES)}")
    scores = logits.float()
    return (scores.softmax(-1) if kind == "softmax" else scores.sigmoid()).amax(-1)


def gate_confidence(gate_logits: Tensor) -> Tensor:
    """How sure gates are, 0 to 1, in single precision."""
    return gate_logits.float().sigmoid()


def exit_thresholds(num_exits: int, first: float, gate: float | Sequence[float]) -> list[float]:
    """One for each exit, which is taken where its confidence is above; the last is always taken.

    `first` is that of exit 0, `gate` that of all gates, or one for each of `num_exits - 1` or more.
    1 never exits.
    """
    gates = [float(gate)] * num_exits if isinstance(gate, int | float) else list(map(float, gate))
    if len(gates) < num_exits - 1:
        raise ValueError(f"gate={gates} must hold one threshold for each of {num_exits - 1} gates")
    return [float(first), *gates[: num_exits - 1]][: num_exits - 1] + [ALWAYS]


def first_exit(confidences: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The first exit whose confidence `(B, T)` is above its threshold, else the last; int64."""
    limits = torch.tensor(thresholds, dtype=confidences.dtype, device=confidences.device)
    taken = confidences > limits
    taken[:, -1] = True  # also where the confidence is no number
    return taken.int().argmax(1)
