"""Temporal shift (TSM, arXiv:1811.08383) and its learned form (TEA, arXiv:2004.01398).

Both take frames `(B * T, C, ...)`, video by video, with `num_frames` = T, and let nothing pass from
one video to another; zeros come in at the ends.  Memory format and type stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def temporal_shift(x: Tensor, num_frames: int, fold_div: int = 8) -> Tensor:
    """`x` with some of its channels taken from the next frame and some from the one before.

        channels [0, f)     0 1 2 3  ->  1 2 3 -      f = C // fold_div
        channels [f, 2f)    0 1 2 3  ->  - 0 1 2
        the rest            0 1 2 3  ->  0 1 2 3

    Raises ValueError unless `num_frames` divides the length of `x` and `fold_div` is at least 2.
    """
    _check_frames(x, num_frames)
    _check_parts(fold_div)
    return _Shift.apply(x, num_frames, x.shape[1] // fold_div, False)


def temporal_depthwise(x: Tensor, weight: Tensor, num_frames: int) -> Tensor:
    """The depthwise convolution over time of `weight` (C, 1, 3), zero-padded to `num_frames`.

    Raises ValueError unless `num_frames` divides the length of `x`.
    """
    _check_frames(x, num_frames)
    return _Depthwise.apply(x, weight.to(x.dtype), num_frames)


def _check_frames(x: Tensor, num_frames: int) -> None:
    if num_frames < 1 or x.shape[0] % num_frames:
        raise ValueError(
            f"{x.shape[0]} frames are no videos of num_frames={num_frames}; fold (B, T) to B * T "
            "and give that T"
        )


def _check_parts(fold_div: int) -> None:
    if fold_div < 2:
        raise ValueError(f"fold_div={fold_div} must be at least 2: two parts of 1/fold_div move")


class TemporalShift(nn.Module):
    """`temporal_shift` as a layer."""

    def __init__(self, fold_div: int = 8) -> None:
        super().__init__()
        _check_parts(fold_div)
        self.fold_div = fold_div

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        return temporal_shift(x, num_frames, self.fold_div)

    def extra_repr(self) -> str:
        return f"1/{self.fold_div}"


class TemporalDepthwise(nn.Module):
    """`temporal_depthwise` as a layer; starts as identity or, with `shift`, as two half shifts.

    These take the first half of the channels from the next frame, the others from the one before.
    """

    def __init__(self, dim: int, shift: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, padding=1, groups=dim, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[: dim // 2, 0, 2 if shift else 1] = 1
            self.conv.weight[dim // 2 :, 0, 0 if shift else 1] = 1

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        return temporal_depthwise(x, self.conv.weight, num_frames)


def _videos(frames: Tensor, num_frames: int) -> Tensor:
    return frames.unflatten(0, (-1, num_frames))


class _Shift(torch.autograd.Function):
    """One copy of `x`; the gradient takes the opposite way and needs no map of the forward pass.

    Autograd's own gradient of these writes passes over the whole map for each of them: forward and
    backward took 4 to 14 times as long on a CPU, in either memory format.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, num_frames: int, fold: int, reverse: bool) -> Tensor:
        # Channels last, parts of each pixel are slow to write: copy all and write the moved again.
        is_plain = x.is_contiguous()
        y = torch.empty_like(x) if is_plain else x.clone()
        source, target = _videos(x, num_frames), _videos(y, num_frames)
        if is_plain:
            target[:, :, 2 * fold :] = source[:, :, 2 * fold :]
        ahead, behind = slice(0, fold), slice(fold, 2 * fold)
        if reverse:
            ahead, behind = behind, ahead
        target[:, :-1, ahead] = source[:, 1:, ahead]
        target[:, -1, ahead].zero_()
        target[:, 1:, behind] = source[:, :-1, behind]
        target[:, 0, behind].zero_()
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, *ctx.arguments = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        num_frames, fold, reverse = ctx.arguments
        return _Shift.apply(gradient, num_frames, fold, not reverse), None, None, None


class _Depthwise(torch.autograd.Function):
    """A pass over the map per tap, without the two transposed copies that `conv1d` would need."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, num_frames: int) -> Tensor:
        taps = weight.movedim(2, 0).contiguous().view(3, -1, *[1] * (x.ndim - 2))  # (3, C, 1, ...)
        return _sum_of_neighbours(x, taps, num_frames)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, ctx.num_frames = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        given = _Depthwise.apply(gradient, weight.flip(2), ctx.num_frames)
        source, change = _videos(x, ctx.num_frames), _videos(gradient, ctx.num_frames)
        products = change[:, 1:] * source[:, :-1], change * source, change[:, :-1] * source[:, 1:]
        but_channels = [dim for dim in range(source.ndim) if dim != 2]
        taps = [product.sum(but_channels) for product in products]
        return given, torch.stack(taps, dim=1).unsqueeze(1), None


def _sum_of_neighbours(x: Tensor, taps: Tensor, num_frames: int) -> Tensor:
    """What frames t-1, t and t+1, times the taps, add up to."""
    y = x * taps[1]
    source, target = _videos(x, num_frames), _videos(y, num_frames)
    target[:, 1:].addcmul_(source[:, :-1], taps[0])
    target[:, :-1].addcmul_(source[:, 1:], taps[2])
    return y
