"""Checks of a complete configuration, before anything is built from it.

Names of networks, data sets and objectives are left to their registries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from slowfast.config.node import CfgNode
from slowfast.config.registry import nearest

_CHOICES: dict[str, tuple] = {
    "FFN.SAMPLING": ("independent", "nested"),
    "FFN.DISTILL": ("teacher", "mutual", "labels"),
    "FFN.BACKWARD": ("per_rate", "joint"),
    "MODEL.HEAD_ACT": ("softmax", "sigmoid", "none"),
    "RESNET.DEPTH": (18, 50, 101),
    "RESNET.TRANS_FUNC": ("bottleneck_transform", "basic_transform"),
    "DATA.SAMPLING": ("auto", "dense", "segment"),
    "DATA.ENSEMBLE_METHOD": ("sum", "max"),
    "TRAIN.AMP_DTYPE": ("bf16", "fp16"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adam", "adamw"),
    "SOLVER.LR_POLICY": ("cosine", "steps_with_relative_lrs"),
}
_POSITIVE = (
    *("FFN.NUM_FRAMES", "FFN.TEMPERATURE", "MODEL.NUM_CLASSES"),
    *("RESNET.WIDTH_PER_GROUP", "RESNET.NUM_GROUPS", "SLOWFAST.ALPHA", "SLOWFAST.BETA_INV"),
    *("SLOWFAST.FUSION_CONV_CHANNEL_RATIO", "SLOWFAST.FUSION_KERNEL_SZ"),
    *("UNIFORMER.DEPTH", "UNIFORMER.EMBED_DIM", "UNIFORMER.HEAD_DIM", "UNIFORMER.MLP_RATIO"),
    *("R2PLUS1D.WIDTHS", "R2PLUS1D.BLOCKS"),
    *("DATA.NUM_FRAMES", "DATA.SAMPLING_RATE", "DATA.TARGET_FPS", "DATA.STD"),
    *("DATA.TRAIN_JITTER_SCALES", "DATA.TRAIN_CROP_SIZE", "DATA.TEST_CROP_SIZE"),
    *("TRAIN.BATCH_SIZE", "TRAIN.EVAL_PERIOD", "TRAIN.CHECKPOINT_PERIOD"),
    *("TRAIN.KEEP_CHECKPOINTS", "TEST.BATCH_SIZE", "TEST.NUM_FRAMES", "TEST.NUM_ENSEMBLE_VIEWS"),
    *("SOLVER.BASE_LR", "SOLVER.MAX_EPOCH", "SOLVER.CLIP_GRAD_VAL", "SOLVER.CLIP_GRAD_L2NORM"),
    "LOG_PERIOD",
)
_NOT_NEGATIVE = (
    *("FFN.LAMBDA", "MODEL.FC_INIT_STD", "BN.WEIGHT_DECAY", "DATA.DECODE_SHORT_SIDE"),
    *("DATA.CACHE_GB", "DATA_LOADER.NUM_WORKERS", "SOLVER.COSINE_END_LR", "SOLVER.WARMUP_EPOCHS"),
    *("SOLVER.WARMUP_START_LR", "SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY", "SOLVER.LRS"),
    *("SOLVER.STEPS", "NUM_THREADS", "RNG_SEED"),
)
_BELOW_ONE = (
    *("OBJECTIVE.LABEL_SMOOTHING", "MODEL.DROPOUT_RATE", "SOLVER.BETAS"),
    *("UNIFORMER.DROPOUT_RATE", "UNIFORMER.ATTENTION_DROPOUT_RATE", "UNIFORMER.DROP_DEPTH_RATE"),
)


def check(cfg: CfgNode, source: str) -> None:
    """Raise a ValueError that starts with `source` and lists every problem; else do nothing."""
    problems = [
        problem
        for rule in (_choices, _ranges, _flexibility, _input_sizes, _schedule)
        for problem in rule(cfg)
    ]
    if problems:
        raise ValueError(f"{source}: " + "\n  ".join(problems))


def _choices(cfg: CfgNode) -> Iterator[str]:
    for key, allowed in _CHOICES.items():
        value = _get(cfg, key)
        if value in allowed:
            continue
        words = f"{', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
        guess = nearest(str(value), [a for a in allowed if isinstance(a, str)])
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        yield f"{key} = {value!r} must be {words}{hint}"
    if cfg.NUM_GPUS not in (0, 1):
        yield f"NUM_GPUS = {cfg.NUM_GPUS} must be 0 or 1: runs over several GPUs are not there yet"


def _ranges(cfg: CfgNode) -> Iterator[str]:
    yield from _each(cfg, _POSITIVE, lambda v: v > 0, "positive")
    yield from _each(cfg, _NOT_NEGATIVE, lambda v: v >= 0, "0 or more")
    yield from _each(cfg, _BELOW_ONE, lambda v: 0 <= v < 1, "at least 0 and below 1")


def _each(
    cfg: CfgNode, keys: tuple[str, ...], fits: Callable[[float], bool], wanted: str
) -> Iterator[str]:
    """A problem for each key with a number, or a list with a number, that does not fit."""
    for key in keys:
        value = _get(cfg, key)
        for number in value if isinstance(value, list | tuple) else [value]:
            if number is None:  # a clipping key that is off
                continue
            if isinstance(number, bool | str | list | tuple) or not fits(number):
                yield f"{key} = {value!r} must be {wanted}"
                break


def _flexibility(cfg: CfgNode) -> Iterator[str]:
    if not cfg.FFN.ENABLE:
        return
    counts, tags = list(cfg.FFN.NUM_FRAMES), list(cfg.FFN.TAGS)
    if len(counts) < 2:
        yield f"FFN.NUM_FRAMES = {counts} must hold two counts or more; else set FFN.ENABLE False"
    for before, after in zip(counts, counts[1:], strict=False):
        if after <= before:
            yield f"FFN.NUM_FRAMES = {counts} must rise; got {after} after {before}"
    if tags and len(tags) != len(counts):
        yield f"FFN.TAGS = {tags} must hold one label per count of FFN.NUM_FRAMES = {counts}, or []"
    if len(set(tags)) < len(tags):
        yield f"FFN.TAGS = {tags} must differ from each other: they name checkpoint entries"
    if cfg.FFN.DISTILL == "mutual" and cfg.FFN.BACKWARD != "joint":
        yield (
            f"FFN.BACKWARD = {cfg.FFN.BACKWARD!r}, but FFN.DISTILL 'mutual' needs every rate's "
            "graph at once: set FFN.BACKWARD joint"
        )


def _input_sizes(cfg: CfgNode) -> Iterator[str]:
    scales, crop = list(cfg.DATA.TRAIN_JITTER_SCALES), cfg.DATA.TRAIN_CROP_SIZE
    if len(scales) != 2 or scales[0] > scales[1]:
        yield f"DATA.TRAIN_JITTER_SCALES = {scales} must be [smallest, largest] short side"
    elif scales[0] < crop:
        yield (
            f"DATA.TRAIN_JITTER_SCALES = {scales} must not go below "
            f"DATA.TRAIN_CROP_SIZE = {crop}: the crop would not fit"
        )
    if any(channels != 3 for channels in cfg.DATA.INPUT_CHANNEL_NUM):
        yield f"DATA.INPUT_CHANNEL_NUM = {cfg.DATA.INPUT_CHANNEL_NUM} must be all 3: clips are RGB"
    for key in ("DATA.MEAN", "DATA.STD"):
        if len(_get(cfg, key)) != 3:
            yield f"{key} = {_get(cfg, key)} must hold three numbers, for red, green and blue"


def _schedule(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.WARMUP_EPOCHS > solver.MAX_EPOCH:
        yield (
            f"SOLVER.WARMUP_EPOCHS = {solver.WARMUP_EPOCHS} must not exceed "
            f"SOLVER.MAX_EPOCH = {solver.MAX_EPOCH}"
        )
    if len(solver.BETAS) != 2:
        yield f"SOLVER.BETAS = {solver.BETAS} must hold two numbers"
    if solver.LR_POLICY != "steps_with_relative_lrs":
        return
    steps, rates = list(solver.STEPS), list(solver.LRS)
    if steps[:1] != [0] or steps != sorted(set(steps)):
        yield f"SOLVER.STEPS = {steps} must start with 0 and rise"
    if len(steps) != len(rates):
        yield (
            f"SOLVER.LRS = {rates} must hold one factor for each of SOLVER.STEPS = {steps}; "
            f"got {len(rates)} for {len(steps)}"
        )


def _get(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg
