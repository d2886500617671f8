"""Makes any network frame-flexible, in place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from slowfast.layers.alter import Alter
from slowfast.models.flexible.names import check_names, use_published_names
from slowfast.models.flexible.rates import Rates
from slowfast.models.flexible.switch import RateSwitch

# Every batch, sync-batch and instance norm is a _NormBase; subclasses count too.
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def make_frame_flexible(net: nn.Module, rates: Rates, alter: bool = True) -> nn.Module:
    """`net` itself, with every norm and (if `alter`) every `Alter` mark switched by `rates`.

    Works in place on any module.  A layer that is used in two places stays one shared layer.  In
    the state dict `bn` becomes `bn_4`, `bn_8`, ... and `bns.0` becomes `bns_4.0`, the published
    names; a plain one (`bn`) fills every copy.  Raises ValueError, and leaves `net` as it is,
    if it has nothing to convert, is converted already, or owns a name that a copy would get.
    """
    layers = _private_layers(net, alter)
    _check_convertible(net, layers, rates)
    like = next(net.parameters(), torch.empty(0))
    switches: dict[nn.Module, RateSwitch] = {}
    for path, layer in layers.items():
        if layer not in switches:
            switches[layer] = RateSwitch(layer, rates)
            if isinstance(layer, Alter):
                switches[layer].to(like.device, like.dtype)
        net.set_submodule(path, switches[layer])
    use_published_names(net)
    return net


def _private_layers(net: nn.Module, alter: bool) -> dict[str, nn.Module]:
    """Path -> layer for all that becomes private; a layer in two places has two paths."""
    kinds = (*NORMS, Alter) if alter else NORMS
    found: dict[str, nn.Module] = {}
    inside = None
    for path, module in net.named_modules(remove_duplicate=False):
        if inside is not None and path.startswith(inside):
            continue  # a norm made of norms is one private layer
        if isinstance(module, kinds):
            found[path], inside = module, path + "."
    return found


def _check_convertible(net: nn.Module, layers: dict[str, nn.Module], rates: Rates) -> None:
    name = type(net).__name__
    if any(isinstance(module, RateSwitch) for module in net.modules()):
        raise ValueError(f"{name} is frame-flexible already; convert a network once")
    if "" in layers:
        raise ValueError(f"{name} is itself a single private layer; convert the network around it")
    if not layers:
        raise ValueError(
            f"{name} has no norm layer and no Alter mark, so nothing could be private to a rate"
        )
    check_names(net, layers, rates.tags)
