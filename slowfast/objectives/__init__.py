"""What the network learns from: generators of losses, each back-propagated before the next runs."""

from slowfast.objectives.classify import Classify
from slowfast.objectives.distill import Distillation
from slowfast.objectives.early_exit import EarlyExit
from slowfast.objectives.ffn import FrameFlexibleTraining
from slowfast.objectives.losses import (
    LABEL_LOSSES,
    binary_cross_entropy,
    cross_entropy,
    distillation_kl,
    feature_mse,
    location_kl,
    logit_kl,
    soft_cross_entropy,
)
from slowfast.objectives.term import (
    OBJECTIVES,
    Objective,
    Term,
    build_objective,
    parameters_of,
)

__all__ = [
    "LABEL_LOSSES",
    "OBJECTIVES",
    "Classify",
    "Distillation",
    "EarlyExit",
    "FrameFlexibleTraining",
    "Objective",
    "Term",
    "binary_cross_entropy",
    "build_objective",
    "cross_entropy",
    "distillation_kl",
    "feature_mse",
    "location_kl",
    "logit_kl",
    "parameters_of",
    "soft_cross_entropy",
]
