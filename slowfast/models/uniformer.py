"""UniFormer (Li et al. 2022, arXiv:2201.04676): convolutions at first, attention deeper down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.layers.alter import Alter
from slowfast.layers.attention import Attention, Mlp
from slowfast.layers.conv import Conv3d
from slowfast.layers.drop_path import DropPath
from slowfast.models.backbone import Backbone
from slowfast.models.flexible import checkpoint

DEPTHS = {"S": (3, 4, 8, 3), "B": (5, 8, 20, 7)}
pointwise = partial(Conv3d, kernel_size=1)


def to_tokens(x: Tensor) -> Tensor:
    """`(B, C, T, H, W)` to `(B, T*H*W, C)`; a view in channels-last memory."""
    return x.movedim(1, -1).flatten(1, 3)


def to_map(tokens: Tensor, like: Tensor) -> Tensor:
    """`(B, T*H*W, C)` to `(B, C, T, H, W)` with the T, H and W of `like`."""
    return tokens.unflatten(1, like.shape[2:]).movedim(-1, 1)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to channels, normed: height and width shrink by `patch`.

    `kernel` and `stride` are temporal.
    """

    def __init__(self, dim_in: int, dim: int, patch: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.proj = Conv3d(
            dim_in, dim, (kernel, patch, patch), (stride, patch, patch), (kernel // 2, 0, 0)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return to_map(self.norm(to_tokens(x)), like=x)


class CBlock(nn.Module):
    """Local relations: position encoding, 5x5x5 aggregation and an MLP, all as convolutions."""

    folds = (("norm1", "conv1"), ("norm2", "mlp.fc1"))
    residual_folds = (("adaconv", "pos_embed"),)

    def __init__(self, dim: int, hidden: int, dropout: float, drop_path: float):
        super().__init__()
        self.adaconv = Alter(dim)
        self.pos_embed = Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.BatchNorm3d(dim)
        self.conv1 = pointwise(dim, dim)
        self.attn = Conv3d(dim, dim, 5, padding=2, groups=dim)
        self.conv2 = pointwise(dim, dim)
        self.norm2 = nn.BatchNorm3d(dim)
        self.mlp = Mlp(dim, hidden, dropout, layer=pointwise)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.adaconv(x)
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SABlock(nn.Module):
    """Global relations: depthwise position encoding, joint space-time attention and an MLP."""

    residual_folds = (("adaconv", "pos_embed"),)

    def __init__(
        self, dim: int, hidden: int, attention: Attention, dropout: float, drop_path: float
    ):
        super().__init__()
        self.adaconv = Alter(dim)
        self.pos_embed = Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.adaconv(x)
        x = x + self.pos_embed(x)
        tokens = to_tokens(x)
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return to_map(tokens, like=x)


class UniFormer(Backbone):
    """Takes `(B, 3, T, H, W)`, any `T >= 1` and at least 32 pixels, and returns logits `(B, K)`.

    `depth` is "S", "B" or the blocks of the four stages.  `drop_path` rises linearly from 0 at the
    first block to its value at the last.  `std` gives the later patch embeddings 3-frame kernels.
    """

    archs = ("uniformer",)
    classifier = "head"
    depth_order = (
        *("patch_embed1", r"blocks1\.(\d+)"),
        *(rf"patch_embed{n}|blocks{n}\.(\d+)" for n in (2, 3, 4)),
    )
    folds = (("norm", "head"),)  # a mean stands between them, which commutes with both

    def __init__(
        self,
        num_classes: int = 400,
        depth: str | Sequence[int] = "S",
        dims: Sequence[int] = (64, 128, 320, 512),
        head_dim: int = 64,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.1,
        std: bool = False,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        depth = _depth(depth)
        self.act_checkpoint = act_checkpoint
        self.patch_embed1 = PatchEmbed(3, dims[0], patch=4, kernel=3, stride=2)
        for i in range(1, 4):
            embed = PatchEmbed(dims[i - 1], dims[i], patch=2, kernel=3 if std else 1)
            self.add_module(f"patch_embed{i + 1}", embed)
        self.pos_drop = nn.Dropout(dropout)
        rates = torch.linspace(0, drop_path, sum(depth), device="cpu").tolist()
        for i, (dim, num_blocks) in enumerate(zip(dims, depth, strict=True)):
            blocks = nn.ModuleList()
            for _ in range(num_blocks):
                hidden, rate = int(dim * mlp_ratio), rates.pop(0)
                if i < 2:
                    blocks.append(CBlock(dim, hidden, dropout, rate))
                else:
                    attention = Attention(dim, head_dim, qkv_bias, dropout, attention_dropout)
                    blocks.append(SABlock(dim, hidden, attention, dropout, rate))
            self.add_module(f"blocks{i + 1}", blocks)
        self.norm = nn.BatchNorm3d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(_init_linear)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> UniFormer:
        return cls(
            num_classes=cfg.MODEL.NUM_CLASSES,
            depth=cfg.UNIFORMER.DEPTH,
            dims=cfg.UNIFORMER.EMBED_DIM,
            head_dim=cfg.UNIFORMER.HEAD_DIM,
            mlp_ratio=cfg.UNIFORMER.MLP_RATIO,
            qkv_bias=cfg.UNIFORMER.QKV_BIAS,
            dropout=cfg.UNIFORMER.DROPOUT_RATE,
            attention_dropout=cfg.UNIFORMER.ATTENTION_DROPOUT_RATE,
            drop_path=cfg.UNIFORMER.DROP_DEPTH_RATE,
            std=cfg.UNIFORMER.STD,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    def encode(self, clip: Tensor) -> Tensor:
        x = self.pos_drop(self.patch_embed1(clip))
        x = self._run(self.blocks1, x)
        x = self._run(self.blocks2, self.patch_embed2(x))
        x = self._run(self.blocks3, self.patch_embed3(x))
        x = self._run(self.blocks4, self.patch_embed4(x))
        return self.norm(x)

    def classify(self, encoded: Tensor) -> Tensor:
        return self.head(encoded.mean((2, 3, 4)))

    def _run(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in blocks:
            x = checkpoint(block, x) if self.act_checkpoint and self.training else block(x)
        return x


def _depth(depth: str | Sequence[int]) -> Sequence[int]:
    if isinstance(depth, str):
        if depth not in DEPTHS:
            raise ValueError(f"depth={depth!r}; give {' or '.join(DEPTHS)} or four block counts")
        return DEPTHS[depth]
    if len(depth) != 4:
        raise ValueError(f"depth={list(depth)} must have four block counts, one per stage")
    return depth


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
