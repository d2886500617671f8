"""Networks of other libraries, small; most tests of them need these installed: `make oracles`."""

import torch

from helpers.oracles import oracle
from slowfast.config import get_cfg
from slowfast.models import build_model

COUNTS, SIZE = (2, 4, 8), 32
MVIT = (
    *("MVIT.DEPTH", 3, "MVIT.EMBED_DIM", 16, "MVIT.PATCH_PADDING", [1, 3, 3]),
    *("MVIT.DIM_MUL", [[1, 2.0]], "MVIT.HEAD_MUL", [[1, 2.0]], "MVIT.POOL_KVQ_KERNEL", [3, 3, 3]),
    *("MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]], "MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 4, 4]),
)
X3D = ("X3D.DEPTH_FACTOR", 0.5, "X3D.WIDTH_FACTOR", 0.5, "X3D.DIM_C5", 16)
SHIFTED = ("TIMM.NAME", "resnet10t", "TIMM.SHIFT", r"layer.*\.conv1")
# Network, the package it needs and what makes it small.
CASES = {
    "PTVCSN": ("PTVCSN", "pytorchvideo", ()),
    "PTVR2plus1D": ("PTVR2plus1D", "pytorchvideo", ()),
    "PTVResNet-slow": ("PTVResNet", "pytorchvideo", ()),
    "PTVResNet-i3d": ("PTVResNet", "pytorchvideo", ("MODEL.ARCH", "i3d")),
    "PTVSlowFast": ("PTVSlowFast", "pytorchvideo", ("SLOWFAST.ALPHA", 4)),
    "PTVX3D": ("PTVX3D", "pytorchvideo", X3D),
    "PTVMViT": ("PTVMViT", "pytorchvideo", MVIT),
    "PTVMViT-split": ("PTVMViT", "pytorchvideo", (*MVIT, "MVIT.SEP_POS_EMBED", True)),
    "PTVMViT-mean": ("PTVMViT", "pytorchvideo", (*MVIT, "MVIT.CLS_EMBED_ON", False)),
    "TimmFrames": ("TimmFrames", "timm", SHIFTED),
    "TorchvisionVideo": ("TorchvisionVideo", "torchvision", ("MODEL.ARCH", "s3d")),
}
DENSE = ("PTVCSN", "PTVR2plus1D", "PTVResNet-slow", "PTVResNet-i3d", "PTVSlowFast", "PTVX3D")


def cfg_of(name: str, *overrides: object):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.MODEL_NAME", name, "MODEL.NUM_CLASSES", 5, "MODEL.DROPOUT_RATE", 0.0),
            *("DATA.TRAIN_CROP_SIZE", SIZE, "DATA.NUM_FRAMES", 8, "RESNET.WIDTH_PER_GROUP", 8),
            *("FFN.NUM_FRAMES", list(COUNTS)),
            *overrides,
        ]
    )
    return cfg


def net_of(case: str, *overrides: object) -> torch.nn.Module:
    """With weights that differ, also where a library starts its norms at zero."""
    name, package, own = CASES[case]
    oracle(package)
    torch.manual_seed(0)
    net = build_model(cfg_of(name, *own, *overrides))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def clip_of(num_frames: int, batch: int = 2, size: int = SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randn(batch, 3, num_frames, size, size, generator=generator)
