"""Residual video networks of one pathway: C2D, I3D, Slow, with or without non-local blocks.

I3D (Carreira and Zisserman 2017, arXiv:1705.07750), C2D and non-local networks (Wang et al. 2018,
arXiv:1711.07971), Slow (Feichtenhofer et al. 2019, arXiv:1812.03982).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
    init_weights,
    make_blocks,
    of_pathway,
    shared_arguments,
    temporal_kernels,
)

_IMAGE, _INFLATED = ((1,),) * 5, ((5,), (3,), (3, 1), (3, 1), (1, 3))
# Temporal kernels of the stem and the four stages, each repeated over the blocks of its stage.
TEMPORAL_KERNELS = {
    "slow": ((1,), (1,), (1,), (3,), (3,)),
    "c2d": _IMAGE,
    "slow_c2d": _IMAGE,
    "2d": _IMAGE,
    "i3d": _INFLATED,
    "slow_i3d": _INFLATED,
}
HALVES_TIME = ("c2d", "i3d")  # by pooling behind the first stage


class PairPool(nn.Module):
    """The larger of each two frames, `(B, C, T, H, W)` to `T // 2`; a single frame stays."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d((2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) if x.shape[2] > 1 else x


class ResNet(Backbone):
    """Takes `(B, 3, T, H, W)`, any `T >= 1`, and returns logits `(B, K)`.

    See `PathwayHead` for `head_window`, with which evaluation on large crops returns `(B, P, K)`.
    `arch` sets the temporal kernels: none in c2d, slow_c2d and 2d (an image network, averaged over
    the frames), from the third stage on in slow, in every stage in i3d and slow_i3d.  c2d and i3d
    halve the frames behind the first stage.

    `bottleneck=None` is the usual block of `depth`.  Per stage, `temporal_blocks` is how many
    blocks keep the stage's temporal kernel, `strides` and `dilations` are spatial; `nonlocals`
    says behind which blocks non-local ones stand.
    """

    archs = tuple(TEMPORAL_KERNELS)
    classifier = "head.projection"
    depth_order = (r"s(\d)",)

    def __init__(
        self,
        depth: int = 50,
        num_classes: int = 400,
        arch: str = "slow",
        width: int = 64,
        num_groups: int = 1,
        dropout: float = 0.5,
        bottleneck: bool | None = None,
        stride_1x1: bool = False,
        temporal_blocks: Sequence[int] | None = None,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        nonlocals: NonLocals | None = None,
        head_window: tuple[int, int] | None = None,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = False,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        _check(depth, arch)
        bottleneck = depth >= 50 if bottleneck is None else bottleneck
        nonlocals = nonlocals or NonLocals()
        transform = partial(Bottleneck, stride_1x1=stride_1x1) if bottleneck else Basic
        expansion = Bottleneck.expansion if bottleneck else Basic.expansion
        cycles, stage_blocks = TEMPORAL_KERNELS[arch], BLOCKS_PER_STAGE[depth]
        temporal_blocks = temporal_blocks or stage_blocks

        dim = width
        self.s1 = StemStage(Stem(dim, cycles[0][0]))
        for i, num_blocks in enumerate(stage_blocks):
            dim_in, dim = dim, width * expansion * 2**i
            blocks = make_blocks(
                transform,
                (dim_in, width * num_groups * 2**i, dim),
                temporal_kernels(cycles[i + 1], temporal_blocks[i], num_blocks),
                strides[i],
                dilations[i],
                num_groups,
            )
            behind = [nonlocals.blocks(i, 0, dim, num_blocks)]
            stage = ResStage(blocks, nonlocals=behind, act_checkpoint=act_checkpoint)
            self.add_module(f"s{i + 2}", stage)
        self.pathway0_pool = PairPool() if arch in HALVES_TIME else nn.Identity()
        self.head = PathwayHead(dim, num_classes, dropout, head_window)
        init_weights(self, fc_init_std, zero_init_final_bn)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> ResNet:
        return cls(
            arch=cfg.MODEL.ARCH or "slow",
            temporal_blocks=[of_pathway(n, 0) for n in cfg.RESNET.NUM_BLOCK_TEMP_KERNEL],
            strides=[of_pathway(n, 0) for n in cfg.RESNET.SPATIAL_STRIDES],
            dilations=[of_pathway(n, 0) for n in cfg.RESNET.SPATIAL_DILATIONS],
            **shared_arguments(cfg),
        )

    def encode(self, clip: Tensor) -> Tensor:
        (x,) = self.s2(self.s1([clip]))
        xs = [self.pathway0_pool(x)]
        for stage in (self.s3, self.s4, self.s5):
            xs = stage(xs)
        return xs[0]

    def classify(self, encoded: Tensor) -> Tensor:
        return self.head([encoded])


def _check(depth: int, arch: str) -> None:
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"depth={depth}; ResNet has {', '.join(map(str, BLOCKS_PER_STAGE))}")
    if arch not in TEMPORAL_KERNELS:
        raise ValueError(f"arch={arch!r} must be one of {', '.join(TEMPORAL_KERNELS)}")
