"""Residual image networks on the frames of videos (ResNet, arXiv:1512.03385).

Checkpoint names are torchvision's.  Every layer sees frames `(B * T, C, H, W)`, video by video;
what works across them is told T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from slowfast.layers.alter import Alter, altered
from slowfast.layers.conv import Conv2d
from slowfast.layers.shift import TemporalShift
from slowfast.models.flexible import checkpoint


def conv(dim_in: int, dim_out: int, kernel: int, stride: int = 1, groups: int = 1) -> Conv2d:
    """A bias-free convolution, padded so that only its stride shrinks the map."""
    return Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class Block(nn.Module):
    """`relu(branch(x) + shortcut(x))`; the shortcut is a 1x1 convolution where shapes change.

    The branch starts with `conv1`, on frames shifted in time if there is a `shift`; the shortcut
    sees them unshifted.  A subclass adds the rest of the branch as `rest(x, num_frames)`.
    """

    last_norm: str
    flexible_names = {"downsample.0": "downsample_conv", "downsample.1": "downsample_bn"}

    def __init__(
        self, conv1: Conv2d, dim_out: int, stride: int, shift: TemporalShift | None = None
    ):
        super().__init__()
        dim_in = conv1.in_channels
        self.dim_out = dim_out
        self.shift = shift
        self.adaconv = Alter(dim_in, kernel_dims=2)
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(conv1.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if dim_in != dim_out or stride != 1:
            self.downsample = nn.Sequential(
                conv(dim_in, dim_out, 1, stride), nn.BatchNorm2d(dim_out)
            )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        if self.shift is not None:
            x = self.shift(x, num_frames)
        x = self.relu(self.bn1(altered(self.conv1, self.adaconv, x)))
        return self.relu(self.rest(x, num_frames).add_(shortcut))

    def rest(self, x: Tensor, num_frames: int) -> Tensor:
        raise NotImplementedError


class BasicBlock(Block):
    """3x3, 3x3; the stride is on the first."""

    expansion, last_norm = 1, "bn2"
    folds = (("adaconv", "conv1", "bn1"), ("conv2", "bn2"))

    def __init__(
        self, dim_in: int, planes: int, stride: int = 1, shift: TemporalShift | None = None
    ):
        super().__init__(conv(dim_in, planes, 3, stride), planes, stride, shift)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)

    def rest(self, x: Tensor, num_frames: int) -> Tensor:
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """1x1, 3x3, 1x1; the stride is on the second."""

    expansion, last_norm = 4, "bn3"
    folds = (("adaconv", "conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self, dim_in: int, planes: int, stride: int = 1, shift: TemporalShift | None = None
    ):
        dim_out = planes * self.expansion
        super().__init__(conv(dim_in, planes, 1), dim_out, stride, shift)
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, dim_out, 1)
        self.bn3 = nn.BatchNorm2d(dim_out)

    def rest(self, x: Tensor, num_frames: int) -> Tensor:
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


# (dim_in, planes, stride, index in the stage) -> block
BlockMaker = Callable[[int, int, int, int], Block]


class ResNet2d(nn.Module):
    """Frames `(B * T, 3, H, W)` to maps of features `(B * T, dim, H / 32, W / 32)`, rounded up.

    `make_block` makes the residual blocks, whose planes are 1, 2, 4, 8 times `width` by stage.
    """

    folds = (("conv1", "bn1"),)

    def __init__(
        self,
        make_block: BlockMaker,
        blocks_per_stage: Sequence[int],
        width: int = 64,
        act_checkpoint: bool = False,
    ):
        super().__init__()
        self.act_checkpoint = act_checkpoint
        self.conv1 = conv(3, width, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.num_stages = len(blocks_per_stage)
        self.dim = width
        for i, count in enumerate(blocks_per_stage):
            stage = nn.ModuleList()
            for index in range(count):
                stride = 2 if i and not index else 1
                stage.append(make_block(self.dim, width * 2**i, stride, index))
                self.dim = stage[-1].dim_out
            self.add_module(f"layer{i + 1}", stage)

    def forward(self, frames: Tensor, num_frames: int) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(frames))))
        for i in range(self.num_stages):
            for block in self.get_submodule(f"layer{i + 1}"):
                if self.act_checkpoint and self.training:
                    x = checkpoint(block, x, num_frames)
                else:
                    x = block(x, num_frames)
        return x
