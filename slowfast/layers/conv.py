"""A 3D convolution that the CPU computes in its fastest equal form."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

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

        kernel (1, k, k)            over frames, (N*T, C, H, W)
        kernel (k, 1, 1)            over frames, all k taps at once; then shifted in time and summed
        clip shorter than kernel    the same
        depthwise                   the same, tap by tap
        kernel (k, 1, 1), strided   over time and place, (N, C, T, H*W)
        any other                   `conv3d`

    In channels-last memory these are views.  Forward and backward in fp32 on one AVX-512 core, at
    the sizes of SlowFast R50 and UniFormer-S, they take 0.5-1.0, 0.1-0.8, 0.2-0.4 and 0.5-1.0 of
    `conv3d` in plain memory.  On other devices all run as `conv3d`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Tap by tap and channels last in memory, (k, O, k, k, C), so that no call has to copy it.
        stored = self.weight.data.permute(2, 0, 3, 4, 1).contiguous()
        self.weight.data = stored.permute(1, 4, 0, 2, 3)
        self._leaves_time, *space = (
            geometry == _UNTOUCHED
            for geometry in zip(self.kernel_size, self.stride, self.padding, strict=True)
        )
        self._leaves_space = all(space)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The convolution of `(N, C, T, H, W)`; `weight` stands in for the layer's own."""
        weight = self.weight if weight is None else weight
        if not _fast or x.device.type != "cpu" or self.padding_mode != "zeros":
            return self._conv_forward(x, weight.contiguous(), self.bias)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        if self._leaves_time:
            return self._over_frames(x, weight.squeeze(2), self.bias)
        if self._keeps_length and self.groups == self.in_channels:
            taps = [self._over_frames(x, tap) for tap in weight.unbind(2)]
            return self._with_bias(_sum_shifted(taps))
        # oneDNN's bf16 conv3d makes NaN gradients of 3-frame weights on 2-frame clips (torch 2.13).
        is_short = x.shape[2] < self.kernel_size[0]
        if self._keeps_length and self.groups == 1 and (self._leaves_space or is_short):
            taps = self._over_frames(x, weight.movedim(2, 0).flatten(0, 1))
            return self._with_bias(_sum_shifted(taps.chunk(weight.shape[2], dim=1)))
        if self._leaves_space:
            return self._over_time(x, weight)
        return self._conv_forward(x, weight, self.bias)

    @property
    def _keeps_length(self) -> bool:
        time = self.kernel_size[0], self.stride[0], self.dilation[0]
        return time == (2 * self.padding[0] + 1, 1, 1)

    def _with_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias[:, None, None, None]

    def _over_frames(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        dilation = self.dilation[1:]
        frames = x.transpose(1, 2).flatten(0, 1)
        if self._leaves_space and self.groups == 1:  # a matrix product
            if x[:, 0].numel() <= 1024:  # too few positions to repay oneDNN's packing of the weight
                return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
            if len(frames) < 16:  # PyTorch gives oneDNN, the faster, such batches only if dilated
                dilation = 2
        y = F.conv2d(frames, weight, bias, self.stride[1:], self.padding[1:], dilation, self.groups)
        return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)

    def _over_time(self, x: Tensor, weight: Tensor) -> Tensor:
        geometry = (self.stride[0], 1), (self.padding[0], 0), (self.dilation[0], 1), self.groups
        y = F.conv2d(x.flatten(3), weight.squeeze(4), self.bias, *geometry)
        return y.unflatten(3, x.shape[3:])


def _sum_shifted(taps: Sequence[Tensor]) -> Tensor:
    """The sum of an odd number of maps, each one frame later than the next, zeros moving in."""
    num_frames, centre = taps[0].shape[2], len(taps) // 2
    moved = [
        F.pad(tap, (0, 0, 0, 0, centre - i, i - centre)) if i != centre else tap
        for i, tap in enumerate(taps)
        if abs(i - centre) < num_frames  # the others lie wholly outside the clip
    ]
    return reduce(torch.add, moved)
