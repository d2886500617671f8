"""The networks, and what makes any of them frame-flexible."""

from slowfast.models.bridges import BRIDGES
from slowfast.models.build import MODELS, build_model, to_scores
from slowfast.models.exits import Exits, final_logits
from slowfast.models.flexible import FrameFlexible, Rates, make_frame_flexible
from slowfast.models.frame_exit import FrameExit
from slowfast.models.mvit import MViT
from slowfast.models.r2plus1d import R2Plus1D
from slowfast.models.rate_exit import RateExit
from slowfast.models.resnet import ResNet
from slowfast.models.slowfast import SlowFast
from slowfast.models.tea import TEA
from slowfast.models.tsn import TSM, TSN
from slowfast.models.uniformer import UniFormer
from slowfast.models.video_swin import VideoSwin
from slowfast.models.x3d import X3D

__all__ = [
    "BRIDGES",
    "MODELS",
    "TEA",
    "TSM",
    "TSN",
    "X3D",
    "Exits",
    "FrameExit",
    "FrameFlexible",
    "MViT",
    "R2Plus1D",
    "RateExit",
    "Rates",
    "ResNet",
    "SlowFast",
    "UniFormer",
    "VideoSwin",
    "build_model",
    "final_logits",
    "make_frame_flexible",
    "to_scores",
]
