"""A checkpoint's names and shapes made those of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from slowfast.models import FrameExit
from slowfast.models.flexible import FrameFlexible, private_names
from slowfast.models.inflate import inflate
from slowfast.weights.formats.base import Format, Shape, State
from slowfast.weights.positions import resize
from slowfast.weights.report import Pairs

BACKBONE = "backbone."  # what the names of a network within FrameExit begin with

Private = list[tuple[str, str, str]]  # (native, published, plain) names


@dataclass(frozen=True)
class Fitted:
    """A state dict under a network's names, and what was done to it; see LoadReport.

    `outside` are the names of the network that the checkpoint of a part of it cannot have.
    """

    state: State
    inflated: Pairs
    resized: Pairs
    ignored: dict[str, Shape]
    outside: set[str]


def fit(model: nn.Module, state: State, format: Format) -> Fitted:
    """`state` with the names of `model`, and the shapes where they can be made to fit.

    Its tensors stay as they are; what does not fit is left in for the report.  Raises ValueError
    if two entries would get one name, or a 2D kernel is of another size than the 3D one.
    """
    net = model.net if isinstance(model, FrameFlexible) else model
    private = list(private_names(net))
    expected = _expected(model, private)
    ignored = {name: tuple(tensor.shape) for name, tensor in state.items() if format.ignores(name)}
    state = {name: tensor for name, tensor in state.items() if name not in ignored}
    named = _behind_bridge(format.rename(state, expected), expected)
    outside: set[str] = set()
    if isinstance(net, FrameExit) and not any(name.startswith("classifiers.") for name in named):
        outside = {name for name in expected if not name.startswith(BACKBONE)}
        named, classifier = _into_backbone(net, state, format, expected)
        ignored |= classifier
    inflated = inflate(named, expected)
    resized = resize(net, inflated, expected)
    return Fitted(
        _fill_copies(resized, private),
        inflated=_changed(named, inflated),
        resized=_changed(inflated, resized),
        ignored=ignored,
        outside=outside,
    )


def _into_backbone(
    net: FrameExit, state: State, format: Format, expected: Mapping[str, Shape]
) -> tuple[State, dict[str, Shape]]:
    """A plain network's checkpoint for the backbone of `net`, which has no place for a classifier.

    And the entries of that classifier.
    """
    inside = {n.removeprefix(BACKBONE): s for n, s in expected.items() if n.startswith(BACKBONE)}
    named = _behind_bridge(format.rename(state, inside), inside)
    classifier = f"{net.backbone.classifier}."
    left_out = {n: tuple(t.shape) for n, t in named.items() if n.startswith(classifier)}
    return {BACKBONE + n: t for n, t in named.items() if n not in left_out}, left_out


def _expected(model: nn.Module, private: Private) -> dict[str, Shape]:
    """The names of `model` and of the plain network it was converted from, with their shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {plain: shapes[published] for _, published, plain in private} | shapes


def _behind_bridge(state: State, expected: Mapping[str, Shape]) -> State:
    """A state dict of another library's network with `model.` before its names, as a bridge has."""
    if not any(name in expected for name in state):
        bridged = {f"model.{name}": tensor for name, tensor in state.items()}
        if any(name in expected for name in bridged):
            return bridged
    return state


def _changed(before: State, after: State) -> Pairs:
    return {
        name: (tuple(before[name].shape), tuple(tensor.shape))
        for name, tensor in after.items()
        if tensor.shape != before[name].shape
    }


def _fill_copies(state: State, private: Private) -> State:
    """`state` with a plain name (`bn.weight`) replaced by those of all copies (`bn_4.weight`)."""
    copies = [(published, plain) for _, published, plain in private]
    copied = {
        published: state[plain]
        for published, plain in copies
        if plain in state and published not in state
    }
    used = {plain for published, plain in copies if published in copied}
    return {name: tensor for name, tensor in state.items() if name not in used} | copied
