"""X3D networks XS to L (Feichtenhofer 2020, arXiv:2004.04730)."""

from __future__ import annotations

from functools import partial
from math import ceil

from torch import Tensor, nn

from slowfast.config import CfgNode, input_size
from slowfast.layers.alter import Alter, altered
from slowfast.layers.drop_path import DropPath
from slowfast.layers.squeeze_excitation import SqueezeExcitation, round_width
from slowfast.models.backbone import Backbone
from slowfast.models.resnet3d import (
    PathwayHead,
    ResBlock,
    ResStage,
    StemStage,
    conv,
    head_window,
    init_weights,
)

BLOCKS = (1, 2, 5, 3)  # per stage, before the depth factor


class X3DStem(nn.Module):
    """`(B, 3, T, H, W)` to `(B, dim, T, H/2, W/2)`: 1x3x3, then 5x1x1 within each channel."""

    folds = (("conv", "bn"),)

    def __init__(self, dim: int):
        super().__init__()
        self.conv_xy = conv(3, dim, (1, 3, 3), (1, 2, 2))
        self.conv = conv(dim, dim, (5, 1, 1), groups=dim)
        self.bn = nn.BatchNorm3d(dim)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(self.conv_xy(x))))


class InvertedBottleneck(nn.Module):
    """Residual branch 1x1x1, T x 3 x 3, 1x1x1, wide in the middle; a `branch2` of `ResBlock`.

    The middle convolution works in `groups`, one per channel in the published networks; behind it
    comes squeeze-and-excitation (if `excite`) and a Swish.  In training the branch is dropped with
    probability `drop_path`.
    """

    last_norm = "c_bn"
    folds = (("adaconv", "a", "a_bn"), ("b", "b_bn"), ("c", "c_bn"))

    def __init__(
        self,
        dim_in: int,
        dim_inner: int,
        dim_out: int,
        temporal_kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        stride_1x1: bool = False,
        excite: bool = True,
        drop_path: float = 0.0,
    ):
        super().__init__()
        first, second = (stride, 1) if stride_1x1 else (1, stride)
        kernel = (temporal_kernel, 3, 3)
        self.adaconv = Alter(dim_in)
        self.a = conv(dim_in, dim_inner, (1, 1, 1), (1, first, first))
        self.a_bn = nn.BatchNorm3d(dim_inner)
        self.relu = nn.ReLU(inplace=True)
        self.b = conv(dim_inner, dim_inner, kernel, (1, second, second), dilation, groups)
        self.b_bn = nn.BatchNorm3d(dim_inner)
        self.se = SqueezeExcitation(dim_inner) if excite else nn.Identity()
        self.swish = nn.SiLU(inplace=True)
        self.c = conv(dim_inner, dim_out, (1, 1, 1))
        self.c_bn = nn.BatchNorm3d(dim_out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a_bn(altered(self.a, self.adaconv, x)))
        x = self.swish(self.se(self.b_bn(self.b(x))))
        return self.drop_path(self.c_bn(self.c(x)))


class X3DHead(PathwayHead):
    """Widens, pools, widens again and classifies; the second widening comes behind the pooling.

    `widen` is the first of these, a call the rest; `window` is that of `PathwayHead`.
    """

    folds = (("conv_5", "conv_5_bn"), ("lin_5", "lin_5_bn"))

    def __init__(
        self,
        dim_in: int,
        dim_inner: int,
        dim_out: int,
        num_classes: int,
        dropout: float = 0.5,
        window: tuple[int, int] | None = None,
        norm_after_pool: bool = False,
    ):
        super().__init__(dim_out, num_classes, dropout, window)
        self.conv_5 = conv(dim_in, dim_inner, (1, 1, 1))
        self.conv_5_bn = nn.BatchNorm3d(dim_inner)
        self.lin_5 = conv(dim_inner, dim_out, (1, 1, 1))
        self.lin_5_bn = nn.BatchNorm3d(dim_out) if norm_after_pool else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def widen(self, x: Tensor) -> Tensor:
        """The last map before pooling, `(B, dim_inner, T, H, W)`."""
        return self.relu(self.conv_5_bn(self.conv_5(x)))

    def forward(self, widened: Tensor) -> Tensor:
        return self.classify(self.widen_again(self.pool(widened)))

    def widen_again(self, x: Tensor) -> Tensor:
        """What is classified, of the pooled map."""
        return self.relu(self.lin_5_bn(self.lin_5(x)))


class X3D(Backbone):
    """Thin residual networks of channel-wise 3x3x3 convolutions, expanded by a factor per axis.

    Takes `(B, 3, T, H, W)`, any `T >= 1`, and returns logits `(B, K)`; see `PathwayHead` for
    `head_window`, with which evaluation on large crops returns `(B, P, K)`.

    `dim_c1` channels leave the stem, doubling from stage to stage (also at the first one with
    `scale_res2`), all times `width_factor` and rounded to multiples of 8.  The stages have 1, 2, 5
    and 3 blocks times `depth_factor`, rounded up: 2.2 makes XS, S and M, 5.0 makes L.
    `bottleneck_factor` is the middle width of a block over its outer one.  Every second block has
    squeeze-and-excitation.  `channelwise=False` makes the 3x3x3 convolutions work in `num_groups`.
    `drop_connect` is the probability to drop a block of the last stage, 2/5 of it at the first.
    """

    archs = ("x3d",)
    classifier = "head.projection"
    depth_order = (r"s(\d)",)

    def __init__(
        self,
        num_classes: int = 400,
        width_factor: float = 2.0,
        depth_factor: float = 2.2,
        bottleneck_factor: float = 2.25,
        dim_c1: int = 12,
        dim_c5: int = 2048,
        scale_res2: bool = False,
        norm_lin5: bool = False,
        channelwise: bool = True,
        num_groups: int = 1,
        stride_1x1: bool = False,
        dropout: float = 0.5,
        drop_connect: float = 0.0,
        head_window: tuple[int, int] | None = None,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = False,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        basis = round_width(2 * dim_c1) if scale_res2 else dim_c1
        dim = round_width(dim_c1 * width_factor)
        self.s1 = StemStage(X3DStem(dim))
        for i, num_blocks in enumerate(BLOCKS):
            dim_out = round_width(basis * width_factor)
            dim_inner = int(bottleneck_factor * dim_out)
            blocks = [
                ResBlock(
                    partial(
                        InvertedBottleneck,
                        stride_1x1=stride_1x1,
                        excite=n % 2 == 0,
                        drop_path=drop_connect * (i + 2) / (len(BLOCKS) + 1),
                    ),
                    dim if n == 0 else dim_out,
                    dim_inner,
                    dim_out,
                    temporal_kernel=3,
                    stride=2 if n == 0 else 1,
                    groups=dim_inner if channelwise else num_groups,
                )
                for n in range(ceil(depth_factor * num_blocks))
            ]
            self.add_module(f"s{i + 2}", ResStage(blocks, act_checkpoint=act_checkpoint))
            dim, basis = dim_out, round_width(2 * basis)
        self.head = X3DHead(dim, dim_inner, dim_c5, num_classes, dropout, head_window, norm_lin5)
        init_weights(self, fc_init_std, zero_init_final_bn)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> X3D:
        return cls(
            num_classes=cfg.MODEL.NUM_CLASSES,
            width_factor=cfg.X3D.WIDTH_FACTOR,
            depth_factor=cfg.X3D.DEPTH_FACTOR,
            bottleneck_factor=cfg.X3D.BOTTLENECK_FACTOR,
            dim_c1=cfg.X3D.DIM_C1,
            dim_c5=cfg.X3D.DIM_C5,
            scale_res2=cfg.X3D.SCALE_RES2,
            norm_lin5=cfg.X3D.BN_LIN5,
            channelwise=cfg.X3D.CHANNELWISE_3x3x3,
            num_groups=cfg.RESNET.NUM_GROUPS,
            stride_1x1=cfg.RESNET.STRIDE_1X1,
            dropout=cfg.MODEL.DROPOUT_RATE,
            drop_connect=cfg.MODEL.DROPCONNECT_RATE,
            head_window=head_window(cfg, ceil(input_size(cfg) / 32)),
            fc_init_std=cfg.MODEL.FC_INIT_STD,
            zero_init_final_bn=cfg.RESNET.ZERO_INIT_FINAL_BN,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    @property
    def map_dim(self) -> int:
        return self.head.conv_5.out_channels

    def encode(self, clip: Tensor) -> Tensor:
        xs = self.s1([clip])
        for stage in (self.s2, self.s3, self.s4, self.s5):
            xs = stage(xs)
        return self.head.widen(xs[0])

    def classify(self, encoded: Tensor) -> Tensor:
        return self.head(encoded)

    def classify_map(self, features: Tensor) -> Tensor:
        return super().classify_map(self.head.widen_again(features))
