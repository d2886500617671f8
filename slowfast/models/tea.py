"""TEA: temporal excitation and aggregation in Res2Net blocks (Li et al. 2020, arXiv:2004.01398)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slowfast.layers.shift import TemporalDepthwise
from slowfast.models.resnet2d import Block, conv
from slowfast.models.tsn import TSN

SCALES = 4  # groups of channels in a Res2Net block
BASE_WIDTH = 26  # channels of a group where the block has 64 planes


class MotionExcitation(nn.Module):
    """`x * (1/2 + gate)`: channels in which neighbouring frames differ count more.

    The difference is that of a 3x3 convolution of frame t+1 to frame t, in 1 / `reduction` of the
    channels and averaged over the frame; that of the last frame is zero.
    """

    folds = (("conv1", "bn1"), ("conv3", "bn3"))

    def __init__(self, dim: int, reduction: int = 16):
        super().__init__()
        squeezed = max(dim // reduction, 1)
        self.conv1 = conv(dim, squeezed, 1)
        self.bn1 = nn.BatchNorm2d(squeezed)
        self.conv2 = conv(squeezed, squeezed, 3, groups=squeezed)
        self.conv3 = conv(squeezed, dim, 1)
        self.bn3 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        squeezed = self.bn1(self.conv1(x))
        # Averaging is linear: subtract the averages, not the maps.
        before, after = (
            frames.mean((2, 3), keepdim=True).unflatten(0, (-1, num_frames))
            for frames in (squeezed, self.conv2(squeezed))
        )
        motion = after[:, 1:] - before[:, :-1]
        motion = torch.cat([motion, torch.zeros_like(before[:, :1])], dim=1).flatten(0, 1)
        return x * (self.bn3(self.conv3(motion)).sigmoid() + 0.5)


class TEABlock(Block):
    """1x1, motion excitation, four groups of channels with temporal and 3x3 convolutions, 1x1.

    Each group but the last joins the one before it, the third thus sees three frames on either
    side; not so in the first block of a stage, where the stride is and they stay `parallel`.
    """

    last_norm = "bn3"
    folds = (
        ("adaconv", "conv1", "bn1"),
        *((f"convs.{i}", f"bns.{i}") for i in range(SCALES - 1)),
        ("conv3", "bn3"),
    )

    def __init__(self, dim_in: int, planes: int, stride: int = 1, parallel: bool = False):
        width = max(planes * BASE_WIDTH // 64, 1)
        dim_out = 4 * planes
        super().__init__(conv(dim_in, SCALES * width, 1), dim_out, stride)
        self.parallel = parallel
        self.me = MotionExcitation(SCALES * width)
        groups = range(SCALES - 1)
        self.shifts = nn.ModuleList(TemporalDepthwise(width) for _ in groups)
        self.shifts.append(TemporalDepthwise(width, shift=True))
        self.convs = nn.ModuleList(conv(width, width, 3, stride) for _ in groups)
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in groups)
        self.pool = nn.AvgPool2d(3, stride, 1) if parallel else nn.Identity()
        self.conv3 = conv(SCALES * width, dim_out, 1)
        self.bn3 = nn.BatchNorm2d(dim_out)

    def rest(self, x: Tensor, num_frames: int) -> Tensor:
        *groups, last = self.me(x, num_frames).chunk(SCALES, dim=1)
        done: list[Tensor] = []
        for x, shift, conv2, bn2 in zip(groups, self.shifts, self.convs, self.bns, strict=False):
            if done and not self.parallel:
                x = x + done[-1]
            done.append(self.relu(bn2(conv2(shift(x, num_frames)))))
        done.append(self.pool(self.shifts[-1](last, num_frames)))
        return self.bn3(self.conv3(torch.cat(done, dim=1)))


class TEA(TSN):
    """A Res2Net with motion excitation and temporal convolutions; `options` are those of `TSN`.

    The published network is Res2Net-50 26w x 4s, and its FFN alters no weights (`FFN.ALTER False`);
    with `True` each block's input is altered, as in TSM.
    """

    archs = ("tea",)
    depths = (50, 101, 152)

    def __init__(self, depth: int = 50, num_classes: int = 400, **options: Any):
        super().__init__(depth, num_classes, make_block=_make_block, **options)


def _make_block(dim_in: int, planes: int, stride: int, index: int) -> TEABlock:
    return TEABlock(dim_in, planes, stride, parallel=index == 0)
