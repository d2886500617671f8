"""What in a clip speaks for a class: Grad-CAM over space and time (arXiv:1610.02391)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.inference.backbones import Backbones
from slowfast.layers.alter import Alter
from slowfast.models import SlowFast, VideoSwin, final_logits
from slowfast.models.backbone import Backbone
from slowfast.models.video_swin import SwinBlock, SwinStage

Leaf = Callable[[Tensor], Tensor]
_SWIN = (SwinBlock, SwinStage)  # their maps have channels last


class Evidence(NamedTuple):
    """What speaks for the class `target` in one clip.

    places    (T', H', W') float32: above 0 for the class, below 0 against it.  Where one map is
              averaged and classified, their mean is the logit of the class without its bias
    target    the number of the class
    logits    (K,) float32
    at_ends   whether the first and last of T' are the first and last frame of the clip, and not
              the middles of its first and last part
    """

    places: Tensor
    target: int
    logits: Tensor
    at_ends: bool = False

    def heat(self, num_frames: int, size: int) -> Tensor:
        """`(num_frames, size, size)`: what speaks for the class, 0 where nothing does."""
        return resized(self.places.clamp(min=0), (num_frames, size, size), self.at_ends)

    def shares(self, num_frames: int) -> Tensor:
        """`(num_frames,)`: each frame's part of all that speaks for the class, 1 together.

        All are 0 where nothing does.
        """
        sums = self.places.clamp(min=0).sum((1, 2), keepdim=True)
        weights = resized(sums, (num_frames, 1, 1), self.at_ends).flatten()
        return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


class Explainer:
    """Grad-CAM of a network of ours, plain or frame-flexible, which it leaves as it is.

    `layer` is the path of a submodule whose map is to be looked at; empty: the last map before
    pooling, the paper's choice.  Where a class token is classified, the last map that it looks at.
    Raises ValueError for a network that shows no map, and for a layer that it does not have.
    """

    def __init__(self, model: nn.Module, layer: str = "") -> None:
        self.backbones = Backbones(model, fold_norms=False)
        self.layer = layer
        if layer:
            _check_layer(self.backbones.net, layer)

    def __call__(self, clip: Tensor, target: int | None = None) -> Evidence:
        """The evidence in a clip `(1, 3, T, H, W)`, by default for the class of the best logit.

        It runs at the trained rate nearest to the clip.  Raises ValueError for a class that the
        network does not know, and for a layer without a map of places.
        """
        if clip.ndim != 5 or len(clip) != 1:
            raise ValueError(
                f"clips of shape {tuple(clip.shape)} cannot be explained; give one, (1, 3, T, H, W)"
            )
        with torch.inference_mode(False), torch.enable_grad():
            net = self.backbones(clip)
            leaves: list[Tensor] = []
            logits = _logits(net, clip.clone(), self.layer, partial(_add_leaf, leaves))
            target = int(logits.argmax()) if target is None else target
            if not 0 <= target < len(logits):
                raise ValueError(f"class {target} is outside 0 .. {len(logits) - 1}")
            if not leaves:
                raise ValueError(f"layer {self.layer!r} takes no part; choose another")
            gradients = torch.autograd.grad(logits[target], leaves)
        pairs = [_places(*pair, clip.shape[2]) for pair in zip(leaves, gradients, strict=True)]
        at_ends = isinstance(net, SlowFast) and not self.layer
        return Evidence(_sum(pairs, at_ends), target, logits.detach(), at_ends)


def finer_layer(model: nn.Module, clip: Tensor, side: int = 7) -> str:
    """The last stage or block whose map of `clip` has `side` places or more each way; "" if none.

    Where the last map has few places, heat of this layer shows where in a frame they are.
    """
    net = Backbones(model, fold_norms=False)(clip)
    found: list[str] = []

    def note(path: str, module: nn.Module, _args: tuple, output: Any) -> None:
        x = output[0] if isinstance(output, list) else output
        if isinstance(x, Tensor) and x.ndim in (4, 5):
            height, width = _channels_first(module, x).shape[-2:]
            if min(height, width) >= side:
                found.append(path)

    handles = [
        module.register_forward_hook(partial(note, path))
        for path, module in net.named_modules()
        if path and _is_layer(net, module) and (path.count(".") < 2 or isinstance(module, _SWIN))
    ]
    with torch.no_grad():
        net(clip)
    for handle in handles:
        handle.remove()
    return found[-1] if found else ""


def resized(places: Tensor, size: tuple[int, int, int], at_ends: bool = False) -> Tensor:
    """`places` (T', H', W') interpolated to `size`, in time as `Evidence.at_ends` says."""
    num_frames, *sides = size
    planes = places.flatten(1).T[None]  # (1, H'W', T')
    if planes.shape[2] != num_frames:
        planes = F.interpolate(planes, num_frames, mode="linear", align_corners=at_ends)
    frames = planes[0].T.unflatten(1, places.shape[1:])[:, None]
    return F.interpolate(frames, tuple(sides), mode="bilinear", align_corners=False)[:, 0]


def _add_leaf(leaves: list[Tensor], x: Tensor) -> Tensor:
    """What takes the place of `x` in the network: gradients end in the leaf that is added."""
    leaves.append(x.detach().requires_grad_())
    return leaves[-1].clone()  # a layer behind it may work in place


def _logits(net: Backbone, clip: Tensor, layer: str, leaf: Leaf) -> Tensor:
    """The logits `(K,)` of `clip`, with a `leaf` in the place of each map that is looked at."""
    if layer:
        with _replaced_output(net.get_submodule(layer), layer, leaf):
            output = net(clip)
    elif _classifies_token(net):
        with _replaced_input(net.blocks[-1], leaf):
            output = net(clip)
    else:
        output = net.classify(_replaced(net.encode(clip), leaf))
    logits = final_logits(output).float()
    return (logits.mean(1) if logits.ndim == 3 else logits)[0]  # dense heads have positions


def _classifies_token(net: Backbone) -> bool:
    """Whether the head sees a token and not the map, as in MViT."""
    return bool(getattr(net, "num_class", 0)) and not getattr(net, "mean_pooling", False)


def _replaced(encoded: Any, leaf: Leaf) -> Any:
    """What a head takes, with leaves for its maps: one map, a list of them, or tokens and grid."""
    if isinstance(encoded, Tensor):
        return leaf(encoded)
    if isinstance(encoded, tuple):
        tokens, grid = encoded
        return _replaced_tokens(tokens, grid, leaf), grid
    return [leaf(x) for x in encoded]


def _replaced_tokens(tokens: Tensor, grid: Sequence[int], leaf: Leaf) -> Tensor:
    """Tokens (B, N, C) whose places are a leaf; those of classes stay in front."""
    first = tokens.shape[1] - grid[0] * grid[1] * grid[2]
    found = leaf(tokens[:, first:].transpose(1, 2).unflatten(2, tuple(grid)))
    return torch.cat([tokens[:, :first], found.flatten(2).transpose(1, 2)], dim=1)


@contextmanager
def _replaced_input(block: nn.Module, leaf: Leaf) -> Iterator[None]:
    """Inside, a block of tokens and grid takes a leaf for the places of its tokens."""

    def replace(_module: nn.Module, args: tuple) -> tuple:
        tokens, grid, *rest = args
        return _replaced_tokens(tokens, grid, leaf), grid, *rest

    handle = block.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced_output(module: nn.Module, path: str, leaf: Leaf) -> Iterator[None]:
    """Inside, the module gives leaves for its maps."""

    def replace(module: nn.Module, _args: tuple, output: Any) -> Any:
        is_pair = isinstance(output, tuple) and len(output) == 2 and len(output[1]) == 3
        maps = output if isinstance(output, list) else [output]
        if not is_pair and any(not isinstance(x, Tensor) or x.ndim not in (4, 5) for x in maps):
            shape = tuple(getattr(output, "shape", ())) or type(output).__name__
            raise ValueError(
                f"layer {path!r} gives no map of places but {shape}; choose one that does"
            )
        if isinstance(module, _SWIN):
            return leaf(_channels_first(module, output)).movedim(1, -1)
        return _replaced(output, leaf)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _places(found: Tensor, gradient: Tensor, num_frames: int) -> Tensor:
    """A map's channels, weighted by how much they move the logit at all places: (T', H', W').

    The paper weighs by the mean gradient; the sum differs by the number of places, which makes the
    mean of a map its part of the logit, so that maps of several sizes may be added.
    """
    if found.ndim == 4:  # of a network that takes frame by frame
        found, gradient = (x.transpose(0, 1)[None] for x in (found, gradient))
        if found.shape[2] != num_frames:
            raise ValueError(
                f"a layer gives {found.shape[2]} maps for {num_frames} frames; choose another"
            )
    weights = gradient.sum((2, 3, 4), keepdim=True)
    return (weights * found.detach()).sum(1)[0].float()


def _sum(maps: list[Tensor], at_ends: bool) -> Tensor:
    """Maps of the finest grid among them, added."""
    size = tuple(max(sides) for sides in zip(*(x.shape for x in maps), strict=True))
    return torch.stack([resized(x, size, at_ends) for x in maps]).sum(0)


def _is_layer(net: nn.Module, module: nn.Module) -> bool:
    """Whether the map of a module is known to have its channels where they are looked for."""
    return (
        isinstance(module, _SWIN) if isinstance(net, VideoSwin) else not isinstance(module, Alter)
    )


def _channels_first(module: nn.Module, found: Tensor) -> Tensor:
    return found.movedim(-1, 1) if isinstance(module, _SWIN) else found


def _check_layer(net: nn.Module, layer: str) -> None:
    paths = [path for path, module in net.named_modules() if path and _is_layer(net, module)]
    names = [path for path in paths if ".copies" not in path]  # of a rate, which the clip chooses
    if layer not in names:
        close = get_close_matches(layer, names, n=3) or [n for n in names if n.count(".") < 2][:12]
        raise ValueError(
            f"no layer {layer!r} in {type(net).__name__}; there are {', '.join(close)}, ..."
        )
