"""The families of checkpoints that load, a file each with a table of names.

| format | published files | into |
|---|---|---|
| `native` | this program's own, .pyth and .safetensors | the network they were saved from |
| `pyslowfast` | PySlowFast .pyth; SlowFast-FFN | ResNet, SlowFast, X3D, MViT |
| `caffe2` | .pkl of PySlowFast's zoo | ResNet, SlowFast, X3D |
| `uniformer` | image, K400 and K600 .pth; UniFormer-FFN | UniFormer |
| `tsn` | TSM and TEA .pth(.tar); TSM-FFN, TEA-FFN | TSN, TSM, TEA |
| `mmaction` | TSN, TSM, SlowOnly of MMAction2 | TSN, TSM, ResNet |
| `torchvision` | ResNet image weights of torchvision or timm | TSN, TSM, ResNet |
| `res2net` | Res2Net-50 26w4s image weights | TEA |
"""

from slowfast.weights.formats import caffe2, resnets, video  # noqa: F401  (register themselves)
from slowfast.weights.formats.base import FORMATS, Format, recognise

__all__ = ["FORMATS", "Format", "recognise"]
