"""The names of private layers in checkpoints: `bn_4` in the place of the plain network's `bn`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from slowfast.models.flexible.switch import RateSwitch


def use_published_names(net: nn.Module) -> None:
    """Makes a converted network save and load under the published names, and load plain ones."""
    net.register_state_dict_post_hook(_to_published_names)
    net.register_load_state_dict_pre_hook(_to_native_names)


def tagged(path: str, tag: str) -> str:
    """The published name of a copy: `s1.bn` -> `s1.bn_4`, `res.bns.0` -> `res.bns_4.0`."""
    parts = path.split(".")
    named = [i for i, part in enumerate(parts) if not part.isdecimal()]
    parts[named[-1] if named else -1] += f"_{tag}"
    return ".".join(parts)


def check_names(net: nn.Module, paths: Iterable[str], tags: Sequence[str]) -> None:
    """Raises ValueError if a copy of the layer at one of `paths` would get a name that is taken."""
    taken = {path for path, _ in net.named_modules(remove_duplicate=False)}
    for path in paths:
        for tag in tags:
            if tagged(path, tag) in taken:
                raise ValueError(
                    f"{type(net).__name__}: the copy of {path!r} for {tag!r} would be called "
                    f"{tagged(path, tag)!r}, which is taken; choose other tags"
                )
            taken.add(tagged(path, tag))


def private_names(net: nn.Module) -> Iterator[tuple[str, str, str]]:
    """(native, published, plain) name of each tensor that conversion renames.

    These are the private ones, and those in a converted block's `flexible_names`, a class attribute
    {child: name} for children that published frame-flexible checkpoints call by another name.
    """
    names = dict(_flexible_names(net))
    for path, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, RateSwitch):
            for tag, layer in module.copies.items():
                published = tagged(names.get(path, path), tag)
                for leaf in layer.state_dict():
                    yield f"{path}.copies.{tag}.{leaf}", f"{published}.{leaf}", f"{path}.{leaf}"
        elif path in names:
            for leaf in module.state_dict():
                yield f"{path}.{leaf}", f"{names[path]}.{leaf}", f"{path}.{leaf}"


def _flexible_names(net: nn.Module) -> Iterator[tuple[str, str]]:
    for path, block in net.named_modules(remove_duplicate=False):
        names = getattr(block, "flexible_names", {})
        if names and any(isinstance(module, RateSwitch) for module in block.modules()):
            for child, name in names.items():
                yield f"{path}.{child}".lstrip("."), f"{path}.{name}".lstrip(".")


def rename(state: dict, prefix: str, new_name: Callable[[str], str]) -> None:
    """Renames every key behind `prefix`, all at once: an old name may be another's new one."""
    keys = [key for key in state if key.startswith(prefix)]
    moved = {key.removeprefix(prefix): state.pop(key) for key in keys}
    state.update({prefix + new_name(name): tensor for name, tensor in moved.items()})


def _to_published_names(net: nn.Module, state: dict, prefix: str, _metadata: Any) -> None:
    names = {native: published for native, published, _ in private_names(net)}
    rename(state, prefix, lambda name: names.get(name, name))


def _to_native_names(net: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    used, filled = set(), set()
    for native, published, plain in private_names(net):
        source = next((p for p in (prefix + published, prefix + plain) if p in state), None)
        if source is not None:
            state[prefix + native] = state[source]
            used.add(source)
            filled.add(prefix + native)
    for key in used - filled:
        del state[key]
