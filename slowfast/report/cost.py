"""What one inference costs: parameters, multiply-adds, time and memory.

Every function takes a network and the shape of its input, `(1, 3, T, H, W)` for one clip, and
leaves its mode as it was.  A frame-flexible network runs the rate that the shape's T selects.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from slowfast.models.flexible import specialize
from slowfast.report.results import Cost

MIB = 2**20


def parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones once, with those of all rates of a flexible network."""
    return sum(p.numel() for p in model.parameters())


def gflops(model: nn.Module, clip_shape: Sequence[int]) -> float:
    """Billions of multiply-adds of one forward, counted as papers do (the field's "GFLOPs").

    Convolutions, matrix products and attention count; norms, activations, sums and gains do not.
    fvcore adds norms, at 2 per value: 0.5 % of a ResNet, 4 % of X3D.  Counted are the operators
    that run: on the CPU a convolution may skip its padding.  On the meta device none computes.
    """
    with _evaluating(model), torch.no_grad():
        return gflops_of(lambda: model(_clip(model, clip_shape)))


def gflops_of(run: Callable[[], object]) -> float:
    """Billions of multiply-adds of one call of `run`, counted like `gflops`."""
    with (counter := FlopCounterMode(display=False, custom_mapping=_ATTENTION)):
        run()
    return counter.get_total_flops() / 2e9  # a multiply-add is two operations to PyTorch


def latency_ms(
    model: nn.Module, clip_shape: Sequence[int], repeats: int = 20, device: str = "cpu"
) -> float:
    """Median milliseconds of one forward in inference mode, after a fifth as many warm-up runs.

    That of the specialised network, as one would deploy it.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    net = specialize(model.to(device), clip_shape[2])
    with torch.inference_mode():
        clip = _clip(net, clip_shape)
        for _ in range(repeats // 5 + 1):
            net(clip)
        return 1e3 * statistics.median(_seconds(net, clip) for _ in range(repeats))


def peak_mb(model: nn.Module, clip_shape: Sequence[int], device: str = "cpu") -> float:
    """Most MiB that the clip and the activations of one forward hold at once, without parameters.

    CPU: live tensors, exact and equal on every machine, without the scratch space inside kernels.
    CUDA: the allocator's peak over its level before the clip, scratch space included.
    """
    measure = _cuda_peak if torch.device(device).type == "cuda" else _tensor_peak
    with _evaluating(model.to(device)), torch.inference_mode():
        return measure(model, clip_shape) / MIB


def costs(
    model: nn.Module,
    frames: Sequence[int],
    crop: int,
    repeats: int = 20,
    device: str = "cpu",
) -> dict[int, Cost]:
    """The cost of one clip of `crop` x `crop` pixels at each of the frame counts."""
    shapes = {t: (1, 3, t, crop, crop) for t in frames}
    return {
        t: Cost(
            gflops=gflops(model, shape),
            latency_ms=latency_ms(model, shape, repeats, device),
            peak_mb=peak_mb(model, shape, device),
        )
        for t, shape in shapes.items()
    }


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _clip(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """An input on the network's device and in its floating type; the values do not matter."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(tuple(shape), device=like.device, dtype=like.dtype)


def _seconds(model: nn.Module, clip: Tensor) -> float:
    _synchronise(clip.device)
    start = time.perf_counter()
    model(clip)
    _synchronise(clip.device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------------------- peak memory


class _LiveTensors(TorchDispatchMode):
    """Adds up the bytes of the storages that operators create and that are still alive."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.live = self.peak = 0
        state = [*model.parameters(), *model.buffers()]
        self._seen = weakref.WeakSet(tensor.untyped_storage() for tensor in state)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:  # a view, or the result of an in-place operator
            return
        self._seen.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, nbytes: int) -> None:
        self.live -= nbytes


def _tensor_peak(model: nn.Module, clip_shape: Sequence[int]) -> int:
    with _LiveTensors(model) as tensors:
        model(_clip(model, clip_shape))
    return tensors.peak


def _cuda_peak(model: nn.Module, clip_shape: Sequence[int]) -> int:
    model(_clip(model, clip_shape))  # the libraries' one-time workspaces are not the network's
    device = next(model.parameters()).device
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    model(_clip(model, clip_shape))
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


# ---------------------------------------------------------------------------- attention on the CPU


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Operations of q k^T and of its softmax times v: (..., L, E), (..., S, E), (..., S, V)."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
