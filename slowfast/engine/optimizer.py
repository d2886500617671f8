"""Optimisers, and what each parameter's weight decay and learning rate are."""

from collections.abc import Iterable, Sequence

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, AdamW, Optimizer

from slowfast.engine.layer_decay import layer_scales
from slowfast.engine.parallel import unwrap
from slowfast.models import FrameFlexible
from slowfast.models.flexible import private_names


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    norm_weight_decay: float,
    exempt_1d: bool,
    exempt_positions: bool = False,
    exempt_names: Sequence[str] = (),
    layer_decay: float = 1.0,
) -> list[dict]:
    """Split the trainable parameters by weight decay and `lr_scale`; empty groups are dropped.

    Parameters with one of `exempt_names` in their name, in the network or in checkpoints, do not
    decay.  Of the others those of BatchNorms do by `norm_weight_decay`; with `exempt_1d` other
    one-dimensional ones (biases, LayerNorm) not at all, with `exempt_positions` neither those that
    a module lists in `positions`; the rest, with the gains of FFN, by `weight_decay`.

    `lr_scale` is a group's factor on the learning rate, with `layer_decay` that of `layer_scales`.
    `model` has no wrapper.  Raises ValueError for a name that no parameter has.
    """
    listed = _listed(model, exempt_names)
    scales = layer_scales(model, layer_decay) if layer_decay != 1 else {}
    batch_norm = {
        id(p) for m in model.modules() if isinstance(m, _NormBase) for p in m.parameters()
    }
    exempt = {
        id(getattr(module, name, None))
        for module in model.modules()
        for name in getattr(module, "positions", ())
        if exempt_positions
    }
    decay = {"batch_norm": norm_weight_decay, "decayed": weight_decay, "exempt": 0.0}
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = "decayed"
        if name in listed:
            kind = "exempt"
        elif id(parameter) in batch_norm:
            kind = "batch_norm"
        elif id(parameter) in exempt or (exempt_1d and parameter.ndim <= 1):
            kind = "exempt"
        groups.setdefault((list(decay).index(kind), scales.get(name, 1.0)), []).append(parameter)
    decays = list(decay.values())
    return [
        {"params": params, "weight_decay": decays[kind], "lr_scale": scale}
        for (kind, scale), params in sorted(groups.items(), key=lambda group: group[0])
    ]


def _listed(model: nn.Module, parts: Sequence[str]) -> set[str]:
    """The parameters of `model` with one of `parts` in their name.

    A name in checkpoints counts as well: `bn1_4` for the network's `net.bn1.copies.4`.
    """
    net, prefix = (model.net, "net.") if isinstance(model, FrameFlexible) else (model, "")
    published = {native: name for native, name, _ in private_names(net)}
    names = {prefix + name: (name, published.get(name, name)) for name, _ in net.named_parameters()}
    for part in parts:
        if not any(part in own or part in other for own, other in names.values()):
            raise ValueError(
                f"SOLVER.NO_WEIGHT_DECAY names {part!r}, which no parameter of "
                f"{type(net).__name__} has in its name; take it off the list or correct it"
            )
    return {name for name, both in names.items() if any(p in n for p in parts for n in both)}


def build_optimizer(model: nn.Module, cfg: CfgNode) -> Optimizer:
    """The optimiser of `cfg.SOLVER` over the parameter groups of `model`, wrapped or not."""
    solver = cfg.SOLVER
    groups = parameter_groups(
        unwrap(model),
        solver.WEIGHT_DECAY,
        cfg.BN.WEIGHT_DECAY,
        exempt_1d=solver.ZERO_WD_1D_PARAM,
        exempt_positions=cfg.MVIT.ZERO_DECAY_POS_CLS,
        exempt_names=solver.NO_WEIGHT_DECAY,
        layer_decay=solver.LAYER_DECAY,
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
    """Sets it in every group, times the group's `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of the whole gradient; not finite where an entry is not."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    # That of a gradient whose parts are in several processes asks all of them.
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def clip_gradients(
    parameters: list[nn.Parameter],
    max_value: float | None,
    max_norm: float | None,
    norm: Tensor | None = None,
) -> Tensor:
    """Clip entries to `max_value`, or else the whole gradient to `max_norm`; its norm before.

    `norm` is that norm, where it is known already.
    """
    norm = gradient_norm(parameters) if norm is None else norm
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
    elif max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
