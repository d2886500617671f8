"""The families of checkpoints that load, a file each with a table of names.

| format | published files | into |
|---|---|---|
| `native` | this program's own, .pyth and .safetensors | the network they were saved from |
| `pyslowfast` | PySlowFast .pyth; SlowFast-FFN | ResNet, SlowFast, X3D, MViT |
| `caffe2` | .pkl of PySlowFast's zoo | ResNet, SlowFast, X3D |
| `uniformer` | image, K400 and K600 .pth; UniFormer-FFN | UniFormer |
| `tsn` | TSM and TEA .pth(.tar); TSM-FFN, TEA-FFN | TSN, TSM, TEA |
| `mmaction` | TSN, TSM, SlowOnly of MMAction2 | TSN, TSM, ResNet |
| `video_swin` | Video Swin of its authors or MMAction2 | VideoSwin |
| `swin` | Swin image weights | VideoSwin |
| `reskd` | students of ResKD with their teachers | TSN, TSM, ResNet, VideoSwin |
| `torchvision` | ResNet image weights of torchvision or timm | TSN, TSM, ResNet |
| `res2net` | Res2Net-50 26w4s image weights | TEA |
| `frame_exit` | FrameExit-R50 .pth | FrameExit |

What loads into a network also loads into the FrameExit that has it as its backbone.
"""

from slowfast.weights.formats import (  # noqa: F401  (register themselves)
    caffe2,
    frame_exit,
    reskd,
    resnets,
    swin,
    video,
)
from slowfast.weights.formats.base import FORMATS, Format, recognise

__all__ = ["FORMATS", "Format", "recognise"]
