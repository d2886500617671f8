"""Residual video networks in pieces: stems, blocks, stages, head, initialisation.

A stage holds one or more pathways and maps a list of clips to a list of clips.  Checkpoint names
are PySlowFast's (`s2.pathway0_res0.branch2.a.weight`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode, input_size
from slowfast.layers.alter import Alter, altered
from slowfast.layers.conv import Conv3d
from slowfast.layers.nonlocal_block import NonLocalBlock
from slowfast.layers.window_pool import WindowPool, per_position
from slowfast.models.flexible import checkpoint

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def conv(
    dim_in: int,
    dim_out: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
    dilation: int = 1,
    groups: int = 1,
) -> Conv3d:
    """A bias-free convolution, padded so that only strides shrink; `dilation` is spatial."""
    dilations = (1, dilation, dilation)
    padding = tuple(k // 2 * d for k, d in zip(kernel, dilations, strict=True))
    return Conv3d(dim_in, dim_out, kernel, stride, padding, dilations, groups, bias=False)


class Stem(nn.Module):
    """`(B, 3, T, H, W)` to `(B, dim, T, H/4, W/4)`: a kernel x 7 x 7 convolution and a max-pool."""

    folds = (("conv", "bn"),)

    def __init__(self, dim: int, temporal_kernel: int):
        super().__init__()
        self.conv = conv(3, dim, (temporal_kernel, 7, 7), (1, 2, 2))
        self.bn = nn.BatchNorm3d(dim)
        self.relu = nn.ReLU(inplace=True)
        self.pool_layer = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool_layer(self.relu(self.bn(self.conv(x))))


class Bottleneck(nn.Module):
    """Residual branch T x 1 x 1, 1 x 3 x 3, 1 x 1 x 1.

    The stride is on the middle convolution, or on the first with `stride_1x1`.
    """

    expansion, last_norm = 4, "c_bn"
    folds = (("adaconv", "a", "a_bn"), ("b", "b_bn"), ("c", "c_bn"))

    def __init__(
        self,
        dim_in: int,
        dim_inner: int,
        dim_out: int,
        temporal_kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        stride_1x1: bool = False,
    ):
        super().__init__()
        first, second = (stride, 1) if stride_1x1 else (1, stride)
        self.adaconv = Alter(dim_in)
        self.a = conv(dim_in, dim_inner, (temporal_kernel, 1, 1), (1, first, first))
        self.a_bn = nn.BatchNorm3d(dim_inner)
        self.b = conv(dim_inner, dim_inner, (1, 3, 3), (1, second, second), dilation, groups)
        self.b_bn = nn.BatchNorm3d(dim_inner)
        self.c = conv(dim_inner, dim_out, (1, 1, 1))
        self.c_bn = nn.BatchNorm3d(dim_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a_bn(altered(self.a, self.adaconv, x)))
        x = self.relu(self.b_bn(self.b(x)))
        return self.c_bn(self.c(x))


class Basic(nn.Module):
    """Residual branch T x 3 x 3, 1 x 3 x 3; the stride is on the first."""

    expansion, last_norm = 1, "b_bn"
    folds = (("adaconv", "a", "a_bn"), ("b", "b_bn"))

    def __init__(
        self,
        dim_in: int,
        dim_inner: int,
        dim_out: int,
        temporal_kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        self.adaconv = Alter(dim_in)
        self.a = conv(dim_in, dim_inner, (temporal_kernel, 3, 3), (1, stride, stride))
        self.a_bn = nn.BatchNorm3d(dim_inner)
        self.b = conv(dim_inner, dim_out, (1, 3, 3), dilation=dilation, groups=groups)
        self.b_bn = nn.BatchNorm3d(dim_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a_bn(altered(self.a, self.adaconv, x)))
        return self.b_bn(self.b(x))


class ResBlock(nn.Module):
    """`relu(shortcut(x) + branch2(x))`; the shortcut is a 1x1x1 convolution where shapes change.

    `transform` makes branch2, from the arguments that follow it.
    """

    folds = (("branch1", "branch1_bn"),)

    def __init__(
        self,
        transform: Callable[..., nn.Module],
        dim_in: int,
        dim_inner: int,
        dim_out: int,
        temporal_kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        if dim_in != dim_out or stride != 1:
            self.branch1 = conv(dim_in, dim_out, (1, 1, 1), (1, stride, stride))
            self.branch1_bn = nn.BatchNorm3d(dim_out)
        else:
            self.branch1 = None
        self.branch2 = transform(
            dim_in, dim_inner, dim_out, temporal_kernel, stride, dilation, groups
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.branch1 is None else self.branch1_bn(self.branch1(x))
        return self.relu(self.branch2(x).add_(shortcut))


def make_blocks(
    transform: Callable[..., nn.Module],
    dims: tuple[int, int, int],
    temporal_kernels: Sequence[int],
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> list[ResBlock]:
    """A block per temporal kernel, the first with the stride; `dims` are those in, inside, out."""
    dim_in, dim_inner, dim_out = dims
    return [
        ResBlock(
            transform,
            dim_out if i else dim_in,
            dim_inner,
            dim_out,
            kernel,
            1 if i else stride,
            dilation,
            groups,
        )
        for i, kernel in enumerate(temporal_kernels)
    ]


def temporal_kernels(cycle: Sequence[int], num_temporal: int, num_blocks: int) -> list[int]:
    """The temporal kernel of each block: `cycle` again and again, behind `num_temporal` blocks 1.

    (3, 1) for 4 of 5 blocks gives 3 1 3 1 1.
    """
    return [cycle[i % len(cycle)] if i < num_temporal else 1 for i in range(num_blocks)]


def is_bottleneck(name: str) -> bool:
    """Whether RESNET.TRANS_FUNC names `Bottleneck`; ValueError if it is not `Basic` either."""
    if name not in ("bottleneck_transform", "basic_transform"):
        raise ValueError(
            f"RESNET.TRANS_FUNC={name!r} is no block of this network; give bottleneck_transform or "
            "basic_transform"
        )
    return name == "bottleneck_transform"


def of_pathway(values: Sequence[Any], pathway: int) -> Any:
    """The entry of a pathway; the last of fewer entries serves the pathways behind it too."""
    return values[min(pathway, len(values) - 1)]


class NonLocals(NamedTuple):
    """Where non-local blocks stand: per stage, and in it per pathway (see `of_pathway`).

    `locations` lists the residual blocks, counted from 0, behind which one stands; `groups`,
    `pools` and `instantiation` are those of `NonLocalBlock`.
    """

    locations: Sequence[Sequence[Sequence[int]]] = ([[]],) * 4
    groups: Sequence[Sequence[int]] = ([1],) * 4
    pools: Sequence[Sequence[Sequence[int]]] = ([(1, 2, 2)],) * 4
    instantiation: str = "softmax"

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> NonLocals:
        node = cfg.NONLOCAL
        return cls(node.LOCATION, node.GROUP, node.POOL, node.INSTANTIATION)

    def blocks(self, stage: int, pathway: int, dim: int, num_blocks: int) -> dict[int, nn.Module]:
        """The non-local blocks of a pathway of `dim` channels, by the block that they follow.

        Raises ValueError if the stage, counted from 0, has no such block.
        """
        locations = of_pathway(self.locations[stage], pathway)
        for i in locations:
            if not 0 <= i < num_blocks:
                raise ValueError(
                    f"a non-local block cannot follow residual block {i} of s{stage + 2}, which "
                    f"has blocks 0 to {num_blocks - 1}; correct NONLOCAL.LOCATION"
                )
        pool, groups = (
            of_pathway(self.pools[stage], pathway),
            of_pathway(self.groups[stage], pathway),
        )
        return {i: NonLocalBlock(dim, pool, groups, self.instantiation) for i in locations}


class StemStage(nn.Module):
    """The stem of each pathway: a list of clips in, a list of maps out."""

    def __init__(self, *stems: Stem):
        super().__init__()
        for p, stem in enumerate(stems):
            self.add_module(f"pathway{p}_stem", stem)

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return [self.get_submodule(f"pathway{p}_stem")(x) for p, x in enumerate(xs)]


class ResStage(nn.Module):
    """The residual blocks of one stage, a list of them per pathway: a list of maps in and out.

    `nonlocals` holds for each pathway the non-local blocks by the residual block they follow.
    """

    def __init__(
        self,
        *pathways: Sequence[ResBlock],
        nonlocals: Sequence[Mapping[int, nn.Module]] = (),
        act_checkpoint: bool = False,
    ):
        super().__init__()
        self.act_checkpoint = act_checkpoint
        self.order: list[list[str]] = []
        for p, blocks in enumerate(pathways):
            self.order.append([])
            behind = nonlocals[p] if nonlocals else {}
            for i, block in enumerate(blocks):
                self._append(p, f"pathway{p}_res{i}", block)
                if i in behind:
                    self._append(p, f"pathway{p}_nonlocal{i}", behind[i])

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return [self._pathway(p, x) for p, x in enumerate(xs)]

    def _append(self, p: int, name: str, block: nn.Module) -> None:
        self.order[p].append(name)
        self.add_module(name, block)

    def _pathway(self, p: int, x: Tensor) -> Tensor:
        for name in self.order[p]:
            block = self.get_submodule(name)
            x = checkpoint(block, x) if self.act_checkpoint and self.training else block(x)
        return x


class PathwayHead(nn.Module):
    """Pools each pathway, concatenates, drops out, classifies: a list of maps to logits.

    `window=None` pools everything: (B, K) for any clip length and crop.  `window=(h, w)` slides
    over height and width, as in the published dense test, and pools time whole: (B, P, K) where it
    fits P > 1 times, which in training is a ValueError.
    """

    def __init__(
        self,
        dim_in: int,
        num_classes: int,
        dropout: float = 0.5,
        window: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.pool = WindowPool(window)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(dim_in, num_classes)

    def forward(self, xs: Sequence[Tensor]) -> Tensor:
        return self.classify(torch.cat([self.pool(x) for x in xs], dim=1))

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits of `(B, dim_in, 1, h, w)`: one per position, without that axis if h = w = 1."""
        return self.projection(self.dropout(per_position(pooled)))


def shared_arguments(cfg: CfgNode) -> dict[str, Any]:
    """What `SlowFast.from_cfg` and `ResNet.from_cfg` read alike, by the name of the argument."""
    return {
        "depth": cfg.RESNET.DEPTH,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "width": cfg.RESNET.WIDTH_PER_GROUP,
        "num_groups": cfg.RESNET.NUM_GROUPS,
        "dropout": cfg.MODEL.DROPOUT_RATE,
        "bottleneck": is_bottleneck(cfg.RESNET.TRANS_FUNC),
        "stride_1x1": cfg.RESNET.STRIDE_1X1,
        "nonlocals": NonLocals.from_cfg(cfg),
        "head_window": head_window(cfg, input_size(cfg) // 32),
        "fc_init_std": cfg.MODEL.FC_INIT_STD,
        "zero_init_final_bn": cfg.RESNET.ZERO_INIT_FINAL_BN,
        "act_checkpoint": cfg.MODEL.ACT_CHECKPOINT,
    }


def head_window(cfg: CfgNode, side: int) -> tuple[int, int] | None:
    """`side` twice, the training map's, which plain networks slide over larger test crops.

    None, which pools everything, for frame-flexible networks and multigrid training, as published;
    and where a smaller window than the training map would have several places in training.
    """
    several = cfg.FFN.ENABLE or cfg.MULTIGRID.LONG_CYCLE or cfg.MULTIGRID.SHORT_CYCLE
    return None if several or 32 * side < input_size(cfg) else (side, side)


def init_weights(net: nn.Module, fc_std: float = 0.01, zero_final_bn: bool = False) -> None:
    """Initialises as PySlowFast does; `zero_final_bn` makes residual blocks start as identity."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=fc_std)
            nn.init.zeros_(module.bias)
        elif zero_final_bn and hasattr(module, "last_norm"):
            nn.init.zeros_(module.get_submodule(module.last_norm).weight)
