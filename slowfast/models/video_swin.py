"""Video Swin: attention in windows that shift from block to block (arXiv:2106.13230).

Checkpoint names are those of the authors and of MMAction2, `backbone.` and `cls_head.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.layers.alter import Alter
from slowfast.layers.attention import Mlp
from slowfast.layers.conv import Conv3d
from slowfast.layers.drop_path import DropPath
from slowfast.layers.window_attention import (
    WindowAttention,
    Windows,
    cut,
    fit_windows,
    join,
    shifted,
    window_index,
)
from slowfast.models.backbone import Backbone
from slowfast.models.flexible import checkpoint

# The published sizes: VideoSwin(**SIZES["B"]).
SIZES = {
    "T": {"dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "S": {"dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "B": {"dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
}


class PatchEmbed(nn.Module):
    """`(B, 3, T, H, W)` to a map `(B, T', H', W', dim)`, a token per patch; normed if `norm`.

    Patches at the ends are filled up with zeros.
    """

    def __init__(self, dim: int, patch: Sequence[int], norm: bool = True):
        super().__init__()
        self.patch = tuple(patch)
        self.proj = Conv3d(3, dim, self.patch, self.patch)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, clip: Tensor) -> Tensor:
        missing = [-n % side for n, side in zip(clip.shape[2:], self.patch, strict=True)]
        if any(missing):
            clip = F.pad(clip, [side for m in reversed(missing) for side in (0, m)])
        return self.norm(self.proj(clip).movedim(1, -1))


class PatchMerging(nn.Module):
    """Each 2x2 tokens to one that is twice as wide; zeros fill up an odd height or width."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:4]
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinBlock(nn.Module):
    """Attention in windows and an MLP, on a map `(B, T, H, W, dim)`."""

    def __init__(
        self, dim: int, hidden: int, attention: WindowAttention, dropout: float, drop_path: float
    ):
        super().__init__()
        self.adaconv = Alter(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, windows: Windows, index: Tensor) -> Tensor:
        x = self.adaconv(x.movedim(-1, 1)).movedim(1, -1)
        tokens = self.attn(cut(self.norm1(x), windows), index, windows.apart)
        x = x + self.drop_path(join(tokens, windows, x.shape[1:4]))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SwinStage(nn.Module):
    """Blocks, every second one with shifted windows, and if `merges` a halving of the map."""

    def __init__(
        self,
        dim: int,
        blocks: Sequence[SwinBlock],
        size: Sequence[int],
        merges: bool,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        self.size, self.act_checkpoint = tuple(size), act_checkpoint
        self.blocks = nn.ModuleList(blocks)
        self.downsample = PatchMerging(dim) if merges else None

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        for block, windows in zip(self.blocks, self._windows(x), strict=True):
            if self.act_checkpoint and self.training:
                x = checkpoint(block, x, windows, index)
            else:
                x = block(x, windows, index)
        return x if self.downsample is None else self.downsample(x)

    def _windows(self, x: Tensor) -> Iterator[Windows]:
        grid = x.shape[1:4]
        size, shift = fit_windows(grid, self.size)
        still = moved = Windows(size, (0, 0, 0))
        if any(shift):
            moved = shifted(grid, size, shift, like=x)
        for i in range(len(self.blocks)):
            yield moved if i % 2 else still


class SwinTransformer3D(nn.Module):
    """A clip to its last normed map, `(B, dim_out, T', H', W')`; arguments are `VideoSwin`'s."""

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: Sequence[int],
        patch: Sequence[int],
        mlp_ratio: float,
        qkv_bias: bool,
        patch_norm: bool,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
        act_checkpoint: bool,
    ):
        super().__init__()
        self.window = tuple(window)
        self.patch_embed = PatchEmbed(dim, patch, patch_norm)
        self.pos_drop = nn.Dropout(dropout)
        # One for all blocks, and computed anew instead of loaded.
        self.register_buffer("index", window_index(window), persistent=False)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        self.layers = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            self.dim = dim * 2**i
            attention = self.dim, heads, window, qkv_bias, dropout, attention_dropout
            blocks = [
                SwinBlock(
                    self.dim,
                    int(self.dim * mlp_ratio),
                    WindowAttention(*attention),
                    dropout,
                    rates.pop(0),
                )
                for _ in range(depth)
            ]
            merges = i < len(depths) - 1
            self.layers.append(SwinStage(self.dim, blocks, window, merges, act_checkpoint))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.pos_drop(self.patch_embed(clip))
        for layer in self.layers:
            x = layer(x, self.index)
        return self.norm(x).movedim(-1, 1)


class Head(nn.Module):
    """The mean over all places, dropout and the classifier."""

    def __init__(self, dim: int, num_classes: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc_cls(self.dropout(features.mean((2, 3, 4))))


class VideoSwin(Backbone):
    """Takes `(B, 3, T, H, W)`, any `T >= 1` and any resolution, and returns logits `(B, K)`.

    `dim` is the width of the first stage, each other one has twice that of the one before it;
    `depths` and `num_heads` are blocks and heads of each stage.  `patch` and `window` are frames,
    height and width: pixels of a patch, tokens of a window.  See `WindowAttention` for windows that
    are larger than the map.  `drop_path` rises linearly from 0 at the first block to its value at
    the last.  Raises ValueError where stages do not go together.
    """

    archs = ("video_swin",)
    classifier = "cls_head.fc_cls"
    depth_order = (
        *(r"backbone\.patch_embed", r"backbone\.layers\.0\.blocks\.(\d+)"),
        *(
            rf"backbone\.layers\.{n - 1}\.downsample|backbone\.layers\.{n}\.blocks\.(\d+)"
            for n in (1, 2, 3)
        ),
    )

    def __init__(
        self,
        num_classes: int = 400,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: Sequence[int] = (8, 7, 7),
        patch: Sequence[int] = (2, 4, 4),
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        patch_norm: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.1,
        head_dropout: float = 0.5,
        fc_init_std: float = 0.01,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        if len(depths) != len(num_heads) or not depths:
            raise ValueError(
                f"depths={list(depths)} and num_heads={list(num_heads)} must name the same stages"
            )
        for name, sides in (("window", window), ("patch", patch)):
            if len(sides) != 3:
                raise ValueError(f"{name}={list(sides)} must be frames, height and width")
        self.backbone = SwinTransformer3D(
            *(dim, depths, num_heads, window, patch, mlp_ratio, qkv_bias, patch_norm),
            *(dropout, attention_dropout, drop_path, act_checkpoint),
        )
        self.cls_head = Head(self.backbone.dim, num_classes, head_dropout)
        self.apply(_init_linear)
        nn.init.normal_(self.cls_head.fc_cls.weight, std=fc_init_std)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> VideoSwin:
        swin = cfg.VIDEO_SWIN
        return cls(
            num_classes=cfg.MODEL.NUM_CLASSES,
            dim=swin.EMBED_DIM,
            depths=swin.DEPTHS,
            num_heads=swin.NUM_HEADS,
            window=swin.WINDOW_SIZE,
            patch=swin.PATCH_SIZE,
            mlp_ratio=swin.MLP_RATIO,
            qkv_bias=swin.QKV_BIAS,
            patch_norm=swin.PATCH_NORM,
            dropout=swin.DROPOUT_RATE,
            attention_dropout=swin.ATTENTION_DROPOUT_RATE,
            drop_path=swin.DROP_PATH_RATE,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            fc_init_std=cfg.MODEL.FC_INIT_STD,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    def encode(self, clip: Tensor) -> Tensor:
        return self.backbone(clip)

    def classify(self, encoded: Tensor) -> Tensor:
        return self.cls_head(encoded)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
