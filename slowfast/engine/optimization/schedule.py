"""Learning rate over epochs, as a pure function of the (fractional) epoch."""

import math
from bisect import bisect_right
from collections.abc import Callable

from fvcore.common.config import CfgNode

from slowfast.engine.multigrid import solver_of

Schedule = Callable[[float], float]


def cosine(base_lr: float, end_lr: float, max_epoch: float, offset: float = 0.0) -> Schedule:
    """Half a cosine, `base_lr` at `offset` to `end_lr` at `max_epoch`. SGDR, arXiv:1608.03983."""
    if end_lr >= base_lr:
        raise ValueError(f"SOLVER.COSINE_END_LR={end_lr} must lie below SOLVER.BASE_LR={base_lr}")

    span = max_epoch - offset  # 0 where the warm-up is all of the training

    def at(epoch: float) -> float:
        part = (epoch - offset) / span if span else 0.0
        return end_lr + (base_lr - end_lr) * (math.cos(math.pi * part) + 1) / 2

    return at


def steps(base_lr: float, starts: list[float], factors: list[float]) -> Schedule:
    """`base_lr` times the factor of the last step that has started."""
    if len(starts) != len(factors) or not starts or starts[0] != 0:
        raise ValueError(
            f"SOLVER.STEPS={starts} must start at 0 and be as long as SOLVER.LRS={factors}"
        )
    return lambda epoch: base_lr * factors[bisect_right(starts, epoch) - 1]


def warmed_up(schedule: Schedule, epochs: float, start_lr: float) -> Schedule:
    """Rise linearly from `start_lr` to the schedule's own value at `epochs`, then follow it."""

    def at(epoch: float) -> float:
        if epoch >= epochs:
            return schedule(epoch)
        return start_lr + (schedule(epochs) - start_lr) * epoch / epochs

    return at


def build_schedule(cfg: CfgNode) -> Schedule:
    """The schedule of `cfg.SOLVER`; called with epoch + iteration / iterations per epoch.

    All of it, the warm-up too, is multiplied by `batch_scale`.
    """
    solver = solver_of(cfg)
    if solver.LR_POLICY == "cosine":
        offset = solver.WARMUP_EPOCHS if solver.COSINE_AFTER_WARMUP else 0.0
        policy = cosine(solver.BASE_LR, solver.COSINE_END_LR, solver.MAX_EPOCH, offset)
    elif solver.LR_POLICY == "steps_with_relative_lrs":
        policy = steps(solver.BASE_LR, list(solver.STEPS), list(solver.LRS))
    else:
        raise ValueError(
            f"SOLVER.LR_POLICY={solver.LR_POLICY!r} must be cosine or steps_with_relative_lrs"
        )
    schedule, scale = (
        warmed_up(policy, solver.WARMUP_EPOCHS, solver.WARMUP_START_LR),
        batch_scale(cfg),
    )
    return schedule if scale == 1 else lambda epoch: scale * schedule(epoch)


def batch_scale(cfg: CfgNode) -> float:
    """What the learning rates are multiplied by: the batch over the one that they are meant for.

    The linear scaling rule, arXiv:1706.02677; 1 where SOLVER.REFERENCE_BATCH_SIZE is 0.
    """
    reference = cfg.SOLVER.REFERENCE_BATCH_SIZE
    return cfg.TRAIN.BATCH_SIZE / reference if reference else 1.0
