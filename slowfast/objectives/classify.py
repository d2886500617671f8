"""Cross-entropy with the labels: the objective of a plain network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from slowfast.objectives.losses import cross_entropy
from slowfast.objectives.term import OBJECTIVES, Term


@OBJECTIVES.register("classify")
class Classify:
    """One cross-entropy term for batches of a single clip; `smoothing` as in `cross_entropy`."""

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    @classmethod
    def from_cfg(cls, cfg: Any) -> Classify:
        return cls(cfg.OBJECTIVE.LABEL_SMOOTHING)

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]:
        if len(batch.clips) != 1:
            raise ValueError(
                f"the objective 'classify' takes one clip per video; got {len(batch.clips)}. "
                "Set OBJECTIVE.NAME to 'ffn' to train several frame counts"
            )
        (clip,) = batch.clips
        logits = model(clip)
        loss = cross_entropy(logits, batch.labels, self.smoothing)
        num_frames = clip.shape[2]
        yield Term(loss, {f"ce_{num_frames}": loss.detach()}, {num_frames: logits.detach()})
