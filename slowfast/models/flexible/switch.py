"""The layer that a converted network has in the place of each private one."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from slowfast.layers.alter import Alter, Gain
from slowfast.models.flexible.rates import Rates


class RateSwitch(nn.Module):
    """A private copy of `layer` per rate; forward runs the active one.

    An `Alter` becomes a fresh `Gain` per rate.  Other attributes (`weight`, `eps`, ...) are those
    of the active copy: networks such as `nn.TransformerEncoderLayer` look into their norms.
    """

    def __init__(self, layer: nn.Module, rates: Rates) -> None:
        super().__init__()
        self.rates = rates
        self.copies = nn.ModuleDict({tag: _private_copy(layer) for tag in rates.tags})
        self.train(layer.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.copies[self.rates.active](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "copies" not in self.__dict__.get("_modules", ()):
                raise
        return getattr(self.copies[self.rates.active], name)


def _private_copy(layer: nn.Module) -> nn.Module:
    if isinstance(layer, Alter):
        return Gain(layer.dim, layer.kernel_dims)
    return copy.deepcopy(layer)
