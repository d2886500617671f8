"""What the network learns from: generators of losses, each back-propagated before the next runs."""

from slowfast.objectives.classify import Classify
from slowfast.objectives.ffn import FrameFlexibleTraining
from slowfast.objectives.losses import (
    LABEL_LOSSES,
    binary_cross_entropy,
    cross_entropy,
    distillation_kl,
    soft_cross_entropy,
)
from slowfast.objectives.term import OBJECTIVES, Objective, Term, build_objective

__all__ = [
    "LABEL_LOSSES",
    "OBJECTIVES",
    "Classify",
    "FrameFlexibleTraining",
    "Objective",
    "Term",
    "binary_cross_entropy",
    "build_objective",
    "cross_entropy",
    "distillation_kl",
    "soft_cross_entropy",
]
