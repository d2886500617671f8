"""A plain network of one frame count, without the norms and gains that other weights can take over.

Which layers follow one another directly only their author knows.  A block says so by the names of
its children, in the order of the data:

    folds = (("adaconv", "a", "a_bn"), ("norm", "fc"))  layer before, linear layer, layer behind
    residual_folds = (("adaconv", "pos_embed"),)        x + pos_embed(x), where x leaves the mark

Only the next layer may see what a layer of a chain returns.  A convolution and a norm that are
neighbours in an `nn.Sequential` need no declaration.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.layers.alter import Alter, Gain
from slowfast.layers.conv import Conv2d, Conv3d
from slowfast.layers.norms import convert_norms
from slowfast.models.flexible.frame_flexible import FrameFlexible
from slowfast.models.flexible.rates import Rate
from slowfast.models.flexible.switch import RateSwitch

# By their forward: a subclass with its own (standardised weights, a norm with an activation in
# it) computes something else.
_CONVS = {kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2d, Conv3d)}
_LINEAR = _CONVS | {nn.Linear.forward}
_NORMS = {_BatchNorm.forward, nn.SyncBatchNorm.forward}


def specialize(
    net: nn.Module, num_frames: int, fold_norms: bool = True, size: int = 0
) -> nn.Module:
    """A plain copy of `net` in evaluation mode with the private layers of the nearest rate.

    That is the one nearest to `num_frames`, and to `size` where sizes are trained (0: the largest).

    Its logits are those of `net` at that rate, up to rounding.  Gains go into the weights behind
    them and, with `fold_norms`, BatchNorms into the weights around them; an `nn.Identity` takes
    the place of such a norm, its convolution has a bias.  What no weight can take over stays.
    Without `fold_norms` the state dict has the names of the network before its conversion.  Of a
    network that is not flexible only the norms are folded.  `net` is left as it is.
    """
    net = convert_norms(_at_rate(copy.deepcopy(net), num_frames, size), "batchnorm")
    places = Counter(module for _, module in net.named_modules(remove_duplicate=False))
    shared = {module for module, count in places.items() if count > 1}
    with torch.no_grad():
        for block in list(net.modules()):
            for mark, conv in getattr(block, "residual_folds", ()):
                _fold_residual(block, mark, _child(block, conv))
            for names in _chains(block):
                _fold(block, names, fold_norms, shared)
    return net.eval()


class Specialized:
    """Computes `model(clip)` by the specialised network of the clip's rate, made when first needed.

    The weights are those that `model` has at that moment; one copy per rate is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.nets: dict[str, nn.Module] = {}

    def __call__(self, clip: Tensor) -> Tensor:
        model, tag, rate = self.model, "", Rate(0)
        if isinstance(model, FrameFlexible):
            tag = model.tag_of(clip)
            rate = model.rates.rate(tag)
        if tag not in self.nets:
            self.nets[tag] = specialize(model, rate.num_frames, size=rate.size)
        return self.nets[tag](clip)


def _at_rate(net: nn.Module, num_frames: int, size: int) -> nn.Module:
    """`net` without a wrapper and with the layers of one rate in the place of the switches."""
    net = net.net if isinstance(net, FrameFlexible) else net
    for path, module in list(net.named_modules(remove_duplicate=False)):
        if isinstance(module, RateSwitch):
            net.set_submodule(path, module.copies[module.rates.nearest(num_frames, size)])
    return net


def _chains(block: nn.Module) -> Iterator[Sequence[str]]:
    yield from getattr(block, "folds", ())
    if type(block).forward is nn.Sequential.forward:
        for pair in pairwise(block._modules):
            if any(_runs(_child(block, name), _CONVS) for name in pair):
                yield pair


def _child(block: nn.Module, name: str) -> nn.Module | None:
    """None where the block was built without it."""
    for part in name.split("."):
        block = getattr(block, part, None)
    return block


def _runs(layer: nn.Module | None, forwards: set) -> bool:
    return getattr(type(layer), "forward", None) in forwards


def _fold(block: nn.Module, names: Sequence[str], fold_norms: bool, shared: set) -> None:
    layers = [_child(block, name) for name in names]
    linear = [layer for layer in layers if _runs(layer, _LINEAR)]
    if len(linear) != 1 or not shared.isdisjoint(layers) or "weight" not in linear[0]._parameters:
        return  # among the last are weights that every forward computes anew
    at = layers.index(linear[0])
    for i, take in ((at - 1, _take_input), (at + 1, _take_output)):
        affine = _affine(layers[i], fold_norms) if 0 <= i < len(names) else None
        if affine is not None and take(linear[0], *affine):
            block.set_submodule(names[i], _placeholder(layers[i]))


def _fold_residual(block: nn.Module, mark: str, conv: nn.Module) -> None:
    """x + conv(x) of a gain's output, by a depthwise `conv` that keeps the size: w -> g w + g - 1.

    What the gain adds to the shortcut, the centre of each channel's kernel adds.
    """
    gain = _child(block, mark)
    if isinstance(gain, Gain):
        weight = conv.weight * (1 + gain.weight)
        centre = (slice(None), 0, *(size // 2 for size in conv.kernel_size))
        weight[centre] += gain.weight.flatten()
        _set(conv, weight, conv.bias)
        block.set_submodule(mark, _placeholder(gain))


def _placeholder(layer: nn.Module) -> nn.Module:
    """What passes through in the place of a folded layer; blocks call `scale` of a mark."""
    if isinstance(layer, Gain):
        return Alter(layer.weight.shape[0], layer.weight.ndim - 2)
    return nn.Identity()


def _affine(layer: nn.Module, fold_norms: bool) -> tuple[Tensor, Tensor | None] | None:
    """Scale and shift per channel of a gain or norm in evaluation mode; None of any other layer."""
    if isinstance(layer, Gain):
        return 1 + layer.weight.flatten(), None
    if not fold_norms or not _runs(layer, _NORMS) or layer.running_mean is None:
        return None
    scale = (layer.running_var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -layer.running_mean * scale
    return scale, shift if layer.bias is None else shift + layer.bias


def _take_output(linear: nn.Module, scale: Tensor, shift: Tensor | None) -> bool:
    """Makes `linear` do to its output what the norm behind it did."""
    weight = linear.weight * scale.view(-1, *[1] * (linear.weight.ndim - 1))
    _set(linear, weight, _sum(linear.bias if linear.bias is None else linear.bias * scale, shift))
    return True


def _take_input(linear: nn.Module, scale: Tensor, shift: Tensor | None) -> bool:
    """Makes `linear` do to its input what the layer before it did; False where it cannot.

    It cannot where zeros are padded, since a shift before the padding does not reach them.
    """
    if shift is not None and set(getattr(linear, "padding", ())) - {0}:
        return False
    groups = getattr(linear, "groups", 1)
    weight = linear.weight.unflatten(0, (groups, -1))  # (groups, out, in, ...)
    per_input = groups, 1, weight.shape[2], *[1] * (weight.ndim - 3)
    moved = shift if shift is None else (weight * shift.view(per_input)).flatten(2).sum(2).flatten()
    _set(linear, (weight * scale.view(per_input)).flatten(0, 1), _sum(linear.bias, moved))
    return True


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def _set(linear: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """New parameters in the place of the old ones, the weight in the memory layout it had."""
    old = linear.weight
    linear.weight = nn.Parameter(torch.empty_like(old).copy_(weight), old.requires_grad)
    if bias is not None:
        linear.bias = nn.Parameter(bias.to(old.dtype), old.requires_grad)
