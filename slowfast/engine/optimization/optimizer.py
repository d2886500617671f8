"""Optimisers, and what each parameter's weight decay and learning rate are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, AdamW, Optimizer

from slowfast.engine.optimization.layer_decay import layer_scales
from slowfast.engine.prepare import classifier
from slowfast.engine.processes.parallel import unwrap
from slowfast.models import FrameFlexible
from slowfast.models.flexible import NORMS, private_names


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    norm_weight_decay: float,
    exempt_1d: bool,
    exempt_positions: bool = False,
    exempt_names: Sequence[str] = (),
    lr_scales: Mapping[str, float] = MappingProxyType({}),
) -> list[dict]:
    """Split the trainable parameters by weight decay and `lr_scale`; empty groups are dropped.

    Parameters with one of `exempt_names` in their name, in the network or in checkpoints, do not
    decay.  Of the others those of BatchNorms do by `norm_weight_decay`; with `exempt_1d` other
    one-dimensional ones (biases, LayerNorm) not at all, with `exempt_positions` neither those that
    a module lists in `positions`; the rest, with the gains of FFN, by `weight_decay`.

    `lr_scale` is a group's factor on the learning rate, by name in `lr_scales`, else 1.
    `model` has no wrapper.  Raises ValueError for a name that no parameter has.
    """
    listed = _listed(model, exempt_names)
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
        groups.setdefault((list(decay).index(kind), lr_scales.get(name, 1.0)), []).append(parameter)
    decays = list(decay.values())
    return [
        {"params": params, "weight_decay": decays[kind], "lr_scale": scale}
        for (kind, scale), params in sorted(groups.items(), key=lambda group: group[0])
    ]


def learning_rate_scales(
    model: nn.Module,
    layer_decay: float = 1.0,
    bias: float = 1.0,
    head: float = 1.0,
    num_classes: int = 0,
) -> dict[str, float]:
    """The factor on the learning rate of each parameter of `model`, which has no wrapper.

    It is a product: that of `layer_scales` for its layer, `bias` for a bias that is not a norm's,
    and `head` for both parameters of the classifier of `num_classes`.  Raises ValueError as
    `layer_scales` and `classifier` do.
    """
    scales = {name: 1.0 for name, _ in model.named_parameters()}
    if layer_decay != 1:
        scales |= layer_scales(model, layer_decay)
    factors = [(bias, _biases(model))] if bias != 1 else []
    if head != 1:
        last = classifier(model, num_classes, f"SOLVER.CLASSIFIER_LR_SCALE={head}")
        factors.append((head, last.parameters()))
    for factor, parameters in factors:
        chosen = set(map(id, parameters))
        for name, parameter in model.named_parameters():
            scales[name] *= factor if id(parameter) in chosen else 1.0
    return scales


def _biases(model: nn.Module) -> Iterator[nn.Parameter]:
    """Those of all layers but norms."""
    for module in model.modules():
        if not isinstance(module, NORMS):
            own = dict(module.named_parameters(recurse=False))
            yield from (own[name] for name in own if name == "bias")


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
        lr_scales=learning_rate_scales(
            unwrap(model),
            solver.LAYER_DECAY,
            bias=solver.BIAS_LR_SCALE,
            head=solver.CLASSIFIER_LR_SCALE,
            num_classes=cfg.MODEL.NUM_CLASSES,
        ),
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


def gradient_norm(*groups: Iterable[nn.Parameter]) -> Tensor:
    """The norm of the whole gradient; not finite where an entry is not.

    A group's parameters are all split among the processes, or none of them is.
    """
    gradients = ([p.grad for p in parameters if p.grad is not None] for parameters in groups)
    norms = [nn.utils.get_total_norm(tensors) for tensors in gradients if tensors]
    # That of a gradient whose parts are in several processes asks all of them.
    norms = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    return norms[0] if len(norms) == 1 else nn.utils.get_total_norm(norms)


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
        if any(p.grad is not None for p in parameters):  # PyTorch has no answer without one
            nn.utils.clip_grad_value_(parameters, max_value)
    elif max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
