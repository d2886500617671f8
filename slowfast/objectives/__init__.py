"""What the network learns from: generators of losses, each back-propagated before the next runs."""

from slowfast.objectives.classify import Classify
from slowfast.objectives.ffn import FrameFlexibleTraining
from slowfast.objectives.losses import cross_entropy, distillation_kl
from slowfast.objectives.term import OBJECTIVES, Objective, Term, build_objective

__all__ = [
    "OBJECTIVES",
    "Classify",
    "FrameFlexibleTraining",
    "Objective",
    "Term",
    "build_objective",
    "cross_entropy",
    "distillation_kl",
]
