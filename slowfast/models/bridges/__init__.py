"""Networks of other libraries behind this project's contract; each needs its library installed.

They take one clip `(B, 3, T, H, W)` of any length and return logits.  `FrameFlexible` gives them
private norms; private gains have no place in them, since nobody marked it.  A library is imported
when a network is built, and one that is missing is a ValueError that says how to install it.
"""

from torch import nn

from slowfast.config import CfgNode
from slowfast.models.bridges.pytorchvideo import (
    PTVCSN,
    PTVX3D,
    PTVMViT,
    PTVR2plus1D,
    PTVResNet,
    PTVSlowFast,
)
from slowfast.models.bridges.timm_frames import TimmFrames
from slowfast.models.bridges.torchvision import TorchvisionVideo

BRIDGES = (
    *(PTVCSN, PTVMViT, PTVR2plus1D, PTVResNet, PTVSlowFast, PTVX3D),
    *(TimmFrames, TorchvisionVideo),
)


def bridge_of(cfg: CfgNode) -> type[nn.Module] | None:
    """The bridge that the network of `cfg` is, or has as the backbone of FrameExit; None without.

    Only with one does `build_model(cfg)` need another library.
    """
    name = cfg.MODEL.MODEL_NAME
    name = cfg.FRAME_EXIT.BACKBONE if name == "FrameExit" else name
    return next((bridge for bridge in BRIDGES if bridge.__name__ == name), None)
