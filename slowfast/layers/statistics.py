"""Running statistics of BatchNorms, estimated anew as the exact ones of many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.layers.norms import join_moments

Gather = Callable[[Tensor], list[Tensor]]


def tracking_norms(modules: Iterable[nn.Module]) -> list[_BatchNorm]:
    """The BatchNorms with running statistics inside `modules`, each once."""
    found = {norm: None for module in modules for norm in module.modules()}
    return [m for m in found if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def exact_statistics(
    net: nn.Module, norms: Iterable[_BatchNorm], gather: Gather | None = None
) -> Iterator[None]:
    """Gives `norms` of `net` the mean and variance of all that they see in the `with` block.

    There each batch is normalised by its own statistics on the way, as in training, while `net` is
    otherwise in evaluation mode.  A norm that sees less than two values keeps what it has, and so
    do all of them if the block raises.  `gather` returns a tensor of each process that ran its
    part of the batches; without it this one saw them all.
    """
    norms = list(norms)
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with torch.no_grad(), ExitStack() as stack:
            if any(module._compiled_call_impl is not None for module in net.modules()):
                # A graph was made without the hooks.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            moments = [stack.enter_context(_Moments(norm)) for norm in norms]
            yield
            if not moments:
                return
            own = torch.cat([m.packed() for m in moments])
            parts = torch.stack([own] if gather is None else gather(own))
            sizes = [len(m.packed()) for m in moments]
            for moment, part in zip(moments, parts.split(sizes, dim=1), strict=True):
                moment.store(part)
    finally:
        for module, training in modes.items():
            module.training = training


class _Moments:
    """Count, mean and variance per channel of all that a BatchNorm sees inside a `with` block.

    The norm uses the statistics of each batch there, as in training, and tracks nothing itself.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm
        self.momentum, self.batches = norm.momentum, norm.num_batches_tracked
        self.count = torch.zeros(1, dtype=torch.float64, device=norm.running_mean.device)
        self.mean = torch.zeros_like(norm.running_mean, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)  # sum of squared distances from the mean

    def __enter__(self) -> _Moments:
        self.norm.train()
        self.norm.momentum, self.norm.num_batches_tracked = 0.0, None
        self.hook = self.norm.register_forward_hook(self._add)
        return self

    def __exit__(self, *error: object) -> None:
        self.hook.remove()
        self.norm.momentum, self.norm.num_batches_tracked = self.momentum, self.batches

    def _add(self, _norm: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        (x,) = inputs
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        count = self.count.new_tensor([x.numel() // x.shape[1]])
        var, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
        own, seen = torch.cat([count, mean, var * count]), self.packed()
        self._set(torch.stack([seen, own]))

    def packed(self) -> Tensor:
        """`(1 + 2 C,)`: count, mean and squares."""
        return torch.cat([self.count, self.mean, self.squares])

    def _set(self, parts: Tensor) -> None:
        counts, means, squares = parts.split([1, len(self.mean), len(self.mean)], dim=1)
        total, self.mean, self.squares = join_moments(counts, means, squares)
        self.count = total.view(1)

    def store(self, parts: Tensor) -> None:
        """Makes the joint moments of the `(P, 1 + 2 C)` packed ones the running statistics."""
        if parts[:, 0].sum() > 1:
            self._set(parts)
            self.norm.running_mean.copy_(self.mean)
            self.norm.running_var.copy_(self.squares / (self.count - 1))
