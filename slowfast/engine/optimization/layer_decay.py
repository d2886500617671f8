"""How deep a parameter lies, and the learning rate that it has for it."""

import re
from collections.abc import Iterable, Sequence

from torch import nn

from slowfast.models import FrameFlexible


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """The factor on the learning rate of each parameter: 1 at the top, `decay` less per layer.

    Layers are those of `depth_order`, a class attribute of the network (see `depths`).  Private
    copies have the depth of the layer they stand for.  Raises ValueError if the network does not
    say what its layers are.
    """
    net = model.net if isinstance(model, FrameFlexible) else model
    order = getattr(net, "depth_order", ())
    found = depths((name for name, _ in net.named_parameters()), order)
    if len(set(found.values())) < 2:
        raise ValueError(
            f"SOLVER.LAYER_DECAY={decay}, but {type(net).__name__} does not say which layer lies "
            "above which: set it to 1.0, or give the class a `depth_order`"
        )
    prefix = "net." if net is not model else ""
    top = max(found.values())
    return {prefix + name: decay ** (top - depth) for name, depth in found.items()}


def depths(names: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    r"""The layer of each parameter, counted from the input.

    `order` are patterns of how names begin, from the input up.  One with a group is a layer per
    number there; what it matches without a number belongs to the first of them.  All other
    parameters are one layer on top.

        ("patch_embed|pos_embed", r"blocks\.(\d+)")    patches 0, blocks.0 1, blocks.1 2, head 3
    """
    keys = {name: _place(name, order) for name in names}
    first: dict[int, int] = {}
    for place, number in keys.values():
        if number is not None:
            first[place] = min(number, first.get(place, number))
    found = {n: (p, first.get(p, 0) if i is None else i) for n, (p, i) in keys.items()}
    layers = sorted(set(found.values()))
    return {name: layers.index(key) for name, key in found.items()}


def _place(name: str, order: Sequence[str]) -> tuple[int, int | None]:
    """Which pattern the name begins with, the number of patterns if none, and its number there."""
    for place, pattern in enumerate(order):
        if match := re.match(pattern, name):
            number = next((group for group in match.groups() if group is not None), None)
            return place, None if number is None else int(number)
    return len(order), None
