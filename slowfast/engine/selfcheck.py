"""Whether the convolutions of a network are right in the number format of a mixed-precision run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.config import frame_counts, input_size, trained_sizes
from slowfast.engine.device import AMP_DTYPES

logger = logging.getLogger(__name__)

TOLERANCE = 0.05  # of a tensor's scale; rounding to bf16 is 0.004, what is wrong is wrong by 1


class Case(NamedTuple):
    """A convolution as the network runs it."""

    layer: nn.Module
    shape: torch.Size

    @property
    def geometry(self) -> tuple:
        """What tells it from others."""
        one = self.layer
        return type(one), one.weight.shape, one.stride, one.padding, one.groups, self.shape

    def __str__(self) -> str:
        kernel, channels = "x".join(map(str, self.layer.kernel_size)), self.layer.out_channels
        return f"{kernel} kernel of {channels} channels on {'x'.join(map(str, self.shape))}"


def check_mixed_precision(model: nn.Module, cfg: CfgNode, device: torch.device) -> None:
    """Compare every kind of convolution in `model` with 32 bits, at the sizes `cfg` trains on.

    Does nothing unless TRAIN.MIXED_PRECISION.  Raises ValueError, with the ways around it, if one
    is wrong: releases of cuDNN and oneDNN have computed conv3d in bf16 wrongly.
    """
    if not cfg.TRAIN.MIXED_PRECISION:
        return
    dtype, sizes = AMP_DTYPES[cfg.TRAIN.AMP_DTYPE], trained_sizes(cfg) or (input_size(cfg),)
    pairs = product(frame_counts(cfg), sizes)
    clips = [torch.zeros(1, 3, t, size, size, device=device) for t, size in pairs]
    found = cases(model, clips)
    worst = max((check(case, dtype) for case in found), default=0.0)
    logger.info(
        "%s on %s: %d convolutions differ from 32 bits by at most %.1f %%",
        cfg.TRAIN.AMP_DTYPE,
        versions(device),
        len(found),
        100 * worst,
    )


def cases(model: nn.Module, clips: Sequence[Tensor]) -> list[Case]:
    """The different convolutions that `model` runs on `clips`.  It is left in its mode."""
    found: dict[tuple, Case] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        case = Case(layer, inputs[0].shape)
        found.setdefault(case.geometry, case)

    kinds = (nn.Conv2d, nn.Conv3d)
    layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()  # moves no running statistics
            for clip in clips:
                model(clip)
    finally:
        for module, training in modes.items():
            module.training = training
        for hook in hooks:
            hook.remove()
    return list(found.values())


def check(case: Case, dtype: torch.dtype) -> float:
    """The largest difference of output or gradients to 32 bits, over the scale of the tensor.

    Raises ValueError if it is above TOLERANCE or not a number.
    """
    device = case.layer.weight.device
    expected = run(case, None)
    worst = 0.0
    for what, a, b in zip(
        ("output", "input's gradient", "weight's gradient"), expected, run(case, dtype), strict=True
    ):
        error = ((a - b).abs().max() / a.abs().max().clamp(min=1e-12)).item()
        if not error <= TOLERANCE:
            name = str(dtype).removeprefix("torch.")
            raise ValueError(
                f"{name} convolutions are wrong on {versions(device)}: the {what} of a {case} "
                f"differs from that in 32 bits by {100 * error:.0f} % of its scale; install "
                f"another release of {_library(device)}, or set TRAIN.AMP_DTYPE to "
                f"{'fp16' if dtype is torch.bfloat16 else 'bf16'} or TRAIN.MIXED_PRECISION to False"
            )
        worst = max(worst, error)
    return worst


def run(case: Case, dtype: torch.dtype | None) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the input and of the weight, under autocast to `dtype` or in 32 bits.

    The numbers that go in are such as bf16 has, so that only the computation differs.
    """
    weight = case.layer.weight
    generator = torch.Generator().manual_seed(0)

    def draw(shape: Sequence[int], scale: float = 1.0) -> Tensor:
        values = scale * torch.randn(shape, generator=generator)
        return values.bfloat16().float().to(weight.device)

    x = draw(case.shape).requires_grad_()
    values = draw(weight.shape, weight[0].numel() ** -0.5)
    leaf = torch.empty_strided(weight.shape, weight.stride(), device=weight.device)
    leaf = leaf.copy_(values).requires_grad_()
    replaced = {"weight": leaf}
    with _no_tf32(), torch.autocast(weight.device.type, dtype, enabled=dtype is not None):
        y = torch.func.functional_call(case.layer, replaced, (x,)).float()
        gradients = torch.autograd.grad(y, (x, leaf), draw(y.shape))
    return y.detach(), *gradients


@contextmanager
def _no_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def versions(device: torch.device) -> str:
    """Device and releases, as a message or a benchmark names them."""
    if device.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        return f"{name} (torch {torch.__version__}, cuDNN {cudnn})"
    return f"{device.type} (torch {torch.__version__})"


def _library(device: torch.device) -> str:
    return "cuDNN (pip install -U nvidia-cudnn-cu12)" if device.type == "cuda" else "torch"
