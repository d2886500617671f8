"""A 3D convolution that the CPU computes in its fastest equal form."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_UNTOUCHED = (1, 1, 0)  # kernel, stride and padding of a dimension that a convolution leaves alone
_fast = True


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Inside, every `Conv3d` runs as `nn.Conv3d`: the baseline of benchmarks and tests."""
    global _fast
    before, _fast = _fast, False
    try:
        yield
    finally:
        _fast = before


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`; on the CPU in channels-last memory and, where it factors, as 2D convolutions.

        kernel (1, k, k)              over frames, (N*T, C, H, W)
        kernel (k, 1, 1)              over frames to all k taps at once, shifted in time and summed
        depthwise                     the same, tap by tap
        kernel (k, 1, 1), strided     over time and place, (N, C, T, H*W)
        any other                     `conv3d`, as on every other device

    Measured in fp32 on one AVX-512 core, forward and backward, over `conv3d` in plain memory:
    (1, k, k) 0.6-1.0, (k, 1, 1) 0.1-0.8, depthwise 0.2-0.4 of its time.
    """

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The convolution of `(N, C, T, H, W)`; `weight` stands in for the layer's own."""
        weight = self.weight if weight is None else weight
        if not _fast or x.device.type != "cpu" or self.padding_mode != "zeros":
            return self._conv_forward(x, weight, self.bias)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        (kernel, stride, padding), *space = zip(
            self.kernel_size, self.stride, self.padding, strict=True
        )
        depthwise = self.groups == self.in_channels
        pointwise = space == [_UNTOUCHED, _UNTOUCHED]
        if (kernel, stride, padding) == _UNTOUCHED:
            return self._over_frames(x, weight.squeeze(2), self.bias)
        if (kernel, stride) == (2 * padding + 1, 1) and (depthwise or (pointwise and self.groups == 1)):
            return self._over_taps(x, weight)
        if pointwise:
            return self._over_time(x, weight)
        return self._conv_forward(x, weight, self.bias)

    def _over_frames(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        frames = x.transpose(1, 2).flatten(0, 1)
        dilation = 2 if weight.shape[2:] == (1, 1) and len(frames) < 16 and self.stride[1]==1 else self.dilation[1:]
        geometry = self.stride[1:], self.padding[1:], dilation, self.groups
        y = F.conv2d(frames, weight, bias, *geometry)
        return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)

    def _over_taps(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.groups == 1:
            taps = self._over_frames(x, torch.cat(weight.unbind(2))).chunk(weight.shape[2], dim=1)
        else:
            taps = [self._over_frames(x, tap) for tap in weight.unbind(2)]
        y = _sum_shifted(taps, self.dilation[0])
        return y if self.bias is None else y + self.bias[:, None, None, None]

    def _over_time(self, x: Tensor, weight: Tensor) -> Tensor:
        geometry = (self.stride[0], 1), (self.padding[0], 0), (self.dilation[0], 1), self.groups
        y = F.conv2d(x.flatten(3), weight.squeeze(4), self.bias, *geometry)
        return y.unflatten(3, x.shape[3:])


def _sum_shifted(taps: Sequence[Tensor], step: int) -> Tensor:
    """The sum of maps, each moved in time by `step` from its neighbour, the middle one not at all."""
    num_frames, centre = taps[0].shape[2], len(taps) // 2
    moved = [
        F.pad(tap, (0, 0, 0, 0, -later, later)) if later else tap
        for later, tap in ((step * (i - centre), tap) for i, tap in enumerate(taps))
        if abs(later) < num_frames  # the others lie wholly outside the clip
    ]
    return reduce(torch.add, moved)
