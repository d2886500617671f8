"""Attention between pooled tokens of a video (MViT, arXiv:2104.11227 and arXiv:2112.01526)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.layers.conv import Conv3d
from slowfast.layers.position import Grid, relative_index, resize_relative


class Pooling(NamedTuple):
    """Kernel and stride along time, height and width; padded by half the kernel."""

    kernel: tuple[int, ...] = (1, 1, 1)
    stride: tuple[int, ...] = (1, 1, 1)

    @property
    def padding(self) -> tuple[int, ...]:
        return tuple(k // 2 for k in self.kernel)

    @property
    def passes(self) -> bool:
        """Whether it leaves every token as it is."""
        return prod(self.kernel) == prod(self.stride) == 1


def pool_tokens(
    pool: nn.Module, tokens: Tensor, grid: Sequence[int], num_class: int
) -> tuple[Tensor, Grid]:
    """`pool` over all of `(B, num_class + T*H*W, C)` but the first `num_class`; tokens and grid."""
    pooled = pool(tokens[:, num_class:].transpose(1, 2).unflatten(2, grid))
    patches = pooled.flatten(2).transpose(1, 2)
    if num_class:
        patches = torch.cat([tokens[:, :num_class], patches], dim=1)
    return patches, tuple(pooled.shape[2:])


class PoolingAttention(nn.Module):
    """Multi-head attention of `(B, N, dim)` tokens in which queries, keys and values are pooled.

    With `class_token`, the first token is none of the grid: it is not pooled and has no position.
    `mode` is conv (depthwise, the same in all heads, and a LayerNorm), avg or max.  `pool_first`
    pools before the linear layers; those are one (`qkv`) or, with `separate_qkv`, three.

    `rel_pos_spatial` and `rel_pos_temporal` add to the scores a product of the query with an
    embedding of the distance, learned for the `grid` here and stretched to any other.
    `residual_pooling` adds the pooled query to the output.

    forward takes the tokens and their grid and returns `(B, N', dim_out)` and the queries' grid.
    """

    positions = ("rel_pos_t", "rel_pos_h", "rel_pos_w")

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        grid: Sequence[int],
        pool_q: Pooling | None = None,
        pool_kv: Pooling | None = None,
        mode: str = "conv",
        qkv_bias: bool = True,
        dropout: float = 0.0,
        class_token: bool = True,
        pool_first: bool = False,
        separate_qkv: bool = False,
        rel_pos_spatial: bool = False,
        rel_pos_temporal: bool = False,
        rel_pos_zero_init: bool = False,
        residual_pooling: bool = False,
    ):
        super().__init__()
        if dim % num_heads or dim_out % num_heads:
            raise ValueError(f"{num_heads} heads must divide dim={dim} and dim_out={dim_out}")
        self.num_heads, self.head_dim = num_heads, dim_out // num_heads
        self.num_class = int(class_token)
        self.pool_first, self.residual_pooling = pool_first, residual_pooling

        self.qkv = None
        if pool_first or separate_qkv:
            for name in "qkv":
                self.add_module(name, nn.Linear(dim, dim_out, bias=qkv_bias))
        else:
            self.qkv = nn.Linear(dim, 3 * dim_out, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        self.proj_drop = nn.Dropout(dropout)

        poolings = [pool_q or Pooling(), pool_kv or Pooling(), pool_kv or Pooling()]
        pooled_dim = dim // num_heads if pool_first else self.head_dim
        for name, pooling in zip("qkv", poolings, strict=True):
            self.add_module(f"pool_{name}", _pool_layer(mode, pooled_dim, pooling))
            has_norm = mode == "conv" and not pooling.passes
            norm = nn.LayerNorm(pooled_dim, eps=1e-6) if has_norm else None
            self.add_module(f"norm_{name}", norm)

        used = (rel_pos_temporal, rel_pos_spatial, rel_pos_spatial)
        strides = zip(poolings[0].stride, poolings[1].stride, strict=True)
        for name, size, stride, use in zip(self.positions, grid, strides, used, strict=True):
            length = 2 * max(size // min(stride), 1) - 1
            table = nn.Parameter(torch.zeros(length, self.head_dim)) if use else None
            if use and not rel_pos_zero_init:
                nn.init.trunc_normal_(table, std=0.02)
            self.register_parameter(name, table)

    def forward(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor, Grid]:
        if self.qkv is not None:
            parts = self.qkv(x).chunk(3, dim=-1)
        elif self.pool_first:
            parts = x, x, x
        else:
            parts = self.q(x), self.k(x), self.v(x)
        q, q_grid = self._pooled(parts[0], self.pool_q, self.norm_q, grid)
        k, k_grid = self._pooled(parts[1], self.pool_k, self.norm_k, grid)
        v, _ = self._pooled(parts[2], self.pool_v, self.norm_v, grid)
        if self.pool_first:
            layers = (self.q, q), (self.k, k), (self.v, v)
            q, k, v = (self._heads(layer(_joined(part))) for layer, part in layers)
        y = self._attend(q, k, v, q_grid, k_grid)
        if self.residual_pooling:
            y = y + F.pad(q[:, :, self.num_class :], (0, 0, self.num_class, 0))
        return self.proj_drop(self.proj(_joined(y))), q_grid

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def _pooled(
        self, x: Tensor, pool: nn.Module | None, norm: nn.Module | None, grid: Sequence[int]
    ) -> tuple[Tensor, Grid]:
        """`(B, N, C)` as heads `(B, num_heads, N', C / num_heads)`, and their grid."""
        heads = self._heads(x)
        if pool is None:
            return heads, tuple(grid)
        tokens, grid = pool_tokens(pool, heads.flatten(0, 1), grid, self.num_class)
        tokens = tokens if norm is None else norm(tokens)
        return tokens.unflatten(0, heads.shape[:2]), grid

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, q_grid: Grid, k_grid: Grid) -> Tensor:
        """The values, `(B, heads, N', head_dim)`, weighted by content and relative position.

        Query i adds e_ij = q_i . r(distance of i and j along an axis) to the score of key j: a
        number per query and *place* of the key on that axis.  These are further channels of the
        query, and the place, one-hot, those of the key:

            q_i . k_j + e_ij  =  [q_i, e_i] . [k_j, place_j]

        so that no matrix of queries by keys has to be in memory.
        """
        scale = self.head_dim**-0.5
        tables = [getattr(self, name) for name in self.positions]
        sizes = [n for n, table in zip(k_grid, tables, strict=True) if table is not None]
        if not sizes:
            return F.scaled_dot_product_attention(q, k, v, scale=scale)
        # Channels that fused kernels take: a multiple of 8, as many in the values as in the keys.
        unused = -sum(sizes) % 8
        front = self.num_class, 0  # the class token has no position
        distances = _distance_scores(q[:, :, self.num_class :], tables, q_grid, k_grid) / scale
        places = _places(k_grid, [table is not None for table in tables], k)
        places = F.pad(places, (0, unused, *front)).expand(*k.shape[:2], -1, -1)
        q = torch.cat([q, F.pad(distances, (0, unused, *front))], dim=-1)
        k = torch.cat([k, places], dim=-1)
        v = F.pad(v, (0, sum(sizes) + unused))
        y = F.scaled_dot_product_attention(q, k, v, scale=scale)
        return y[..., : self.head_dim]


def _pool_layer(mode: str, dim: int, pooling: Pooling) -> nn.Module | None:
    if mode not in ("conv", "avg", "max"):
        raise ValueError(f"mode={mode!r} of pooling must be conv, avg or max")
    if pooling.passes:
        return None
    geometry = (*pooling, pooling.padding)
    if mode == "conv":
        return Conv3d(dim, dim, *geometry, groups=dim, bias=False)
    if mode == "max":
        return nn.MaxPool3d(*geometry)
    # Padded beforehand: AvgPool3d takes no clip that is shorter than its kernel.
    t, h, w = pooling.padding
    return nn.Sequential(nn.ConstantPad3d((w, w, h, h, t, t), 0.0), nn.AvgPool3d(*pooling))


def _joined(heads: Tensor) -> Tensor:
    """`(B, heads, N, C)` to `(B, N, heads * C)`."""
    return heads.transpose(1, 2).flatten(2)


def _distance_scores(
    q: Tensor, tables: Sequence[Tensor | None], q_grid: Grid, k_grid: Grid
) -> Tensor:
    """What each query adds to each place along each axis that has a table, `(B, heads, N, sum)`."""
    q = q.unflatten(2, q_grid)
    scores = []
    for axis, table, num_q, num_k in zip("thw", tables, q_grid, k_grid, strict=True):
        if table is not None:
            table = resize_relative(table, 2 * max(num_q, num_k) - 1)
            between = table[relative_index(num_q, num_k, table.device)]  # (queries, keys, C)
            scores.append(torch.einsum(f"bnthwc,{axis}kc->bnthwk", q, between))
    return torch.cat(scores, dim=-1).flatten(2, 4)


def _places(grid: Grid, axes: Sequence[bool], like: Tensor) -> Tensor:
    """The one-hot places `(T*H*W, sum)` of all tokens along the `axes` asked for."""
    places = []
    for i, (size, asked) in enumerate(zip(grid, axes, strict=True)):
        if asked:
            shape = [1, 1, 1, size]
            shape[i] = size
            one_hot = torch.eye(size, dtype=like.dtype, device=like.device).view(shape)
            places.append(one_hot.expand(*grid, size))
    return torch.cat(places, dim=-1).flatten(0, 2)
