"""The networks, and what makes any of them frame-flexible."""

from slowfast.models.build import MODELS, build_model, to_scores
from slowfast.models.flexible import FrameFlexible, Rates, make_frame_flexible
from slowfast.models.r2plus1d import R2Plus1D
from slowfast.models.slowfast import SlowFast
from slowfast.models.uniformer import UniFormer

__all__ = [
    "MODELS",
    "FrameFlexible",
    "R2Plus1D",
    "Rates",
    "SlowFast",
    "UniFormer",
    "build_model",
    "make_frame_flexible",
    "to_scores",
]
