"""2D and 3D convolutions in the form that is fastest on their device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import ge, gt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_UNTOUCHED = (1, 1, 0)  # kernel, stride and padding of a dimension that a convolution leaves alone
_fast = True


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Inside, all run as those of PyTorch: the baseline of benchmarks and tests."""
    global _fast
    before, _fast = _fast, False
    try:
        yield
    finally:
        _fast = before


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`, computed in the form of `FORMS` that is fastest on the device.

        plain    conv3d
        volume   conv3d in channels-last memory
        frames   kernel (1, k, k): 2D convolution of all frames, (N*T, C, H, W)
        taps     odd kernel, any k x k: each tap as `frames`, then shifted in time and summed
        time     kernel (k, 1, 1): 2D convolution over time and place, (N, C, T, H*W)

    In channels-last memory all are views.  `form` is the choice; `tools/benchmark.py layers` times
    it against the others.  It was measured on CPUs only: other devices run `plain`.
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
        self._overlaps = any(map(gt, self.kernel_size[1:], self.stride[1:]))
        time = self.kernel_size[0], self.stride[0], self.dilation[0]
        self._keeps_length = time == (2 * self.padding[0] + 1, 1, 1)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The convolution of `(N, C, T, H, W)`; `weight` stands in for the layer's own."""
        return self.compute(x, self.weight if weight is None else weight, self.form(x))

    def compute(self, x: Tensor, weight: Tensor, form: str) -> Tensor:
        """The convolution in one of `self.forms`."""
        if form != "plain":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return FORMS[form](self, x, weight)

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that compute this convolution, all with the same result."""
        fits = {"frames": self._leaves_time, "taps": self._keeps_length, "time": self._leaves_space}
        also = [form for form, does in fits.items() if does] if self.padding_mode == "zeros" else []
        return ("plain", "volume", *also)

    def form(self, x: Tensor) -> str:
        """The form of `self.forms` that is fastest for `x` where it is."""
        if not _fast or x.device.type != "cpu" or self.padding_mode != "zeros":
            return "plain"
        trains, dense = torch.is_grad_enabled(), self.groups == 1
        if self._leaves_space and not self._leaves_time:
            # A single product has the faster gradient of a large weight.
            large = dense and self.in_channels * self.out_channels > 2**16
            return "taps" if trains and large and self._keeps_length else "time"
        if self._leaves_time and not (dense and self._overlaps and self._suits_volume(x)):
            return "frames"
        depthwise = trains and self.groups == self.in_channels
        if self._keeps_length and (depthwise or dense and not self._suits_volume(x)):
            return "taps"
        return "volume"

    def _suits_volume(self, x: Tensor) -> bool:
        """Whether conv3d is right and fast for `x` (torch 2.13)."""
        # oneDNN's bf16 conv3d gives NaN gradients of weights larger than the clip ...
        fits = all(map(ge, x.shape[2:], self.kernel_size))
        # ... and of single clips only large ones come to oneDNN.
        return fits and (len(x) > 1 or min(self.kernel_size[1:]) > 3 or x[..., 0].numel() > 20480)

    def _plain(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._conv_forward(x, weight.contiguous(), self.bias)

    def _volume(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._conv_forward(x, weight, self.bias)

    def _frames(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._over_frames(x, weight.squeeze(2), self.bias)

    def _taps(self, x: Tensor, weight: Tensor) -> Tensor:
        # The centre tap, which no clip is too short for, brings the bias.
        num_taps, bias = weight.shape[2], self.bias
        if self.groups == 1:  # one product for all taps
            joint = weight.movedim(2, 0).flatten(0, 1)
            sides = (len(joint) - len(weight)) // 2
            bias = None if bias is None else F.pad(bias, (sides, sides))
            taps = self._over_frames(x, joint, bias).chunk(num_taps, dim=1)
        else:
            biases = [bias if i == num_taps // 2 else None for i in range(num_taps)]
            pairs = zip(weight.unbind(2), biases, strict=True)
            taps = [self._over_frames(x, tap, bias) for tap, bias in pairs]
        return _sum_shifted(taps)

    def _time(self, x: Tensor, weight: Tensor) -> Tensor:
        geometry = (self.stride[0], 1), (self.padding[0], 0), (self.dilation[0], 1), self.groups
        # Reshaped with the channels behind: else a batch of one gets strides of no known layout,
        # and PyTorch copies it into plain memory, here and where the network concatenates.
        flat = x.movedim(1, -1).flatten(2, 3).movedim(-1, 1)
        y = F.conv2d(flat, weight.squeeze(4), self.bias, *geometry)
        return y.movedim(1, -1).unflatten(2, x.shape[3:]).movedim(-1, 1)

    def _over_frames(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        frames = _frames_of(x)
        geometry = self.stride[1:], self.padding[1:], self.dilation[1:], self.groups
        return _clips_of(_conv2d(frames, weight, bias, *geometry), x.shape[2])


FORMS: dict[str, Callable[[Conv3d, Tensor, Tensor], Tensor]] = {
    "plain": Conv3d._plain,
    "volume": Conv3d._volume,
    "frames": Conv3d._frames,
    "taps": Conv3d._taps,
    "time": Conv3d._time,
}


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` of `(N, C, H, W)`: `plain`, or on the CPU as the `frames` of a `Conv3d`.

    Not where it trains: PyTorch sums the statistics of channels-last BatchNorms in 32 bits, which
    moves the logits of a TSM in training by 1e-4 of their scale.
    """

    forms = ("plain", "frames")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The convolution; `weight` stands in for the layer's own."""
        return self.compute(x, self.weight if weight is None else weight, self.form(x))

    def compute(self, x: Tensor, weight: Tensor, form: str) -> Tensor:
        """The convolution in one of `forms`; zeros are padded in `frames`."""
        if self.padding_mode != "zeros":
            return self._conv_forward(x, weight.contiguous(), self.bias)
        geometry = self.stride, self.padding, self.dilation, self.groups
        if form == "plain":
            return _conv2d(x, weight.contiguous(), self.bias, *geometry, channels_last=False)
        x = x.contiguous(memory_format=torch.channels_last)
        return _conv2d(x, weight, self.bias, *geometry)

    def form(self, x: Tensor) -> str:
        """The form of `forms` that is fastest for `x` where it is."""
        if not _fast or x.device.type != "cpu" or self.padding_mode != "zeros":
            return "plain"
        return "plain" if torch.is_grad_enabled() else "frames"


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    channels_last: bool = True,
) -> Tensor:
    """`F.conv2d`, fast in channels-last memory, and right on maps of one column."""
    pointwise = weight.shape[2:] == (1, 1) == stride and padding == (0, 0)
    if channels_last and groups == 1 and pointwise:
        if x[:, 0].numel() <= 1024:  # too few positions to repay oneDNN's packing of the weight
            return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        if len(x) < 16:  # PyTorch gives oneDNN, the faster, such batches only if dilated
            dilation = (2, 2)
    # One column that gives one: there are no steps to take, and where some are told, oneDNN's bf16
    # gradient of the weight is wrong, or ends the process (2.13, CPU).
    if x.shape[3] == 1 < stride[1] and 2 * padding[1] <= dilation[1] * (weight.shape[3] - 1):
        stride = stride[0], 1
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


# Where a size is 1, `flatten` and `unflatten` (each the other's gradient) leave strides of no known
# layout, and PyTorch's backward pass of BatchNorm then reads its clip or its gradient in a wrong
# order (2.13, CPU); `squeeze` and `unsqueeze` leave those of channels-last memory.


def _frames_of(x: Tensor) -> Tensor:
    """Clips (N, C, T, H, W) as frames (N * T, C, H, W)."""
    if x.shape[2] == 1:
        return x.squeeze(2)
    frames = x.transpose(1, 2)
    return frames.squeeze(0) if len(x) == 1 else frames.flatten(0, 1)


def _clips_of(y: Tensor, num_frames: int) -> Tensor:
    """Frames (N * T, C, H, W) as clips (N, C, T, H, W)."""
    if num_frames == 1:
        return y.unsqueeze(2)
    if len(y) == num_frames:
        return y.unsqueeze(0).transpose(1, 2)
    return y.unflatten(0, (-1, num_frames)).transpose(1, 2)


def _sum_shifted(taps: Sequence[Tensor]) -> Tensor:
    """The sum of an odd number of maps, each one frame later than the next, zeros moving in."""
    num_frames, centre = taps[0].shape[2], len(taps) // 2
    total = taps[centre].contiguous(memory_format=torch.channels_last_3d)
    for i, tap in enumerate(taps):
        shift = centre - i
        if shift == 0 or abs(shift) >= num_frames:  # such a map lies wholly outside the clip
            continue
        if total.requires_grad:
            total = total + F.pad(tap, (0, 0, 0, 0, shift, -shift))
        else:  # in place
            kept = num_frames - abs(shift)
            part = total.narrow(2, max(shift, 0), kept)
            part += tap.narrow(2, max(-shift, 0), kept)
    return total
