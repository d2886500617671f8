"""Video networks of torchvision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.models.bridges.optional import require
from slowfast.models.bridges.positions import separate_positions


class ClippedPool(nn.Module):
    """Average pooling with stride 1, by a kernel that shrinks to maps smaller than itself."""

    def __init__(self, kernel: tuple[int, int, int]):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        kernel = [min(k, size) for k, size in zip(self.kernel, x.shape[2:], strict=True)]
        return F.avg_pool3d(x, kernel, stride=1)


class TorchvisionVideo(nn.Module):
    """The video network `name` of torchvision, without weights.

    Takes `(B, 3, T, H, W)`, any `T >= 1` and 32 pixels or more, and returns logits `(B, K)`.
    Parameters have torchvision's names behind `model.`.  Position embeddings of MViT are resized;
    S3D repeats the last frame of clips of less than 7.  Dropout stays as torchvision has it.
    """

    archs = (
        *("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s"),
        *("swin3d_t", "swin3d_s", "swin3d_b"),
    )
    depth_order = (
        r"model\.(?:stem|conv_proj|pos_encoding|patch_embed)",
        r"model\.(?:layer|blocks\.|features\.)(\d+)",
    )

    def __init__(self, name: str = "r3d_18", num_classes: int = 400):
        super().__init__()
        if name not in self.archs:
            raise ValueError(f"no video network {name!r}; torchvision has {', '.join(self.archs)}")
        build = getattr(require("torchvision.models.video", "TorchvisionVideo"), name)
        self.model = build(num_classes=num_classes)
        self.is_mvit = name.startswith("mvit")
        self.min_frames = 1
        if name == "s3d":
            # A pooling of 2 needs 5.  But the backward pass of a kernel of 7 frames with stride 2
            # on 5 or 6 frames writes outside of its memory (oneDNN of torch 2.13).
            self.min_frames = 7
            self.model.avgpool = ClippedPool(self.model.avgpool.kernel_size)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TorchvisionVideo:
        """MODEL.ARCH is the name."""
        return cls(cfg.MODEL.ARCH or cls.archs[0], cfg.MODEL.NUM_CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        missing = self.min_frames - clip.shape[2]
        if missing > 0:
            last = clip[:, :, -1:].expand(-1, -1, missing, -1, -1)
            clip = torch.cat([clip, last], dim=2)
        return _mvit(self.model, clip) if self.is_mvit else self.model(clip)


def _mvit(net: nn.Module, clip: Tensor) -> Tensor:
    """torchvision's own forward knows the one grid of tokens that the network was built for."""
    x = net.conv_proj(clip)
    grid, positions = tuple(x.shape[2:]), net.pos_encoding
    x = x.flatten(2).transpose(1, 2)
    token = positions.class_token.expand(len(x), 1, -1)
    if positions.spatial_pos is not None:
        learned = positions.temporal_size, *positions.spatial_size
        space, time = positions.spatial_pos[None], positions.temporal_pos[None]
        x = x + separate_positions(space, time, learned, grid)
        token = token + positions.class_pos
    x = torch.cat([token, x], dim=1)
    for block in net.blocks:
        x, grid = block(x, grid)
    return net.head(net.norm(x)[:, 0])
