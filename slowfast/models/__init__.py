"""The networks, and what makes any of them frame-flexible."""

from slowfast.models.bridges import BRIDGES
from slowfast.models.build import MODELS, build_model, to_scores
from slowfast.models.flexible import FrameFlexible, Rates, make_frame_flexible
from slowfast.models.mvit import MViT
from slowfast.models.r2plus1d import R2Plus1D
from slowfast.models.resnet import ResNet
from slowfast.models.slowfast import SlowFast
from slowfast.models.tea import TEA
from slowfast.models.tsn import TSM, TSN
from slowfast.models.uniformer import UniFormer
from slowfast.models.x3d import X3D

__all__ = [
    "BRIDGES",
    "MODELS",
    "TEA",
    "TSM",
    "TSN",
    "X3D",
    "FrameFlexible",
    "MViT",
    "R2Plus1D",
    "Rates",
    "ResNet",
    "SlowFast",
    "UniFormer",
    "build_model",
    "make_frame_flexible",
    "to_scores",
]
