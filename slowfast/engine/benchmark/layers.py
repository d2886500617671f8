"""Layers in several forms: the straightforward one first, the one the networks run is `ours`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from slowfast.engine.benchmark.timing import check_equal, take_turns
from slowfast.layers.alter import Gain, plain_gains
from slowfast.layers.conv import Conv2d, Conv3d
from slowfast.layers.shift import temporal_shift

TOLERANCE = 1e-3  # of float32 gradients that sum 1e5 products
COLUMNS = ("training", "inference")


class Form(NamedTuple):
    """A way to compute a layer: `run(*inputs)`, the inputs in the memory format it works in."""

    run: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]


class Case(NamedTuple):
    """A layer at one size, in forms that give the same output and gradients.

    `ours` are the forms that the networks take in training and in inference.
    """

    layer: str
    size: str
    forms: dict[str, Form]
    ours: tuple[str, str]


def time_layer(case: Case, repeats: int, device: str = "cpu") -> list[dict[str, Any]]:
    """A row per form: milliseconds of training (forward and backward) and of inference (forward).

    Each is followed by its ratio to the first form and by marks: "ours" is what the networks take,
    "fastest" the fastest.  Raises ValueError if outputs or gradients of the forms differ.
    """
    first = next(iter(case.forms.values()))
    with torch.no_grad():
        cotangent = torch.randn_like(first.run(*first.inputs))
    forms = {name: _prepared(form, cotangent) for name, form in case.forms.items()}
    training = {name: partial(_forward_backward, *form) for name, form in forms.items()}
    inference = {name: partial(_forward, form) for name, (form, _) in forms.items()}
    results = {name: run() for name, run in training.items()}
    check_equal(f"{case.layer} {case.size}", results, TOLERANCE)
    rows = [{"layer": case.layer, "size": case.size, "form": name} for name in forms]
    for runs, ours, column in zip((training, inference), case.ours, COLUMNS, strict=True):
        times = {name: taken.cpu for name, taken in take_turns(runs, repeats, device).items()}
        for row, (name, taken) in zip(rows, times.items(), strict=True):
            marks = {"ours": name == ours, "fastest": taken == min(times.values())}
            row[f"{column}_ms"] = 1e3 * taken
            row[f"{column}_ratio"] = taken / next(iter(times.values()))
            row[f"{column}_mark"] = " ".join(mark for mark, holds in marks.items() if holds)
    return rows


def _prepared(form: Form, cotangent: Tensor) -> tuple[Form, Tensor]:
    """The form on leaves, and the gradient of its output as the next layer would hand it back."""
    inputs = tuple(x.detach().requires_grad_() for x in form.inputs)
    with torch.no_grad():
        like = form.run(*inputs)
    return Form(form.run, inputs), torch.empty_like(like).copy_(cotangent)


def _forward_backward(form: Form, cotangent: Tensor) -> list[Tensor]:
    """The output and the gradients of the inputs."""
    output = form.run(*form.inputs)
    gradients = torch.autograd.grad(output, form.inputs, cotangent)
    return [output.detach(), *gradients]


@torch.no_grad()
def _forward(form: Form) -> Tensor:
    return form.run(*form.inputs)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(
        memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    )


# ---------------------------------------------------------------------------- temporal shift


def shift_cases(device: str) -> Iterator[Case]:
    """The blocks of TSM R50 on two videos of 8 frames at 224 px."""
    for channels, size in ((256, 56), (512, 28), (1024, 14), (2048, 7)):
        x = torch.randn(16, channels, size, size, device=device)
        yield shift_case(x, num_frames=8)


def shift_case(x: Tensor, num_frames: int) -> Case:
    def slices(x: Tensor) -> Tensor:
        video, fold = x.unflatten(0, (-1, num_frames)), x.shape[1] // 8
        y = torch.zeros_like(video)
        y[:, :-1, :fold] = video[:, 1:, :fold]
        y[:, 1:, fold : 2 * fold] = video[:, :-1, fold : 2 * fold]
        y[:, :, 2 * fold :] = video[:, :, 2 * fold :]
        return y.flatten(0, 1)

    shift = partial(temporal_shift, num_frames=num_frames)
    forms = {
        "zeros and three copies": Form(slices, (x,)),
        "temporal_shift": Form(shift, (x,)),
        "temporal_shift, channels last": Form(shift, (channels_last(x),)),
    }
    return Case(
        "temporal shift", size_of(x), forms, ("temporal_shift", "temporal_shift, channels last")
    )


# ---------------------------------------------------------------------------- gain


def gain_cases(device: str) -> Iterator[Case]:
    """Inputs of residual blocks, two videos."""
    for shape in ((64, 8, 56, 56), (256, 16, 56, 56), (512, 16, 28, 28), (1024, 16, 14, 14)):
        yield gain_case(torch.randn(2, *shape, device=device))


def gain_case(x: Tensor) -> Case:
    gain = Gain(x.shape[1], x.ndim - 2).to(x.device)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(gain, {"weight": weight}, x)

    def depthwise(x: Tensor, weight: Tensor) -> Tensor:
        with plain_gains():
            return ours(x, weight)

    def product(x: Tensor, weight: Tensor) -> Tensor:
        return x * (1 + weight.squeeze(1))

    last = channels_last(x)
    forms = {
        "depthwise conv3d with residual": Form(depthwise, (x, gain.weight)),
        "the same, channels last": Form(depthwise, (last, gain.weight)),
        "product, channels last": Form(product, (last, gain.weight)),
        "Gain": Form(ours, (x, gain.weight)),
        "Gain, channels last": Form(ours, (last, gain.weight)),
    }
    return Case("gain", size_of(x), forms, ("Gain, channels last",) * 2)


# ---------------------------------------------------------------------------- attention


def attention_cases(device: str) -> Iterator[Case]:
    """UniFormer-S stages 3 and 4 at 16 frames, MViT-B blocks 1, 2 and 4 at 16 frames; 224 px."""
    for heads, queries, keys, dim in (
        (5, 1568, 1568, 64),
        (8, 392, 392, 64),
        (1, 25089, 393, 96),
        (2, 6273, 393, 96),
        (4, 1569, 393, 96),
    ):
        q = torch.randn(1, heads, queries, dim, device=device)
        k, v = (torch.randn(1, heads, keys, dim, device=device) for _ in range(2))
        yield attention_case(q, k, v)


def attention_case(q: Tensor, k: Tensor, v: Tensor) -> Case:
    def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v

    fused = F.scaled_dot_product_attention
    forms = {"softmax of a product": Form(by_hand, (q, k, v)), "fused": Form(fused, (q, k, v))}
    return Case("attention", f"{size_of(q)} to {k.shape[2]}", forms, ("fused",) * 2)


# ---------------------------------------------------------------------------- convolutions

# Channels in and out, ([T,] H, W), kernel, stride; padding keeps the size but for strides.
CONVOLUTIONS = {
    "images": (  # TSM and TEA: stem, blocks, their strides
        (3, 64, (112, 112), (7, 7), (2, 2)),
        (64, 64, (56, 56), (1, 1), (1, 1)),
        (64, 64, (56, 56), (3, 3), (1, 1)),
        (256, 64, (56, 56), (1, 1), (1, 1)),
        (1024, 256, (14, 14), (1, 1), (1, 1)),
        (256, 256, (14, 14), (3, 3), (1, 1)),
        (256, 512, (28, 28), (1, 1), (2, 2)),
    ),
    "temporal": (  # Slow and I3D, SlowFast's fast pathway, its lateral connections
        (256, 64, (8, 28, 28), (3, 1, 1), (1, 1, 1)),
        (512, 128, (8, 14, 14), (3, 1, 1), (1, 1, 1)),
        (1024, 256, (8, 14, 14), (3, 1, 1), (1, 1, 1)),
        (2048, 512, (8, 7, 7), (3, 1, 1), (1, 1, 1)),
        (32, 8, (32, 28, 28), (3, 1, 1), (1, 1, 1)),
        (128, 32, (32, 14, 14), (3, 1, 1), (1, 1, 1)),
        (32, 64, (32, 28, 28), (7, 1, 1), (4, 1, 1)),
        (128, 256, (32, 14, 14), (7, 1, 1), (4, 1, 1)),
    ),
    "spatial": (  # blocks of the ResNets, their strides, shortcuts and stem; X3D; UniFormer
        (64, 64, (8, 28, 28), (1, 3, 3), (1, 1, 1)),
        (256, 256, (8, 14, 14), (1, 3, 3), (1, 1, 1)),
        (512, 512, (8, 7, 7), (1, 3, 3), (1, 1, 1)),
        (8, 8, (32, 28, 28), (1, 3, 3), (1, 1, 1)),
        (128, 128, (8, 28, 28), (1, 3, 3), (1, 2, 2)),
        (3, 64, (8, 112, 112), (1, 7, 7), (1, 2, 2)),
        (256, 1024, (8, 14, 14), (1, 1, 1), (1, 1, 1)),
        (2048, 512, (8, 7, 7), (1, 1, 1), (1, 1, 1)),
        (24, 54, (16, 56, 56), (1, 1, 1), (1, 1, 1)),
        (256, 512, (8, 28, 28), (1, 1, 1), (1, 2, 2)),
        (64, 128, (8, 28, 28), (1, 2, 2), (1, 2, 2)),
    ),
    "depthwise": (  # X3D from its stem on, UniFormer, MViT's pooling
        (24, 24, (16, 56, 56), (5, 1, 1), (1, 1, 1)),
        (54, 54, (16, 28, 28), (3, 3, 3), (1, 1, 1)),
        (432, 432, (16, 7, 7), (3, 3, 3), (1, 1, 1)),
        (216, 216, (16, 28, 28), (3, 3, 3), (1, 2, 2)),
        (64, 64, (8, 28, 28), (5, 5, 5), (1, 1, 1)),
        (320, 320, (8, 7, 7), (3, 3, 3), (1, 1, 1)),
        (96, 96, (8, 56, 56), (3, 3, 3), (1, 8, 8)),
        (96, 96, (8, 28, 28), (3, 3, 3), (1, 2, 2)),
    ),
    "dense": (  # stem of the fast pathway and I3D, blocks of depth 18, UniFormer's first patches
        (3, 8, (32, 112, 112), (5, 7, 7), (1, 2, 2)),
        (64, 64, (8, 28, 28), (3, 3, 3), (1, 1, 1)),
        (3, 64, (16, 112, 112), (3, 4, 4), (2, 4, 4)),
    ),
}


def conv_cases(name: str, device: str) -> Iterator[Case]:
    """Two clips, or the 8 frames of one."""
    for dim_in, dim_out, size, kernel, stride in CONVOLUTIONS[name]:
        padding = [k // 2 if k % 2 else 0 for k in kernel]
        groups = dim_in if name == "depthwise" else 1
        kind, batch = (Conv2d, 8) if name == "images" else (Conv3d, 2)
        layer = kind(dim_in, dim_out, kernel, stride, padding, groups=groups, bias=False)
        yield conv_case(name, layer.to(device), torch.randn(batch, dim_in, *size, device=device))


def conv_case(name: str, layer: Conv2d | Conv3d, x: Tensor) -> Case:
    """A convolution in all its forms, on the memory format that each works in."""

    def form(name: str) -> Form:
        inputs = (x, layer.weight.contiguous())
        if name != "plain":
            inputs = (channels_last(x), layer.weight)
        return Form(partial(layer.compute, form=name), inputs)

    kernel, stride = ("x".join(map(str, v)) for v in (layer.kernel_size, layer.stride))
    size = f"{size_of(x)}, {kernel}" + (f"/{stride}" if max(layer.stride) > 1 else "")
    size += f" to {layer.out_channels}" if layer.groups == 1 else ""
    with torch.no_grad():
        inference = layer.form(x)
    ours = layer.form(x), inference
    return Case(f"{name} conv", size, {name: form(name) for name in layer.forms}, ours)


def size_of(x: Tensor) -> str:
    return "x".join(map(str, x.shape))


LAYERS: dict[str, Callable[[str], Iterator[Case]]] = {
    "shift": shift_cases,
    "gain": gain_cases,
    "attention": attention_cases,
    **{name: partial(conv_cases, name) for name in CONVOLUTIONS},
}
