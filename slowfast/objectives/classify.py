"""The loss of the labels: the objective of a plain network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from slowfast.models import final_logits
from slowfast.objectives.losses import LABEL_LOSSES
from slowfast.objectives.term import OBJECTIVES, Term


@OBJECTIVES.register("classify")
class Classify:
    """One term for batches of a single clip: `loss` of LABEL_LOSSES, whose labels are smoothed."""

    def __init__(self, smoothing: float = 0.0, loss: str = "cross_entropy") -> None:
        self.smoothing = smoothing
        self.loss, self.part = LABEL_LOSSES[loss]

    @classmethod
    def from_cfg(cls, cfg: Any) -> Classify:
        return cls(cfg.OBJECTIVE.LABEL_SMOOTHING, cfg.MODEL.LOSS_FUNC)

    def num_terms(self, batch: Any) -> int:
        return 1

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]:
        if len(batch.clips) != 1:
            raise ValueError(
                f"the objective 'classify' takes one clip per video; got {len(batch.clips)}. "
                "Set OBJECTIVE.NAME to 'ffn' to train several frame counts"
            )
        (clip,) = batch.clips
        logits = final_logits(model(clip))
        loss = self.loss(logits, batch.labels, self.smoothing)
        num_frames = clip.shape[2]
        parts = {f"{self.part}_{num_frames}": loss.detach()}
        yield Term(loss, parts, {num_frames: logits.detach()})
