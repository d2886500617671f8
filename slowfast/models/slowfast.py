"""SlowFast networks (Feichtenhofer et al. 2019, arXiv:1812.03982)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import ceil

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.models.backbone import Backbone
from slowfast.models.resnet3d import (
    BLOCKS_PER_STAGE,
    Basic,
    Bottleneck,
    NonLocals,
    PathwayHead,
    ResStage,
    Stem,
    StemStage,
    conv,
    init_weights,
    make_blocks,
    of_pathway,
    shared_arguments,
    temporal_kernels,
)

# Temporal kernels of the stem and the four stages, slow and fast pathway.
TEMPORAL_KERNELS = ((1, 5), (1, 3), (1, 3), (3, 3), (3, 3))
Pairs = Sequence[Sequence[int]]  # per stage: (slow, fast), or one number for both


def slow_indices(num_frames: int, alpha: int) -> Tensor:
    """The `ceil(T / alpha)` frames of a T-frame clip that the slow pathway sees.

    Spread from the first to the last and rounded down: T=16, alpha=4 gives 0 5 10 15.  int64.
    """
    # In float32 on the CPU like the published rule: exact integers differ at some odd lengths.
    return torch.linspace(0, num_frames - 1, ceil(num_frames / alpha), device="cpu").long()


def average_time(x: Tensor, length: int) -> Tensor:
    """`(B, C, T, H, W)` averaged over `length` equal spans of time; the mean over time stays.

    5 frames to 2 times:  [0 1 2/2][2/2 3 4], the third counts half in both.
    """
    span = x.shape[2] / length
    starts = torch.arange(length, device=x.device).unsqueeze(1) * span
    frames = torch.arange(x.shape[2], device=x.device)
    shares = (frames + 1).minimum(starts + span) - frames.maximum(starts)
    return torch.einsum("st,bcthw->bcshw", shares.clamp(min=0).to(x.dtype) / span, x)


class FuseFastToSlow(nn.Module):
    """The lateral connection: appends the fast map, strided in time, to the slow one."""

    folds = (("conv_f2s", "bn"),)

    def __init__(self, dim_fast: int, ratio: int, kernel: int, alpha: int):
        super().__init__()
        self.conv_f2s = conv(dim_fast, dim_fast * ratio, (kernel, 1, 1), (alpha, 1, 1))
        self.bn = nn.BatchNorm3d(dim_fast * ratio)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        slow, fast = xs
        return [torch.cat([slow, self.relu(self.bn(self.conv_f2s(fast)))], dim=1), fast]


class SlowFast(Backbone):
    """A slow pathway on every alpha-th frame and a thin fast one on all, joined after each stage.

    Takes `(B, 3, T, H, W)`, any `T >= 1`, and returns logits `(B, K)`; see `PathwayHead` for
    `head_window`, with which evaluation on large crops returns `(B, P, K)`.

    `alpha` is fast over slow frames, `beta_inv` slow over fast channels, `fusion_ratio` the width
    of the lateral connections over their fast stage.  `bottleneck=None` is the usual block of
    `depth`.  Stages take one `(slow, fast)` pair each: `temporal_blocks` is how many blocks keep
    the stage's temporal kernel, `strides` and `dilations` are spatial.  `nonlocals` says behind
    which blocks non-local ones stand.
    """

    archs = ("slowfast",)
    classifier = "head.projection"
    depth_order = (r"s(\d)",)

    def __init__(
        self,
        depth: int = 50,
        num_classes: int = 400,
        alpha: int = 4,
        beta_inv: int = 8,
        fusion_ratio: int = 2,
        fusion_kernel: int = 7,
        width: int = 64,
        num_groups: int = 1,
        dropout: float = 0.5,
        bottleneck: bool | None = None,
        stride_1x1: bool = False,
        temporal_blocks: Pairs = ((3,), (4,), (6,), (3,)),
        strides: Pairs = ((1,), (2,), (2,), (2,)),
        dilations: Pairs = ((1,), (1,), (1,), (1,)),
        nonlocals: NonLocals | None = None,
        head_window: tuple[int, int] | None = None,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = False,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        _check(depth, alpha, beta_inv, fusion_kernel, width)
        bottleneck = depth >= 50 if bottleneck is None else bottleneck
        nonlocals = nonlocals or NonLocals()
        transform = partial(Bottleneck, stride_1x1=stride_1x1) if bottleneck else Basic
        expansion = Bottleneck.expansion if bottleneck else Basic.expansion
        fuse = partial(FuseFastToSlow, ratio=fusion_ratio, kernel=fusion_kernel, alpha=alpha)
        self.alpha = alpha

        thin = (1, beta_inv)  # by which each pathway is thinner
        dims = [width // thin[p] for p in range(2)]
        self.s1 = StemStage(*(Stem(dims[p], TEMPORAL_KERNELS[0][p]) for p in range(2)))
        self.s1_fuse = fuse(dims[1])
        for i, num_blocks in enumerate(BLOCKS_PER_STAGE[depth]):
            dims_in = dims[0] + dims[1] * fusion_ratio, dims[1]
            inner = [width * num_groups * 2**i // thin[p] for p in range(2)]
            dims = [width * expansion * 2**i // thin[p] for p in range(2)]
            kernels = [
                temporal_kernels([kernel], of_pathway(temporal_blocks[i], p), num_blocks)
                for p, kernel in enumerate(TEMPORAL_KERNELS[i + 1])
            ]
            pathways = [
                make_blocks(
                    transform,
                    (dims_in[p], inner[p], dims[p]),
                    kernels[p],
                    of_pathway(strides[i], p),
                    of_pathway(dilations[i], p),
                    num_groups,
                )
                for p in range(2)
            ]
            behind = [nonlocals.blocks(i, p, dims[p], num_blocks) for p in range(2)]
            stage = ResStage(*pathways, nonlocals=behind, act_checkpoint=act_checkpoint)
            self.add_module(f"s{i + 2}", stage)
            if i < 3:
                self.add_module(f"s{i + 2}_fuse", fuse(dims[1]))
        self.head = PathwayHead(sum(dims), num_classes, dropout, head_window)
        init_weights(self, fc_init_std, zero_init_final_bn)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> SlowFast:
        return cls(
            alpha=cfg.SLOWFAST.ALPHA,
            beta_inv=cfg.SLOWFAST.BETA_INV,
            fusion_ratio=cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO,
            fusion_kernel=cfg.SLOWFAST.FUSION_KERNEL_SZ,
            temporal_blocks=cfg.RESNET.NUM_BLOCK_TEMP_KERNEL,
            strides=cfg.RESNET.SPATIAL_STRIDES,
            dilations=cfg.RESNET.SPATIAL_DILATIONS,
            **shared_arguments(cfg),
        )

    def encode(self, clip: Tensor) -> list[Tensor]:
        slow = slow_indices(clip.shape[2], self.alpha).to(clip.device)
        return self._maps(clip.index_select(2, slow), clip)

    def to_map(self, encoded: list[Tensor]) -> Tensor:
        """Both maps as one, the fast one averaged down to the times of the slow one."""
        slow, fast = encoded
        return torch.cat([slow, average_time(fast, slow.shape[2])], dim=1)

    def classify(self, encoded: list[Tensor]) -> Tensor:
        return self.head(encoded)

    def forward_pathways(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Logits from the frames of both pathways, `(B, 3, ceil(T / alpha), H, W)` and all `T`."""
        return self.classify(self._maps(slow, fast))

    def _maps(self, slow: Tensor, fast: Tensor) -> list[Tensor]:
        if slow.shape[2] != ceil(fast.shape[2] / self.alpha):
            raise ValueError(
                f"{slow.shape[2]} slow frames do not go with {fast.shape[2]} fast ones; "
                f"alpha={self.alpha} needs {ceil(fast.shape[2] / self.alpha)}"
            )
        xs = self.s1_fuse(self.s1([slow, fast]))
        xs = self.s2_fuse(self.s2(xs))
        xs = self.s3_fuse(self.s3(xs))
        xs = self.s4_fuse(self.s4(xs))
        return self.s5(xs)


def _check(depth: int, alpha: int, beta_inv: int, fusion_kernel: int, width: int) -> None:
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"depth={depth}; SlowFast has {', '.join(map(str, BLOCKS_PER_STAGE))}")
    if alpha < 1 or beta_inv < 1 or width % beta_inv:
        raise ValueError(
            f"alpha={alpha} and beta_inv={beta_inv} must be positive and beta_inv divide "
            f"width={width}"
        )
    if fusion_kernel % 2 == 0:
        # An odd kernel padded by its half gives ceil(T / alpha) frames, an even one does not.
        raise ValueError(f"fusion_kernel={fusion_kernel} must be odd")
