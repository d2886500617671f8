"""Frame-flexible networks (FFN, arXiv:2303.14817): private norms and gains per trained frame count.

A plain network is built first and converted then, as with `SyncBatchNorm.convert_sync_batchnorm`:

    model = FrameFlexible(SlowFast(depth=50), num_frames=(16, 32, 64))
    logits = model(clip)                     # any T: runs at the nearest trained count
    low, mid, high = model((x16, x32, x64))  # several clips, each at its own rate
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from slowfast.layers.alter import Alter, Gain

# Every batch, sync-batch and instance norm is a _NormBase; subclasses count too.
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Rates:
    """The trained frame counts, low to high, their checkpoint tags, and the one active now.

    One object is shared by all private layers of a network.  Outside `at` the highest is active.
    Raises ValueError unless there are two or more rising positive counts, each with its own tag.
    """

    def __init__(self, tags: Sequence[str], num_frames: Sequence[int]) -> None:
        self.tags = tuple(str(tag) for tag in tags)
        self.num_frames = tuple(num_frames)
        self._pinned: str | None = None
        _check_counts(self.num_frames)
        _check_tags(self.tags, self.num_frames)

    @property
    def active(self) -> str:
        """The tag whose private layers run."""
        if self._pinned is None and not torch.compiler.is_compiling() and _in_backward():
            raise RuntimeError(
                "a frame-flexible layer is recomputed in the backward pass without its rate; "
                "replace torch.utils.checkpoint by slowfast.models.flexible.checkpoint"
            )
        return self._pinned or self.tags[-1]

    @contextmanager
    def at(self, tag: str) -> Iterator[None]:
        """Makes `tag` active inside the `with` block; ValueError if there is no such tag."""
        if tag not in self.tags:
            raise ValueError(f"no rate {tag!r}; the rates are {', '.join(self.tags)}")
        before, self._pinned = self._pinned, tag
        try:
            yield
        finally:
            self._pinned = before

    def nearest(self, num_frames: int) -> str:
        """The tag of the trained count nearest to `num_frames`; a tie goes to the higher one."""
        best = 0
        for i, count in enumerate(self.num_frames):  # spelt out: torch.compile traces no min(key=)
            if abs(count - num_frames) <= abs(self.num_frames[best] - num_frames):
                best = i
        return self.tags[best]

    def __repr__(self) -> str:
        return f"Rates({dict(zip(self.tags, self.num_frames, strict=True))})"


def _check_counts(counts: tuple[int, ...]) -> None:
    if len(counts) < 2:
        raise ValueError(
            f"num_frames={counts}: frame flexibility takes two or more trained frame counts, "
            "like (4, 8, 16); for a single one use the plain network"
        )
    for count in counts:
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"num_frames={counts} must be positive integers; got {count!r}")
    for low, high in zip(counts, counts[1:], strict=False):
        if high <= low:
            raise ValueError(f"num_frames={counts} must rise; got {high} after {low}")


def _check_tags(tags: tuple[str, ...], counts: tuple[int, ...]) -> None:
    if len(tags) != len(counts) or len(set(tags)) != len(tags):
        raise ValueError(
            f"tags={tags} must be {len(counts)} different labels, one per count in {counts}"
        )
    for tag in tags:
        if not tag or "." in tag:
            raise ValueError(f"tags={tags}: {tag!r} must be a non-empty label without dots")


def _in_backward() -> bool:
    # What torch.utils.checkpoint asks too; -1 outside of a backward pass.
    return torch._C._current_graph_task_id() != -1


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
    net.register_state_dict_post_hook(_to_published_names)
    net.register_load_state_dict_pre_hook(_to_native_names)
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
    taken = {path for path, _ in net.named_modules(remove_duplicate=False)}
    for path in layers:
        for tag in rates.tags:
            if _tagged(path, tag) in taken:
                raise ValueError(
                    f"{name}: the copy of {path!r} for {tag!r} would be called "
                    f"{_tagged(path, tag)!r}, which is taken; choose other tags"
                )
            taken.add(_tagged(path, tag))


def _tagged(path: str, tag: str) -> str:
    """The published name of a copy: `s1.bn` -> `s1.bn_4`, `res.bns.0` -> `res.bns_4.0`."""
    parts = path.split(".")
    named = [i for i, part in enumerate(parts) if not part.isdecimal()]
    parts[named[-1] if named else -1] += f"_{tag}"
    return ".".join(parts)


def private_names(net: nn.Module) -> Iterator[tuple[str, str, str]]:
    """(native, published, plain) name of each private tensor of a converted network."""
    for path, switch in net.named_modules(remove_duplicate=False):
        if isinstance(switch, RateSwitch):
            for tag, layer in switch.copies.items():
                for leaf in layer.state_dict():
                    published = f"{_tagged(path, tag)}.{leaf}"
                    yield f"{path}.copies.{tag}.{leaf}", published, f"{path}.{leaf}"


def _rename(state: dict, prefix: str, new_name: Callable[[str], str]) -> None:
    """Renames every key behind `prefix`, all at once: an old name may be another's new one."""
    keys = [key for key in state if key.startswith(prefix)]
    moved = {key.removeprefix(prefix): state.pop(key) for key in keys}
    state.update({prefix + new_name(name): tensor for name, tensor in moved.items()})


def _to_published_names(net: nn.Module, state: dict, prefix: str, _metadata: Any) -> None:
    names = {native: published for native, published, _ in private_names(net)}
    _rename(state, prefix, lambda name: names.get(name, name))


def _to_native_names(net: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    used = set()
    for native, published, plain in private_names(net):
        source = next((p for p in (prefix + published, prefix + plain) if p in state), None)
        if source is not None:
            state[prefix + native] = state[source]
            used.add(source)
    for key in used:
        del state[key]


class FrameFlexible(nn.Module):
    """A network for clips of any length; see `make_frame_flexible` for what it does to `net`.

    `net` takes one clip whose dimension `time_dim` is time.  `num_frames` are the trained counts,
    low to high, `tags` their labels in checkpoints (None: the counts themselves).  The state dict
    has the names of `net`, without a prefix.  Compile this module, not `net`; with two graphs per
    rate (train, eval), more than 4 rates need a `recompile_limit` above 8.
    """

    def __init__(
        self,
        net: nn.Module,
        num_frames: Sequence[int],
        tags: Sequence[str] | None = None,
        alter: bool = True,
        time_dim: int = 2,
    ) -> None:
        super().__init__()
        self.rates = Rates(num_frames if tags is None else tags, num_frames)
        self.net = make_frame_flexible(net, self.rates, alter)
        self.time_dim = time_dim
        self.register_state_dict_post_hook(_strip_net)
        self.register_load_state_dict_pre_hook(_add_net)

    def forward(self, clips: Tensor | Sequence[Tensor]) -> Any:
        """The output for a clip, or a tuple of one output per clip, run in the order given.

        Each runs at the trained rate nearest to its own length.
        """
        if isinstance(clips, (tuple, list)):
            return tuple(self._run(clip) for clip in clips)
        return self._run(clips)

    def _run(self, clip: Tensor) -> Any:
        if clip.ndim <= self.time_dim:
            raise ValueError(
                f"clip of shape {tuple(clip.shape)} has no time dimension {self.time_dim}; "
                "a batch of clips is (B, 3, T, H, W)"
            )
        with self.rates.at(self.rates.nearest(clip.shape[self.time_dim])):
            return self.net(clip)

    def extra_repr(self) -> str:
        return repr(self.rates)


def _strip_net(_model: nn.Module, state: dict, prefix: str, _metadata: Any) -> None:
    _rename(state, prefix, lambda name: name.removeprefix("net."))


def _add_net(_model: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    _rename(state, prefix, lambda name: f"net.{name}")


def checkpoint(module: nn.Module, *args: Any) -> Any:
    """`module(*args)`, with activations recomputed in the backward pass instead of kept.

    The backward pass may run while another rate is active, so the recomputation is pinned to the
    rate active now.  It leaves running statistics alone.  Plain modules work too.
    """
    contexts: dict[str, Any] = {}
    if not torch.compiler.is_compiling():  # a compiled graph knows its rate
        recompute = _Recompute(module)
        contexts["context_fn"] = lambda: (nullcontext(), recompute)
    return torch.utils.checkpoint.checkpoint(module, *args, use_reentrant=False, **contexts)


class _Recompute:
    """The context of a recomputation of `module`; entered once per backward pass over its graph."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.rates = next((m.rates for m in module.modules() if isinstance(m, RateSwitch)), None)
        self.tag = self.rates.active if self.rates else None
        self.stack = ExitStack()

    def __enter__(self) -> None:
        if self.rates is not None:
            self.stack.enter_context(self.rates.at(self.tag))
        for norm in self.module.modules():
            if isinstance(norm, _NormBase):
                self.stack.callback(setattr, norm, "momentum", norm.momentum)
                self.stack.callback(setattr, norm, "num_batches_tracked", norm.num_batches_tracked)
                # The forward pass has counted this batch already.
                norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: Any) -> None:
        self.stack.close()
