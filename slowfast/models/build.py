"""From a configuration to a network, and from logits to scores."""

from __future__ import annotations

from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.models.bridges import BRIDGES
from slowfast.models.exits import Exits, final_logits
from slowfast.models.flexible import FrameFlexible
from slowfast.models.frame_exit import FrameExit
from slowfast.models.mvit import MViT
from slowfast.models.r2plus1d import R2Plus1D
from slowfast.models.registry import MODELS
from slowfast.models.resnet import ResNet
from slowfast.models.slowfast import SlowFast
from slowfast.models.tea import TEA
from slowfast.models.tsn import TSM, TSN
from slowfast.models.uniformer import UniFormer
from slowfast.models.video_swin import VideoSwin
from slowfast.models.x3d import X3D

# A class has `from_cfg` and `archs`, what MODEL.ARCH may say of it: PySlowFast's files name both.
OWN = (FrameExit, MViT, R2Plus1D, ResNet, SlowFast, TEA, TSM, TSN, UniFormer, VideoSwin, X3D)
for _model in (*OWN, *BRIDGES):
    MODELS.register()(_model)


def build_model(cfg: CfgNode) -> nn.Module:
    """The network MODEL.MODEL_NAME, made frame-flexible if FFN.ENABLE; maps a clip to logits.

    Only FrameExit has several: it returns `Exits`, of which `final_logits` are the prediction.
    Raises ValueError for an unknown name, or a MODEL.ARCH of another family.
    """
    name, arch = cfg.MODEL.MODEL_NAME, cfg.MODEL.ARCH
    model = MODELS.get(name)
    if arch and arch not in model.archs:
        raise ValueError(f"MODEL.ARCH={arch!r} is none of {name}: {', '.join(model.archs)}")
    net = model.from_cfg(cfg)
    if not cfg.FFN.ENABLE:
        return net
    part = cfg.FFN
    tags = part.TAGS or None
    return FrameFlexible(net, part.NUM_FRAMES, tags, part.ALTER, sizes=part.SIZES)


def to_scores(output: Tensor | Exits, act: str = "softmax") -> Tensor:
    """Scores (B, K) of logits (B, K) or (B, P, K): the activation, then the mean over positions.

    `act` is softmax, sigmoid or none.  Averaging probabilities, not logits, is the published rule.
    Of a network with exits these are the scores of the last one.
    """
    if act not in ("softmax", "sigmoid", "none"):
        raise ValueError(f"MODEL.HEAD_ACT={act!r} must be softmax, sigmoid or none")
    logits = final_logits(output).float()
    scores = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}[act]
    return scores.mean(dim=1) if scores.ndim == 3 else scores
