"""A specialised network with the same outputs that graph formats can express for any batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.layers.alter import Gain, plain_gains
from slowfast.layers.conv import plain_convolutions
from slowfast.layers.resize import resize
from slowfast.layers.shift import TemporalDepthwise, TemporalShift
from slowfast.models import final_logits, to_scores


class Exportable(nn.Module):
    """Logits `(B, K)` or, dense, `(B, P, K)`, and scores `(B, K)` of clips `(B, 3, T, side, side)`.

    `net` is a plain network of one rate, of which a copy is taken.  It sees the clips resized to
    `size` pixels where that is another number, as in testing.  `activation` makes the scores.
    """

    def __init__(self, net: nn.Module, size: int, activation: str = "softmax") -> None:
        super().__init__()
        self.net, self.size = _in_plain_steps(copy.deepcopy(net)).eval(), size
        self.activation = activation

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        clip = resize(clip, (clip.shape[2], self.size, self.size))
        logits = final_logits(self.net(clip))
        return logits, to_scores(logits, self.activation)


@contextmanager
def traceable() -> Iterator[None]:
    """Inside, layers compute in the one form that does not depend on the batch."""
    with torch.no_grad(), plain_convolutions(), plain_gains():
        yield


def _in_plain_steps(net: nn.Module) -> nn.Module:
    """`net` itself, changed: no writing into parts of a map, weights in the usual memory order."""
    for path, module in list(net.named_modules(remove_duplicate=False)):
        if isinstance(module, TemporalShift):
            net.set_submodule(path, _Shift(module.fold_div))
        elif isinstance(module, TemporalDepthwise):
            net.set_submodule(path, _Depthwise(module.conv.weight))
        elif isinstance(module, Gain):
            net.set_submodule(path, _Scale(module.weight))
    for parameter in net.parameters():
        parameter.data = parameter.data.contiguous()
    return net


class _Shift(nn.Module):
    """`temporal_shift` by a copy with zeros at both ends."""

    def __init__(self, fold_div: int) -> None:
        super().__init__()
        self.fold_div = fold_div

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        fold = x.shape[1] // self.fold_div
        ends = _with_ends(x, num_frames, 2 * fold)
        parts = [ends[:, 2:, :fold], ends[:, :-2, fold:], _videos(x, num_frames)[:, :, 2 * fold :]]
        return torch.cat(parts, dim=2).flatten(0, 1)


class _Depthwise(nn.Module):
    """`temporal_depthwise` as a sum of three products."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("taps", weight.detach().squeeze(1).T.contiguous())  # (3, C)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        before, now, after = self.taps.view(3, -1, *[1] * (x.ndim - 2))
        ends = _with_ends(x, num_frames, x.shape[1])
        total = ends[:, :-2] * before + ends[:, 1:-1] * now + ends[:, 2:] * after
        return total.flatten(0, 1)


class _Scale(nn.Module):
    """A gain that no weight could take over, as one product; blocks ask it for `scale`, too."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", 1 + weight.detach().squeeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain

    def scale(self, weight: Tensor) -> Tensor:
        return weight * self.gain


def _videos(x: Tensor, num_frames: int) -> Tensor:
    return x.unflatten(0, (-1, num_frames))


def _with_ends(x: Tensor, num_frames: int, channels: int) -> Tensor:
    """The first channels, with a frame of zeros before the first frame and behind the last."""
    videos = _videos(x, num_frames)[:, :, :channels]
    return F.pad(videos, (*[0, 0] * (x.ndim - 1), 1, 1))


def example(shape: Sequence[int]) -> Tensor:
    """Clips to trace with; two, since a batch of one is special in some layers."""
    return torch.zeros(2, *shape)
