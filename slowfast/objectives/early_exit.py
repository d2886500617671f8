"""Training of networks with exits, as in FrameExit (arXiv:2104.13400, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.models import Exits, final_logits
from slowfast.models.frame_exit import STAGES
from slowfast.objectives.losses import LABEL_LOSSES
from slowfast.objectives.term import OBJECTIVES, Term


@OBJECTIVES.register("early_exit")
class EarlyExit:
    """Classifiers learn the labels, gates where the classifier of their exit has learnt enough.

        classifiers   mean over exits of L(z_t, y)
        gates         mean over gates of BCE(g_t, L(z_t, y) < beta * exp(t / 2)), t frames seen
        joint         their sum

    A term for batches of a single clip.  L is `loss` of LABEL_LOSSES, whose labels are smoothed for
    classifiers only: smoothed ones leave no loss near 0 for a gate to see.  Gates have the loss of
    the same pass as their label, without a gradient.  Records show as `gate_labels` how many of
    these labels say exit.
    """

    def __init__(
        self,
        beta: float = 1e-4,
        stage: str = "joint",
        smoothing: float = 0.0,
        loss: str = "cross_entropy",
    ) -> None:
        if stage not in STAGES:
            raise ValueError(f"FRAME_EXIT.STAGE={stage!r} must be one of {', '.join(STAGES)}")
        if beta < 0:
            raise ValueError(f"FRAME_EXIT.BETA={beta} must be 0 or more")
        self.beta, self.stage, self.smoothing = beta, stage, smoothing
        self.loss, self.part = LABEL_LOSSES[loss]

    @classmethod
    def from_cfg(cls, cfg: Any) -> EarlyExit:
        return cls(
            beta=cfg.FRAME_EXIT.BETA,
            stage=cfg.FRAME_EXIT.STAGE,
            smoothing=cfg.OBJECTIVE.LABEL_SMOOTHING,
            loss=cfg.MODEL.LOSS_FUNC,
        )

    def num_terms(self, batch: Any) -> int:
        return 1

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]:
        if len(batch.clips) != 1:
            raise ValueError(
                f"the objective 'early_exit' takes one clip per video; got {len(batch.clips)}. "
                "Set FFN.ENABLE False"
            )
        (clip,) = batch.clips
        exits = model(clip)
        if not isinstance(exits, Exits):
            raise ValueError(
                "the objective 'early_exit' needs a network with exits: set MODEL.MODEL_NAME "
                "FrameExit, or OBJECTIVE.NAME classify"
            )
        num_frames = clip.shape[2]
        loss, parts = 0.0, {}
        if self.stage != "gates":
            loss = self._losses(exits.logits, batch.labels, self.smoothing).mean()
            parts[f"{self.part}_{num_frames}"] = loss.detach()
        if self.stage != "classifiers":
            wanted = self.gate_labels(exits.logits, batch.labels)
            gates = gate_loss(exits.gate_logits, wanted)
            loss = loss + gates
            parts[f"gate_{num_frames}"] = gates.detach()
            parts[f"gate_labels_{num_frames}"] = mean_or_zero(wanted)
        yield Term(loss, parts, {num_frames: final_logits(exits).detach()})

    @torch.no_grad()
    def gate_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """1 where a gate should say exit, else 0, `(B, T - 1)`, from logits `(B, T, K)`."""
        losses = self._losses(logits, labels)[:, 1:]  # exit 0 has no gate
        # The first gate is asked after two frames.
        bounds = [self.beta * exp(t / 2) for t in range(2, logits.shape[1] + 1)]
        return (losses < losses.new_tensor(bounds)).to(losses.dtype)

    def _losses(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The loss of each video at each exit, `(B, T)`."""
        num_exits = logits.shape[1]
        labels = labels.repeat_interleave(num_exits, dim=0)
        losses = self.loss(logits.flatten(0, 1), labels, smoothing, reduction="none")
        return losses.unflatten(0, (-1, num_exits))


def gate_loss(gate_logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean binary cross-entropy over videos and gates; 0 without gates."""
    losses = F.binary_cross_entropy_with_logits(
        gate_logits.to(wanted.dtype), wanted, reduction="none"
    )
    return mean_or_zero(losses)


def mean_or_zero(values: Tensor) -> Tensor:
    return values.mean() if values.numel() else values.sum()
