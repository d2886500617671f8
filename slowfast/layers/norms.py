"""BatchNorms that take their batch from a part of a process's videos, or from several processes.

In evaluation they are the BatchNorm they came from, and their state dicts are its own:

    convert_norms(net, "sync_batchnorm")            # statistics of all processes together
    convert_norms(net, "sub_batchnorm", splits=4)   # statistics of each quarter of the batch
    convert_norms(net, "batchnorm")                 # as it was
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules._functions import SyncBatchNorm as SynchronizedOnDevice
from torch.nn.modules.batchnorm import _BatchNorm

NORM_TYPES = ("batchnorm", "sub_batchnorm", "sync_batchnorm")


class _TrainingNorm(_BatchNorm):
    """What takes the place of `plain` in training, with its own tensors, not copies of them."""

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__(*_arguments(plain), device="meta")
        _share(plain, self)
        self.plain = type(plain)

    def _check_input_dim(self, x: Tensor) -> None:
        self.plain._check_input_dim(self, x)

    def _count_batch(self) -> float:
        """The share of this batch in the running statistics."""
        if self.num_batches_tracked is not None:  # None while activations are recomputed
            self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            return self.momentum
        return 1 / float(self.num_batches_tracked) if self.track_running_stats else 0.0

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        share = self._count_batch()
        if self.running_mean is not None:
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class SubBatchNorm(_TrainingNorm):
    """Normalises each of `splits` parts of the batch by its own mean and variance in training.

    What a smaller batch per process would do (multigrid training, arXiv:1912.00998).  Parts differ
    by one video where `splits` does not divide the batch, and are fewer where one would hold a
    single value per channel.

    Running statistics are those of the whole batch, as in a BatchNorm.  PySlowFast tracks every
    part and joins them before each evaluation: there the variance lacks the differences between
    the means of a batch's parts, which a running mean has evened out by then.
    """

    def __init__(self, plain: _BatchNorm, splits: int) -> None:
        super().__init__(plain)
        self.splits = splits

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        values = x.numel() // max(x.shape[:2].numel(), 1)  # per video and channel
        splits = min(self.splits, len(x) if values > 1 else len(x) // 2)
        if not self.training or splits < 2:
            return super().forward(x)
        parts = x.tensor_split(splits)
        like = x.new_zeros(splits, x.shape[1], dtype=_accumulator(x))
        means, variances = like, like.clone()
        normed = [
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for part, mean, variance in zip(parts, means, variances, strict=True)
        ]
        counts = like.new_tensor([[len(part) * values] for part in parts])
        with torch.no_grad():
            total, mean, squares = join_moments(counts, means, variances * (counts - 1))
            self._track(mean, squares / (total - 1))
        return torch.cat(normed)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, splits={self.splits}"


class SyncBatchNorm(_TrainingNorm):
    """A BatchNorm whose batch in training is that of all `processes` together.

    Their batches may differ in size.  Every process runs the same layers equally often, forwards
    and backwards, or the others wait for it.  Alone it is a BatchNorm.  Unlike PyTorch's it runs
    on the CPU, too.
    """

    def __init__(self, plain: _BatchNorm, processes: Processes) -> None:
        super().__init__(plain)
        self.processes = processes

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if not self.training or len(self.processes) == 1:
            return super().forward(x)
        if x.is_cuda:
            return self._forward_cuda(x)
        y, total, mean, squares = _Synchronized.apply(
            x, self.weight, self.bias, self.eps, self.processes.group
        )
        if total < 2:
            raise ValueError(f"a batch of shape {tuple(x.shape)} has one value per channel in all")
        self._track(mean, squares / (total - 1))
        return y

    @torch.compiler.disable
    def _forward_cuda(self, x: Tensor) -> Tensor:
        share = self._count_batch()
        return SynchronizedOnDevice.apply(
            *(x, self.weight, self.bias, self.running_mean, self.running_var),
            *(self.eps, share, self.processes.group or dist.group.WORLD, len(self.processes)),
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, processes={len(self.processes)}"


class Processes:
    """Processes that share statistics: those of `group`, or all there are.  Copies are the same."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group

    def __len__(self) -> int:
        return dist.get_world_size(self.group) if dist.is_initialized() else 1

    def __deepcopy__(self, _memo: dict) -> Processes:
        return self


class _Synchronized(torch.autograd.Function):
    """The batch normalised by the moments of all processes, and these moments: see `join_moments`.

    Half precision is computed in float32.
    """

    @staticmethod
    @torch.compiler.disable
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean = x.new_zeros(x.shape[1], dtype=_accumulator(x))
        squares, count = mean.clone(), x.numel() // x.shape[1]
        if count:  # a process without videos still takes part
            var, mean = torch.var_mean(x.to(mean.dtype), _others(x), correction=0)
            squares = var * count
        own = torch.cat([mean, squares, mean.new_tensor([count])])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, own, group)
        means, all_squares, counts = torch.stack(gathered).split([len(mean), len(mean), 1], dim=1)
        total, mean, squares = join_moments(counts, means, all_squares)
        deviation = (squares / total + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, deviation, total)
        ctx.group = group
        ctx.mark_non_differentiable(total, mean, squares)
        y = F.batch_norm(x, mean, squares / total, weight, bias, eps=eps)
        return y, total, mean, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_moments: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, deviation, total = ctx.saved_tensors
        centred = x - _per_channel(mean, x)
        grad = grad.to(centred.dtype)
        grad_bias = grad.sum(_others(x))
        grad_weight = (grad * centred).sum(_others(x)) * deviation
        grad_x = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack([grad_bias, grad_weight])
            dist.all_reduce(sums, group=ctx.group)
            mean_grad, mean_along = sums / total
            scale = deviation if weight is None else deviation * weight
            # scale * (grad - mean_grad - normed * mean_along), in the memory of `centred`
            grad_x = centred.mul_(_per_channel(-scale * mean_along * deviation, x))
            grad_x.sub_(_per_channel(scale * mean_grad, x))
            grad_x = grad_x.addcmul_(grad, _per_channel(scale, x)).to(x.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def join_moments(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count `()`, mean `(C,)` and squares `(C,)` of parts with `(P, 1)`, `(P, C)` and `(P, C)`.

    `squares` are sums of squared distances from the mean of the part, then from the joint mean.
    """
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return total, mean, (squares + counts * (means - mean).square()).sum(0)


def convert_norms(
    net: nn.Module, kind: str = "batchnorm", splits: int = 1, processes: int = 0
) -> nn.Module:
    """`net` itself with every BatchNorm, private ones too, of `kind` in training; see NORM_TYPES.

    `splits` are those of `sub_batchnorm`, `processes` how many neighbours in rank share the
    statistics of `sync_batchnorm`: all with 0, or a number that exceeds them.  Every process calls
    it.  Parameters, buffers and names stay what they are, so an optimiser goes on with them; a net
    can be converted again.  Raises ValueError for unusable numbers, or a BatchNorm that computes
    something else besides.
    """
    if kind not in NORM_TYPES:
        raise ValueError(f"BN.NORM_TYPE={kind!r} must be one of {', '.join(NORM_TYPES)}")
    if splits < 1:
        raise ValueError(f"BN.NUM_SPLITS={splits} must be 1 or more")
    group = _processes(processes) if kind == "sync_batchnorm" else None
    made: dict[nn.Module, nn.Module] = {}
    for path, norm in list(net.named_modules(remove_duplicate=False)):
        if not isinstance(norm, _BatchNorm):
            continue
        if norm not in made:
            made[norm] = _converted(norm, path, kind, splits, group)
        if made[norm] is not norm:
            net.set_submodule(path, made[norm])
    return net


def _converted(
    norm: _BatchNorm, path: str, kind: str, splits: int, processes: Processes | None
) -> _BatchNorm:
    if isinstance(norm, _TrainingNorm):
        norm = _share(norm, norm.plain(*_arguments(norm), device="meta"))
    if kind == "batchnorm":
        return norm
    if type(norm).forward is not _BatchNorm.forward:
        raise ValueError(
            f"BN.NORM_TYPE={kind!r} cannot replace {path!r}, a {type(norm).__name__} with a "
            "computation of its own; take 'batchnorm'"
        )
    if kind == "sub_batchnorm":
        return SubBatchNorm(norm, splits)
    return SyncBatchNorm(norm, processes)


def _processes(number: int) -> Processes:
    """This process and its neighbours, `number` in all; 0, and more than there are, is all."""
    world = dist.get_world_size() if dist.is_initialized() else 1
    if number < 0 or (0 < number < world and world % number):
        raise ValueError(
            f"BN.NUM_SYNC_DEVICES={number} must divide the {world} processes of the run, or be 0 "
            "for all of them"
        )
    return Processes(_neighbours(number, dist.group.WORLD) if 0 < number < world else None)


@cache
def _neighbours(number: int, _world: dist.ProcessGroup) -> dist.ProcessGroup:
    """The group of this process among `number` each, made once: a group has connections."""
    return dist.new_subgroups(number)[0]


def _arguments(norm: _BatchNorm) -> tuple[Any, ...]:
    return norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats


def _share(source: _BatchNorm, target: _BatchNorm) -> _BatchNorm:
    """`target` with the parameters, buffers and mode of `source`."""
    for name, parameter in source.named_parameters(recurse=False):
        setattr(target, name, parameter)
    for name, buffer in source.named_buffers(recurse=False):
        setattr(target, name, buffer)
    target.training = source.training
    return target


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _others(x: Tensor) -> list[int]:
    """All dimensions but that of the channels."""
    return [0, *range(2, x.ndim)]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))
