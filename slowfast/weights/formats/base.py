"""What a family of checkpoints is to the loader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from slowfast.config.registry import Registry

Shape = tuple[int, ...]
State = dict[str, Tensor]
Rules = Sequence[tuple[str, str]]  # (pattern, replacement), each applied to what the last one left


def _as_they_are(state: State, expected: Mapping[str, Shape]) -> State:
    return state


def _nothing(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Format:
    """A family of checkpoints.

    `contents` and `models` say what is in such files and which MODEL.MODEL_NAME takes them.
    `recognises` tells one by its state dict; no two formats recognise the same.  `rename` gives the
    names of the plain network, whose names and shapes are `expected`.  `ignores` says which entries
    are no weights, `lacks` which names of the network such a file may be without, if it has none of
    them: they keep their initial values.
    """

    contents: str
    models: str
    recognises: Callable[[State], bool]
    rename: Callable[[State, Mapping[str, Shape]], State] = _as_they_are
    ignores: Callable[[str], bool] = _nothing
    lacks: Callable[[str], bool] = _nothing


# By the name that load_weights takes as `format`.
FORMATS = Registry("checkpoint format")


def recognise(state: State) -> str:
    """The name of the format of `state`; `native` if no other format claims it."""
    others = (name for name in FORMATS.names if name != "native")
    return next((name for name in others if FORMATS.get(name).recognises(state)), "native")


def rewrite(name: str, rules: Rules) -> str:
    """`name` after all `rules`."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(state: State, new_name: Callable[[str], str]) -> State:
    """`state` under new names.  Raises ValueError if two entries would get the same one."""
    result: State = {}
    for name, tensor in state.items():
        if new_name(name) in result:
            raise ValueError(
                f"two of its entries would both be {new_name(name)!r}: {name!r} is one"
            )
        result[new_name(name)] = tensor
    return result


def has(state: Iterable[str], *names: str) -> bool:
    """Whether all `names` are in `state`."""
    return set(names) <= set(state)


def is_nonlocal(name: str) -> bool:
    """Whether `name` is in a non-local block; a new one passes its input through."""
    return "_nonlocal" in name
