"""A network in several processes: their gradients become one, their running statistics too.

    model = wrap(build_model(cfg), cfg, world)   # before the optimiser is built
    with no_sync(model):                         # a backward pass that others follow
        model(clip).sum().backward()

Alone, a network is left as it is.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from slowfast.engine.processes.world import World
from slowfast.layers.norms import SyncBatchNorm
from slowfast.models import FrameFlexible

STRATEGIES = ("ddp", "fsdp")


class Sharded(nn.Module):
    """`module`, of which each process holds a part of the weights, gradients and averages (FSDP2).

    A block's weights are together only while it runs.  `module` is changed in place; build the
    optimiser over its parameters as they are then.  Raises ValueError for a network without blocks.
    """

    def __init__(self, module: nn.Module, world: World) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard  # slow to import

        super().__init__()
        blocks = _blocks(module)
        if not blocks:
            raise ValueError(
                "DIST.STRATEGY='fsdp' splits a transformer by its blocks, and "
                f"{type(module).__name__} has none; take 'ddp'"
            )
        self.world = world
        self._whole = [copy.deepcopy(module)]  # in a list: no part of this module
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP2 splits no other layout
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        self.module = fully_shard(module, mesh=mesh)

    def forward(self, *args: Any) -> Any:
        return self.module(*args)

    def whole(self) -> nn.Module:
        """A copy with all weights, the same one each time; all processes ask for it together."""
        (whole,) = self._whole
        whole.load_state_dict(model_state(self))
        return whole.train(self.training)


def wrap(model: nn.Module, cfg: CfgNode, world: World) -> nn.Module:
    """`model`, on `world.device`, as TRAIN.COMPILE and DIST.STRATEGY say.

    What comes back is what to call in training.  Raises ValueError where these keys do not go
    together.
    """
    strategy = cfg.DIST.STRATEGY
    if cfg.TRAIN.COMPILE and strategy == "fsdp":
        raise ValueError(
            "TRAIN.COMPILE does not go with DIST.STRATEGY='fsdp', which puts a block's weights "
            "together while it runs; take 'ddp' or set TRAIN.COMPILE False"
        )
    return parallel(compiled(model) if cfg.TRAIN.COMPILE else model, world, strategy)


def parallel(model: nn.Module, world: World, strategy: str = "ddp") -> nn.Module:
    """`model` whose gradients are means over the processes, by one of STRATEGIES."""
    if strategy not in STRATEGIES:
        raise ValueError(f"DIST.STRATEGY={strategy!r} must be one of {', '.join(STRATEGIES)}")
    if world.size == 1:
        return model
    if strategy == "fsdp":
        return Sharded(model, world)
    for harmless in ("find_unused_parameters=True was specified", "Grad strides do not match"):
        warnings.filterwarnings("ignore", harmless)  # the strides are of dimensions of size 1
    return DistributedDataParallel(
        model,
        device_ids=[world.device.index] if world.device.type == "cuda" else None,
        # The last term of a step sees the private layers of one rate.  Where all are seen it keeps
        # the gradients' order in the exchanged messages: it would change after the first step, and
        # three processes or more would round the sums of a resumed run otherwise.
        find_unused_parameters=True,
        forward_sync_buffers=False,  # see Statistics
        gradient_as_bucket_view=True,
    )


def compiled(model: nn.Module, backend: str | Callable = "inductor") -> nn.Module:
    """`model` itself, computing with a graph per rate of torch.compile; its names stay.

    A batch of another size makes graphs of its own; after some of these the network runs without.
    """
    rates = len(model.rates.tags) if isinstance(model, FrameFlexible) else 1
    model.compile(backend=backend, dynamic=False, recompile_limit=8 * rates)
    return model


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside, which has the parameters and the names of checkpoints."""
    wrapped = isinstance(model, DistributedDataParallel | Sharded)
    return model.module if wrapped else model


def whole(model: nn.Module) -> nn.Module:
    """The network with all weights in this process, to evaluate or save it.

    The one inside where it is whole, else a copy, for which all processes ask together.
    """
    return model.whole() if isinstance(model, Sharded) else unwrap(model)


def no_sync(model: nn.Module) -> AbstractContextManager:
    """Inside it, forward and backward passes add to the gradients of this process alone.

    The next passes outside of it exchange the sum.  Where weights are split every pass exchanges,
    as the sum of a process would need the memory of all weights.
    """
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


class Statistics:
    """The running means and variances of the norms of `model`, private ones too."""

    def __init__(self, model: nn.Module, world: World) -> None:
        self.world = world
        self.norms = [
            module
            for module in model.modules()
            if isinstance(module, _NormBase)
            and module.running_mean is not None
            and not (isinstance(module, SyncBatchNorm) and len(module.processes) == world.size)
        ]

    @torch.no_grad()
    def average(self) -> None:
        """Give all processes the mean of what each found, as if it had seen the others' batches.

        Called after every step: averages of averages are the same whenever they are taken, but for
        rounding, and a checkpoint of any step then holds what goes on in every process.  Norms in
        evaluation mode are left alone.
        """
        norms = [norm for norm in self.norms if norm.training]
        if self.world.size == 1 or not norms:
            return
        tensors = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
        total = self.world.sum(torch.cat([tensor.flatten() for tensor in tensors]))
        means = (total / self.world.size).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [m.view_as(t) for m, t in zip(means, tensors, strict=True)])


# ------------------------------------------------------------------ states of split networks


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the network inside with plain names and whole tensors.

    All processes ask for it together.
    """
    return _whole_tensors(unwrap(model).state_dict())


def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `model_state` gave, in this number of processes or another."""
    own = unwrap(model).state_dict()
    unwrap(model).load_state_dict({k: _like(v, own.get(k)) for k, v in state.items()})


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state dict with whole tensors; all processes ask for it together."""
    state = optimizer.state_dict()
    return state | {"state": {i: _whole_tensors(s) for i, s in state["state"].items()}}


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `optimizer_state` gave, in this number of processes or another.

    Momenta are taken over; rates, decays and the like stay those that the optimiser was built with.
    Raises ValueError for the state of another kind of optimiser, or other groups of parameters.
    """
    _check_kind(optimizer, state)
    built = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [i for group in state["param_groups"] for i in group["params"]]
    owners = dict(zip(numbers, parameters, strict=False))
    parts = {
        i: {
            name: _like(value, owners.get(i)) if _is_entrywise(value, owners.get(i)) else value
            for name, value in values.items()
        }
        for i, values in state["state"].items()
    }
    optimizer.load_state_dict(dict(state) | {"state": parts})
    for group, options in zip(optimizer.param_groups, built, strict=True):
        group.update(options)


def _check_kind(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    adaptive = ["betas" in options for options in (optimizer.defaults, *state["param_groups"])]
    if any(one != adaptive[0] for one in adaptive):
        raise ValueError(
            f"its optimiser was no {type(optimizer).__name__}: SOLVER.OPTIMIZING_METHOD was another"
        )


def _whole_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}


def _like(value: Tensor, example: Tensor | None) -> Tensor:
    """`value` split among the processes as `example` is."""
    if not hasattr(example, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh = example.device_mesh
    return distribute_tensor(
        value.to(mesh.device_type), mesh, example.placements, src_data_rank=None
    )


def _is_entrywise(value: Any, parameter: Tensor | None) -> bool:
    """Whether an optimiser's `value` has an entry per entry of the parameter (`step` has one)."""
    return isinstance(value, Tensor) and parameter is not None and value.shape == parameter.shape


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The modules in the lists that the network itself has."""
    net = model.net if isinstance(model, FrameFlexible) else model
    net = getattr(net, "backbone", net)  # where the published names put all but the classifier
    return [block for part in net.children() if isinstance(part, nn.ModuleList) for block in part]
