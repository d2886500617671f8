"""Optimisers and what each parameter's weight decay is."""

import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, AdamW, Optimizer


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    norm_weight_decay: float,
    exempt_1d: bool,
    exempt_positions: bool = False,
) -> list[dict]:
    """Split the trainable parameters by weight decay; empty groups are dropped.

    BatchNorm parameters decay by `norm_weight_decay`; with `exempt_1d` other one-dimensional
    parameters (biases, LayerNorm) not at all, with `exempt_positions` neither those that a module
    lists in `positions`; the rest, with the gains of FFN, by `weight_decay`.
    """
    batch_norm = {
        id(p) for m in model.modules() if isinstance(m, _NormBase) for p in m.parameters()
    }
    exempt = {
        id(getattr(module, name, None))
        for module in model.modules()
        for name in getattr(module, "positions", ())
        if exempt_positions
    }
    groups: dict[str, list[nn.Parameter]] = {"batch_norm": [], "decayed": [], "exempt": []}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in batch_norm:
            groups["batch_norm"].append(parameter)
        elif id(parameter) in exempt or (exempt_1d and parameter.ndim <= 1):
            groups["exempt"].append(parameter)
        else:
            groups["decayed"].append(parameter)
    decay = {"batch_norm": norm_weight_decay, "decayed": weight_decay, "exempt": 0.0}
    return [
        {"params": params, "weight_decay": decay[name]} for name, params in groups.items() if params
    ]


def build_optimizer(model: nn.Module, cfg: CfgNode) -> Optimizer:
    """The optimiser of `cfg.SOLVER` over the parameter groups of `model`."""
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        solver.WEIGHT_DECAY,
        cfg.BN.WEIGHT_DECAY,
        exempt_1d=solver.ZERO_WD_1D_PARAM,
        exempt_positions=cfg.MVIT.ZERO_DECAY_POS_CLS,
    )
    if solver.OPTIMIZING_METHOD == "sgd":
        nesterov = solver.NESTEROV and solver.MOMENTUM > 0
        return SGD(groups, solver.BASE_LR, solver.MOMENTUM, solver.DAMPENING, nesterov=nesterov)
    adaptive = {"adam": Adam, "adamw": AdamW}.get(solver.OPTIMIZING_METHOD)
    if adaptive is None:
        raise ValueError(
            f"SOLVER.OPTIMIZING_METHOD={solver.OPTIMIZING_METHOD!r} must be sgd, adam or adamw"
        )
    return adaptive(groups, solver.BASE_LR, betas=tuple(solver.BETAS))


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(
    parameters: list[nn.Parameter], max_value: float | None, max_norm: float | None
) -> torch.Tensor:
    """Clip entries to `max_value`, or else the whole gradient to `max_norm`; its norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
    elif max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
