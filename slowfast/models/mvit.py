"""Multiscale vision transformers: MViT (arXiv:2104.11227), MViTv2 (arXiv:2112.01526), video ViT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.config import CfgNode, frame_counts, input_size
from slowfast.layers.alter import Alter
from slowfast.layers.attention import Mlp
from slowfast.layers.conv import Conv3d
from slowfast.layers.drop_path import DropPath
from slowfast.layers.pooling_attention import Pooling, PoolingAttention, pool_tokens
from slowfast.layers.position import Grid, resize_positions, sincos_positions
from slowfast.layers.squeeze_excitation import round_width
from slowfast.models.backbone import Backbone
from slowfast.models.flexible import checkpoint

Schedule = Sequence[Sequence[float]]  # [block, value, ...] where something changes
Strides = Sequence[Sequence[int]]  # [block, time, height, width]


class PatchEmbed(nn.Module):
    """`(B, 3, T, H, W)` to tokens `(B, N, dim)` and their grid.

    `per_frame` patches have a height and a width, others a time before them.  A clip that is
    shorter than its kernel repeats the last frame.
    """

    def __init__(
        self,
        dim: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        per_frame: bool,
    ):
        super().__init__()
        for name, numbers in (("kernel", kernel), ("stride", stride), ("padding", padding)):
            if len(numbers) != (2 if per_frame else 3):
                wanted = "two numbers, height and width" if per_frame else "time, height and width"
                raise ValueError(f"{name}={list(numbers)} of the patches must be {wanted}")
        self.per_frame = per_frame
        conv = nn.Conv2d if per_frame else Conv3d
        self.proj = conv(3, dim, tuple(kernel), tuple(stride), tuple(padding))

    def forward(self, clip: Tensor) -> tuple[Tensor, Grid]:
        if self.per_frame:
            x = self.proj(clip.transpose(1, 2).flatten(0, 1))
            x = x.unflatten(0, (clip.shape[0], clip.shape[2])).transpose(1, 2)
        else:
            missing = self.proj.kernel_size[0] - 2 * self.proj.padding[0] - clip.shape[2]
            if missing > 0:
                last = clip[:, :, -1:].expand(-1, -1, missing, -1, -1)
                clip = torch.cat([clip, last], dim=2)
            x = self.proj(clip)
        return x.flatten(2).transpose(1, 2), tuple(x.shape[2:])


class MultiscaleBlock(nn.Module):
    """Pooling attention and an MLP: tokens and their grid in, pooled tokens and grid out.

    Where `dim_out` differs, the MLP changes the width (MViT), or the attention with
    `dim_in_attention` (MViTv2); then the shortcut is a linear layer, of the *normed* tokens as
    published.  Where queries are strided, the shortcut is max-pooled.
    """

    def __init__(
        self,
        attention: PoolingAttention,
        dim: int,
        dim_out: int,
        shortcut: Pooling,
        dim_in_attention: bool,
        mlp_ratio: float,
        dropout: float,
        drop_path: float,
    ):
        super().__init__()
        inner = dim_out if dim_in_attention else dim
        self.num_class, self.dim_in_attention = attention.num_class, dim_in_attention
        self.adaconv = Alter(dim, kernel_dims=1)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(inner, eps=1e-6)
        self.mlp = Mlp(inner, int(inner * mlp_ratio), dropout, dim_out=dim_out)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None
        self.pool_skip = None if shortcut.passes else nn.MaxPool3d(*shortcut, shortcut.padding)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        x = self.adaconv(x.transpose(1, 2)).transpose(1, 2)
        normed = self.norm1(x)
        y, new_grid = self.attn(normed, grid)
        if self.proj is not None and self.dim_in_attention:
            x = self.proj(normed)
        if self.pool_skip is not None:
            x, _ = pool_tokens(self.pool_skip, x, grid, self.num_class)
        x = x + self.drop_path(y)
        normed = self.norm2(x)
        y = self.mlp(normed)
        if self.proj is not None and not self.dim_in_attention:
            x = self.proj(normed)
        return x + self.drop_path(y), new_grid


class Head(nn.Module):
    """Dropout and the classifier."""

    def __init__(self, dim: int, num_classes: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.dropout(x))


class MViT(Backbone):
    """Takes `(B, 3, T, H, W)`, any `T >= 1` and at least 32 pixels, and returns logits `(B, K)`.

    Embeddings of positions are learned for clips of `num_frames` frames of `crop_size` pixels
    (tokens are those over the patch stride, rounded down) and resized for any other.

    Schedules name blocks: `dim_mul` and `head_mul` are [block, factor], `pool_q_stride` and
    `pool_kv_stride` [block, time, height, width]; see `plan_widths` and `plan_pools`.  For the
    rest of pooling and for relative positions see `PoolingAttention`.

    Absolute positions are one table, with `sep_pos_embed` one of time and one of space, with
    `fixed_sincos_pos` one that does not learn.  The classifier sees the normed class token, or
    without one the mean of the normed tokens, or with `mean_pooling` the norm of their mean.
    `drop_path` rises linearly from 0 at the first block to its value at the last.

    `patch_2d` makes patches of height and width, frame by frame; images `(B, 3, H, W)` do as well.
    """

    archs = ("mvit",)
    classifier = "head.projection"
    depth_order = ("cls_token|pos_embed|patch_embed", r"blocks\.(\d+)")
    positions = (
        *("cls_token", "pos_embed"),
        *("pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"),
    )

    def __init__(
        self,
        num_classes: int = 400,
        num_frames: int = 16,
        crop_size: int = 224,
        depth: int = 16,
        dim: int = 96,
        num_heads: int = 1,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        patch_kernel: Sequence[int] = (3, 7, 7),
        patch_stride: Sequence[int] = (2, 4, 4),
        patch_padding: Sequence[int] = (1, 3, 3),
        patch_2d: bool = False,
        dim_mul: Schedule = (),
        head_mul: Schedule = (),
        dim_mul_in_att: bool = False,
        pool_kernel: Sequence[int] | None = None,
        pool_q_stride: Strides = (),
        pool_kv_stride: Strides = (),
        pool_kv_stride_adaptive: Sequence[int] | None = None,
        pool_mode: str = "conv",
        pool_first: bool = False,
        separate_qkv: bool = False,
        residual_pooling: bool = False,
        class_token: bool = True,
        use_abs_pos: bool = True,
        sep_pos_embed: bool = False,
        fixed_sincos_pos: bool = False,
        rel_pos_spatial: bool = False,
        rel_pos_temporal: bool = False,
        rel_pos_zero_init: bool = False,
        norm_stem: bool = False,
        mean_pooling: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        head_dropout: float = 0.5,
        head_init_scale: float = 1.0,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        self.num_class, self.mean_pooling = int(class_token), mean_pooling
        self.act_checkpoint = act_checkpoint
        self.patch_embed = PatchEmbed(dim, patch_kernel, patch_stride, patch_padding, patch_2d)
        sizes, steps = (num_frames, crop_size, crop_size), (1, *patch_stride)[-3:]
        self.grid = tuple(max(n // step, 1) for n, step in zip(sizes, steps, strict=True))
        self._add_positions(dim, use_abs_pos, sep_pos_embed, fixed_sincos_pos)
        self.pos_drop = nn.Dropout(dropout)
        self.norm_stem = nn.LayerNorm(dim, eps=1e-6) if norm_stem else nn.Identity()

        attention = partial(
            PoolingAttention,
            mode=pool_mode,
            qkv_bias=qkv_bias,
            dropout=dropout,
            class_token=class_token,
            pool_first=pool_first,
            separate_qkv=separate_qkv,
            rel_pos_spatial=rel_pos_spatial,
            rel_pos_temporal=rel_pos_temporal,
            rel_pos_zero_init=rel_pos_zero_init,
            residual_pooling=residual_pooling,
        )
        widths = plan_widths(depth, dim, num_heads, dim_mul, head_mul, dim_mul_in_att)
        pools = plan_pools(
            depth, pool_kernel, pool_q_stride, pool_kv_stride, pool_kv_stride_adaptive
        )
        grid, self.blocks = self.grid, nn.ModuleList()
        for i, ((dim, dim_out, heads), (pool_q, pool_kv)) in enumerate(
            zip(widths, pools, strict=True)
        ):
            inner = dim_out if dim_mul_in_att else dim
            layer = attention(dim, inner, heads, grid, pool_q, pool_kv)
            drop = drop_path * i / max(depth - 1, 1)
            self.blocks.append(
                MultiscaleBlock(
                    *(layer, dim, dim_out, shortcut_pooling(pool_q), dim_mul_in_att),
                    *(mlp_ratio, dropout, drop),
                )
            )
            grid = tuple(max(n // step, 1) for n, step in zip(grid, pool_q.stride, strict=True))
        self.norm = nn.LayerNorm(dim_out, eps=1e-6)
        self.head = Head(dim_out, num_classes, head_dropout)
        self.apply(_init_layer)
        with torch.no_grad():
            self.head.projection.weight.mul_(head_init_scale)
            self.head.projection.bias.mul_(head_init_scale)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> MViT:
        mvit = cfg.MVIT
        return cls(
            num_classes=cfg.MODEL.NUM_CLASSES,
            num_frames=frame_counts(cfg)[-1],
            crop_size=input_size(cfg),
            depth=mvit.DEPTH,
            dim=mvit.EMBED_DIM,
            num_heads=mvit.NUM_HEADS,
            mlp_ratio=mvit.MLP_RATIO,
            qkv_bias=mvit.QKV_BIAS,
            patch_kernel=mvit.PATCH_KERNEL,
            patch_stride=mvit.PATCH_STRIDE,
            patch_padding=mvit.PATCH_PADDING,
            patch_2d=mvit.PATCH_2D,
            dim_mul=mvit.DIM_MUL,
            head_mul=mvit.HEAD_MUL,
            dim_mul_in_att=mvit.DIM_MUL_IN_ATT,
            pool_kernel=mvit.POOL_KVQ_KERNEL,
            pool_q_stride=mvit.POOL_Q_STRIDE,
            pool_kv_stride=mvit.POOL_KV_STRIDE,
            pool_kv_stride_adaptive=mvit.POOL_KV_STRIDE_ADAPTIVE,
            pool_mode=mvit.MODE,
            pool_first=mvit.POOL_FIRST,
            separate_qkv=mvit.SEPARATE_QKV,
            residual_pooling=mvit.RESIDUAL_POOLING,
            class_token=mvit.CLS_EMBED_ON,
            use_abs_pos=mvit.USE_ABS_POS,
            sep_pos_embed=mvit.SEP_POS_EMBED,
            fixed_sincos_pos=mvit.USE_FIXED_SINCOS_POS,
            rel_pos_spatial=mvit.REL_POS_SPATIAL,
            rel_pos_temporal=mvit.REL_POS_TEMPORAL,
            rel_pos_zero_init=mvit.REL_POS_ZERO_INIT,
            norm_stem=mvit.NORM_STEM,
            mean_pooling=mvit.USE_MEAN_POOLING,
            dropout=mvit.DROPOUT_RATE,
            drop_path=mvit.DROPPATH_RATE,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            head_init_scale=mvit.HEAD_INIT_SCALE,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    def encode(self, clip: Tensor) -> tuple[Tensor, Grid]:
        if self.patch_embed.per_frame and clip.ndim == 4:
            clip = clip.unsqueeze(2)  # an image is a clip of one frame
        x, grid = self.patch_embed(clip)
        x = self.norm_stem(self.pos_drop(self._with_positions(x, grid)))
        for block in self.blocks:
            if self.act_checkpoint and self.training:
                x, grid = checkpoint(block, x, grid)
            else:
                x, grid = block(x, grid)
        return x, grid

    def to_map(self, encoded: tuple[Tensor, Grid]) -> Tensor:
        """The normed tokens in their places, without that of the class."""
        x, grid = encoded
        return self.norm(x[:, self.num_class :]).transpose(1, 2).unflatten(2, grid)

    def classify(self, encoded: tuple[Tensor, Grid]) -> Tensor:
        x, _ = encoded
        if self.mean_pooling:
            return self.head(self.norm(x[:, self.num_class :].mean(1)))
        if self.num_class:
            return self.head(self.norm(x[:, 0]))
        return self.head(self.norm(x).mean(1))

    def _add_positions(self, dim: int, absolute: bool, separate: bool, fixed: bool) -> None:
        """The class token and the tables of absolute positions, under their published names."""
        t, h, w = self.grid
        rows = {"cls_token": self.num_class}
        if absolute and fixed:
            table = sincos_positions(dim, self.grid)  # zeros for the class token
            self.register_buffer("pos_embed", F.pad(table, (0, 0, self.num_class, 0)))
        elif absolute and separate:
            rows |= {"pos_embed_spatial": h * w, "pos_embed_temporal": t}
            rows |= {"pos_embed_class": self.num_class}
        elif absolute:
            rows |= {"pos_embed": self.num_class + t * h * w}
        for name, count in rows.items():
            if count:
                table = nn.init.trunc_normal_(torch.empty(1, count, dim), std=0.02)
                self.register_parameter(name, nn.Parameter(table))
        self.absolute, self.separate = absolute, absolute and separate and not fixed

    def _with_positions(self, x: Tensor, grid: Grid) -> Tensor:
        """The class token and `(B, N, C)`, all with their absolute positions if there are any."""
        t, h, w = self.grid
        token = self.cls_token if self.num_class else None
        if self.separate:
            space = resize_positions(self.pos_embed_spatial, (1, h, w), (1, *grid[1:]))
            time = resize_positions(self.pos_embed_temporal, (t, 1, 1), (grid[0], 1, 1))
            x = x + (time.unsqueeze(2) + space.unsqueeze(1)).flatten(1, 2)
            token = token + self.pos_embed_class if self.num_class else None
        elif self.absolute:
            table = self.pos_embed[:, self.num_class :]
            x = x + resize_positions(table, self.grid, grid)
            token = token + self.pos_embed[:, :1] if self.num_class else None
        return x if token is None else torch.cat([token.expand(x.shape[0], -1, -1), x], dim=1)


def plan_widths(
    depth: int, dim: int, num_heads: int, dim_mul: Schedule, head_mul: Schedule, in_attention: bool
) -> Iterator[tuple[int, int, int]]:
    """Width in, width out and heads of each block.

    Heads multiply at the block that is named.  Widths do so there too `in_attention`, but at the
    end of the block before it otherwise; they are rounded to a multiple of the heads.
    """
    widen, split = dict(dim_mul), dict(head_mul)
    for i in range(depth):
        num_heads = round_width(num_heads * split.get(i, 1), divisor=1)
        at = i if in_attention else i + 1
        heads_there = round_width(num_heads * split.get(at, 1), divisor=1)
        dim_out = round_width(dim * widen.get(at, 1), divisor=heads_there)
        yield dim, dim_out, num_heads
        dim = dim_out


def plan_pools(
    depth: int,
    kernel: Sequence[int] | None,
    q_stride: Strides,
    kv_stride: Strides,
    kv_adaptive: Sequence[int] | None,
) -> Iterator[tuple[Pooling, Pooling]]:
    """How each block pools its queries, and its keys and values.

    Blocks that are not named do not pool.  `kv_adaptive`, if given, names them all: it is the
    stride of keys and values, divided by that of the queries at every block where there is one.
    Without `kernel` a kernel is one larger than its stride.
    """
    if kernel is not None and any(k % 2 == 0 for k in kernel):
        raise ValueError(f"pool_kernel={list(kernel)} must be odd, or tokens would move by half")
    of_q, of_kv = ({block: stride for block, *stride in named} for named in (q_stride, kv_stride))
    for i in range(depth):
        if kv_adaptive is not None:
            steps = of_q.get(i, (1, 1, 1))
            kv_adaptive = [max(n // step, 1) for n, step in zip(kv_adaptive, steps, strict=True)]
            of_kv[i] = kv_adaptive
        yield _pooling(kernel, of_q.get(i)), _pooling(kernel, of_kv.get(i))


def _pooling(kernel: Sequence[int] | None, stride: Sequence[int] | None) -> Pooling:
    if stride is None:
        return Pooling()
    return Pooling(tuple(kernel or [s + 1 if s > 1 else 1 for s in stride]), tuple(stride))


def shortcut_pooling(pool_q: Pooling) -> Pooling:
    """The max-pooling beside strided queries: a kernel of stride + 1, or of the stride.

    Whichever is odd if the queries' kernel is, so that both leave as many tokens.
    """
    pairs = zip(pool_q.kernel, pool_q.stride, strict=True)
    return Pooling(tuple(s + (k - s) % 2 if s > 1 else 1 for k, s in pairs), pool_q.stride)


def _init_layer(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
        nn.init.constant_(module.bias, 0.02)  # as published
