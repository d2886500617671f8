"""Checks of a complete configuration, before anything is built from it.

Names of networks, data sets and objectives are left to their registries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from slowfast.config.node import CfgNode
from slowfast.config.registry import nearest

_CHOICES: dict[str, tuple] = {
    "FFN.SAMPLING": ("independent", "nested"),
    "FFN.DISTILL": ("teacher", "mutual", "labels"),
    "FFN.BACKWARD": ("per_rate", "joint"),
    "FFN.ANY_FRAME": (*("nearest", "interpolated", "recalibrated", "interpolated_recalibrated"),),
    "MODEL.LOSS_FUNC": ("cross_entropy", "bce_logit", "soft_cross_entropy"),
    "MODEL.HEAD_ACT": ("softmax", "sigmoid", "none"),
    "RESNET.DEPTH": (18, 34, 50, 101, 152),
    "RESNET.TRANS_FUNC": ("bottleneck_transform", "basic_transform", "x3d_transform"),
    "NONLOCAL.INSTANTIATION": ("softmax", "dot_product"),
    "MVIT.MODE": ("conv", "avg", "max"),
    "DISTILL.LOSS": ("feature_mse", "location_kl", "logit_kl"),
    "DISTILL.TEACHER_MODE": ("train", "eval"),
    "FRAME_EXIT.STAGE": ("classifiers", "gates", "joint"),
    "DATA.SAMPLING": (
        *("auto", "dense", "segment", "clips"),
        *("pyslowfast", "pyslowfast_trimmed", "pyslowfast_ssv2"),
        *("charades", "tsn", "sth_ffn", "mmaction_segment", "mmaction_dense", "frameexit"),
    ),
    "DATA.CROPS": ("auto", "pyslowfast", "sth_ffn", "tsn", "frameexit"),
    "DATA.ENSEMBLE_METHOD": ("sum", "max"),
    "DATA.DECODING_BACKEND": ("pyav", "torchcodec"),
    "TRAIN.AMP_DTYPE": ("bf16", "fp16"),
    "BN.NORM_TYPE": ("batchnorm", "sub_batchnorm", "sync_batchnorm"),
    "DIST.BACKEND": ("auto", "gloo", "nccl"),
    "DIST.STRATEGY": ("ddp", "fsdp"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "TEST.EXIT": ("none", "gates", "rates"),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adam", "adamw"),
    "SOLVER.LR_POLICY": ("cosine", "steps_with_relative_lrs"),
}
_POSITIVE = (
    *("FFN.SIZES", "TEST.SIZES"),
    *("FFN.NUM_FRAMES", "FFN.TEMPERATURE", "FFN.RECALIBRATION_CLIPS", "MODEL.NUM_CLASSES"),
    "DISTILL.TEMPERATURE",
    *("RESNET.WIDTH_PER_GROUP", "RESNET.NUM_GROUPS", "SLOWFAST.ALPHA", "SLOWFAST.BETA_INV"),
    *("SLOWFAST.FUSION_CONV_CHANNEL_RATIO", "SLOWFAST.FUSION_KERNEL_SZ"),
    *("UNIFORMER.DEPTH", "UNIFORMER.EMBED_DIM", "UNIFORMER.HEAD_DIM", "UNIFORMER.MLP_RATIO"),
    *("VIDEO_SWIN.PATCH_SIZE", "VIDEO_SWIN.EMBED_DIM", "VIDEO_SWIN.DEPTHS", "VIDEO_SWIN.NUM_HEADS"),
    *("VIDEO_SWIN.WINDOW_SIZE", "VIDEO_SWIN.MLP_RATIO"),
    *("R2PLUS1D.WIDTHS", "R2PLUS1D.BLOCKS", "X3D.DIM_C1", "X3D.DIM_C5"),
    *("TSM.SHIFT_EVERY", "TSM.FOLD_DIV", "FRAME_EXIT.CLIP_LENGTH", "FRAME_EXIT.GATE_DIMS"),
    *("X3D.WIDTH_FACTOR", "X3D.DEPTH_FACTOR", "X3D.BOTTLENECK_FACTOR"),
    *("MVIT.DEPTH", "MVIT.EMBED_DIM", "MVIT.NUM_HEADS", "MVIT.MLP_RATIO", "MVIT.PATCH_KERNEL"),
    *("MVIT.PATCH_STRIDE", "MVIT.POOL_KVQ_KERNEL", "MVIT.POOL_KV_STRIDE_ADAPTIVE"),
    *("DATA.NUM_FRAMES", "DATA.SAMPLING_RATE", "DATA.TARGET_FPS", "DATA.STD"),
    "DATA.IMAGE_FPS",
    *("DATA.TRAIN_JITTER_SCALES", "DATA.TRAIN_CROP_SIZE", "DATA.TEST_CROP_SIZE"),
    *("AUG.RE_COUNT", "AUG.NUM_SAMPLE"),
    *("TRAIN.BATCH_SIZE", "TRAIN.EVAL_PERIOD", "TRAIN.CHECKPOINT_PERIOD", "TRAIN.MICRO_BATCHES"),
    *("BN.NUM_SPLITS", "BN.NUM_BATCHES_PRECISE", "DIST.TIMEOUT"),
    "DATA_LOADER.PREFETCH_FACTOR",
    *("TRAIN.KEEP_CHECKPOINTS", "TEST.BATCH_SIZE", "TEST.NUM_FRAMES", "TEST.NUM_ENSEMBLE_VIEWS"),
    "TEST.EXIT_BUDGET",
    *("MULTIGRID.EPOCH_FACTOR", "MULTIGRID.EVAL_FREQ"),
    *("SOLVER.BASE_LR", "SOLVER.MAX_EPOCH", "SOLVER.CLIP_GRAD_VAL", "SOLVER.CLIP_GRAD_L2NORM"),
    *("SOLVER.BIAS_LR_SCALE", "SOLVER.CLASSIFIER_LR_SCALE"),
    "LOG_PERIOD",
)
_NOT_NEGATIVE = (
    *("DISTILL.WEIGHT", "DISTILL.STUDENT_SIZE"),
    *("FFN.LAMBDA", "MODEL.FC_INIT_STD", "BN.WEIGHT_DECAY", "DATA.DECODE_SHORT_SIDE"),
    *("FRAME_EXIT.HIDDEN_DIM", "FRAME_EXIT.BETA"),
    *("DATA.CACHE_GB", "DATA_LOADER.NUM_WORKERS", "SOLVER.COSINE_END_LR", "SOLVER.WARMUP_EPOCHS"),
    *("DATA.MAX_FAILURES", "NUM_GPUS", "BN.NUM_SYNC_DEVICES", "TRAIN.CHECKPOINT_STEPS"),
    *("TRAIN.SKIP_NONFINITE", "TRAIN.MAX_LOSS_FACTOR", "SOLVER.REFERENCE_BATCH_SIZE"),
    *("SOLVER.WARMUP_START_LR", "SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY", "SOLVER.LRS"),
    *("SOLVER.STEPS", "NUM_THREADS", "RNG_SEED", "MVIT.PATCH_PADDING", "MVIT.HEAD_INIT_SCALE"),
    *("AUG.COLOR_JITTER", "AUG.COLOR_HUE", "MIXUP.ALPHA", "MIXUP.CUTMIX_ALPHA"),
    "MULTIGRID.BN_BASE_SIZE",
)
_SHARES = (
    *("AUG.RE_PROB", "MIXUP.PROB", "MIXUP.SWITCH_PROB"),
    *("FRAME_EXIT.FIRST_THRESHOLD", "FRAME_EXIT.GATE_THRESHOLD", "TEST.EXIT_THRESHOLDS"),
)
_BELOW_ONE = (
    "MIXUP.LABEL_SMOOTH_VALUE",
    *("OBJECTIVE.LABEL_SMOOTHING", "MODEL.DROPOUT_RATE", "MODEL.DROPCONNECT_RATE", "SOLVER.BETAS"),
    *("UNIFORMER.DROPOUT_RATE", "UNIFORMER.ATTENTION_DROPOUT_RATE", "UNIFORMER.DROP_DEPTH_RATE"),
    *("MVIT.DROPOUT_RATE", "MVIT.DROPPATH_RATE"),
    *("VIDEO_SWIN.DROPOUT_RATE", "VIDEO_SWIN.ATTENTION_DROPOUT_RATE", "VIDEO_SWIN.DROP_PATH_RATE"),
    "TRAIN.EMA_DECAY",
)
_PER_STAGE = (
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", "RESNET.SPATIAL_STRIDES", "RESNET.SPATIAL_DILATIONS"),
    *("NONLOCAL.LOCATION", "NONLOCAL.GROUP", "NONLOCAL.POOL"),
)
_MAY_BE_ZERO = ("RESNET.NUM_BLOCK_TEMP_KERNEL", "NONLOCAL.LOCATION")


def check(cfg: CfgNode, source: str) -> None:
    """Raise a ValueError that starts with `source` and lists every problem; else do nothing."""
    problems = [
        problem
        for rule in (
            *(_choices, _ranges, _stages, _mvit, _exits, _tested_exits, _flexibility, _sizes),
            *(_distillation, _input_sizes, _mixing, _training, _schedule, _multigrid),
        )
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


def _ranges(cfg: CfgNode) -> Iterator[str]:
    yield from _each(cfg, _POSITIVE, lambda v: v > 0, "positive")
    yield from _each(cfg, _NOT_NEGATIVE, lambda v: v >= 0, "0 or more")
    yield from _each(cfg, _SHARES, lambda v: 0 <= v <= 1, "0 to 1")
    yield from _each(cfg, _BELOW_ONE, lambda v: 0 <= v < 1, "at least 0 and below 1")
    yield from _each(cfg, ("TEST.EXIT_TARGET",), lambda v: -100 <= v <= 100, "-100 to 100")


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


def _stages(cfg: CfgNode) -> Iterator[str]:
    for key in _PER_STAGE:
        stages = _get(cfg, key)
        if len(stages) != 4 or not all(isinstance(stage, list) and stage for stage in stages):
            yield f"{key} = {stages!r} must be four lists, one per stage, with an entry per pathway"
        elif key not in _MAY_BE_ZERO and min(_numbers(stages), default=1) < 1:
            yield f"{key} = {stages!r} must be positive"


def _numbers(values: Any) -> Iterator[float]:
    """The numbers in lists of lists."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _numbers(value)
        else:
            yield value


def _mvit(cfg: CfgNode) -> Iterator[str]:
    strides, factors = "[block, time, height, width]", "[block, factor]"
    for key, form, length in (
        ("DIM_MUL", factors, 2),
        ("HEAD_MUL", factors, 2),
        ("POOL_Q_STRIDE", strides, 4),
        ("POOL_KV_STRIDE", strides, 4),
    ):
        for entry in cfg.MVIT[key]:
            numbers = [n for n in entry if isinstance(n, int | float) and n >= 0]
            fits = len(numbers) == len(entry) == length and 0 not in numbers[1:]
            if not fits or numbers[0] not in range(cfg.MVIT.DEPTH):
                yield (
                    f"MVIT.{key}: {list(entry)} must be {form} with positive numbers and a block "
                    f"below MVIT.DEPTH = {cfg.MVIT.DEPTH}"
                )
    for key in ("POOL_KVQ_KERNEL", "POOL_KV_STRIDE_ADAPTIVE"):
        value = cfg.MVIT[key]
        if value is not None and (not isinstance(value, list | tuple) or len(value) != 3):
            yield f"MVIT.{key} = {value!r} must be [time, height, width] or None"


def _exits(cfg: CfgNode) -> Iterator[str]:
    if cfg.MODEL.MODEL_NAME != "FrameExit":
        return
    if cfg.FFN.ENABLE:
        yield "MODEL.MODEL_NAME FrameExit has no frame-flexible form: set FFN.ENABLE False"
    if cfg.FRAME_EXIT.STAGE == "gates" and cfg.BN.USE_PRECISE_STATS:
        yield (
            "BN.USE_PRECISE_STATS would change the features that FRAME_EXIT.STAGE gates leaves as "
            "they are: set it to False"
        )
    if len(cfg.FRAME_EXIT.GATE_DIMS) != 2:
        yield f"FRAME_EXIT.GATE_DIMS = {cfg.FRAME_EXIT.GATE_DIMS} must hold two widths"
    step = cfg.FRAME_EXIT.CLIP_LENGTH
    if step > 0 and cfg.DATA.NUM_FRAMES % step:
        yield (
            f"FRAME_EXIT.CLIP_LENGTH = {step} must divide DATA.NUM_FRAMES = {cfg.DATA.NUM_FRAMES}"
        )


def _tested_exits(cfg: CfgNode) -> Iterator[str]:
    test = cfg.TEST
    if test.EXIT == "none":
        return
    if test.EXIT == "gates" and cfg.MODEL.MODEL_NAME != "FrameExit":
        yield "TEST.EXIT gates needs MODEL.MODEL_NAME FrameExit; flexible networks have rates"
    if test.EXIT == "rates" and not cfg.FFN.ENABLE:
        yield "TEST.EXIT rates needs the rates of FFN.ENABLE True; FrameExit has gates"
    ways = {
        "EXIT_TARGET": test.EXIT_TARGET is not None,
        "EXIT_BUDGET": test.EXIT_BUDGET is not None,
        "EXIT_THRESHOLDS": len(test.EXIT_THRESHOLDS) > 0,
    }
    given = [f"TEST.{key}" for key, is_given in ways.items() if is_given]
    if len(given) > 1 or (not given and test.EXIT == "rates"):
        said = " and ".join(given) or "none"
        yield f"TEST.EXIT {test.EXIT} takes one of {', '.join(ways)}; got {said}"
    if test.NUM_ENSEMBLE_VIEWS * test.NUM_SPATIAL_CROPS != 1:
        yield (
            f"TEST.EXIT {test.EXIT} takes one view of a video: set TEST.NUM_ENSEMBLE_VIEWS and "
            "TEST.NUM_SPATIAL_CROPS to 1"
        )
    if cfg.MODEL.HEAD_ACT == "none":
        yield f"TEST.EXIT {test.EXIT} needs scores to be sure of: set MODEL.HEAD_ACT to softmax"


def _flexibility(cfg: CfgNode) -> Iterator[str]:
    if not cfg.FFN.ENABLE:
        return
    counts, sizes = list(cfg.FFN.NUM_FRAMES), list(cfg.FFN.SIZES)
    tags, rates = list(cfg.FFN.TAGS), len(counts) * max(len(sizes), 1)
    if rates < 2:
        yield f"FFN.NUM_FRAMES = {counts} must hold two counts or more; else set FFN.ENABLE False"
    for name, values in (("NUM_FRAMES", counts), ("SIZES", sizes)):
        for before, after in pairwise(values):
            if after <= before:
                yield f"FFN.{name} = {values} must rise; got {after} after {before}"
    if tags and len(tags) != rates:
        of = f"FFN.NUM_FRAMES = {counts}"
        each = f"pair of {of} and FFN.SIZES = {sizes}" if sizes else f"count of {of}"
        yield f"FFN.TAGS = {tags} must hold one label per {each}, or []"
    if len(set(tags)) < len(tags):
        yield f"FFN.TAGS = {tags} must differ from each other: they name checkpoint entries"
    if cfg.FFN.DISTILL == "mutual" and cfg.FFN.BACKWARD != "joint":
        yield (
            f"FFN.BACKWARD = {cfg.FFN.BACKWARD!r}, but FFN.DISTILL 'mutual' needs every rate's "
            "graph at once: set FFN.BACKWARD joint"
        )


def _sizes(cfg: CfgNode) -> Iterator[str]:
    """Clips are made smaller, never larger; and what knows frame counts alone is not for pairs."""
    trained = list(cfg.FFN.SIZES) if cfg.FFN.ENABLE else []
    crop = cfg.DATA.TRAIN_CROP_SIZE
    if trained and max(trained) != crop:
        yield f"FFN.SIZES = {trained} must end with DATA.TRAIN_CROP_SIZE = {crop}"
    tested = list(cfg.TEST.SIZES) or trained
    crop = cfg.DATA.TEST_CROP_SIZE
    validated = trained if cfg.TRAIN.ENABLE else []
    if max([*tested, *validated], default=0) > crop:
        yield (
            f"DATA.TEST_CROP_SIZE = {crop} must not be below the sizes to test and to validate, "
            f"{sorted({*tested, *validated})}: set it, TEST.SIZES or FFN.SIZES"
        )
    if tested and cfg.TEST.EXIT != "none":
        yield f"TEST.EXIT {cfg.TEST.EXIT} takes one size: set TEST.SIZES and FFN.SIZES to []"
    if not trained:
        return
    if cfg.OBJECTIVE.NAME not in ("auto", "ffn"):
        yield (
            f"OBJECTIVE.NAME = {cfg.OBJECTIVE.NAME!r} trains one size; FFN.SIZES = {trained} takes "
            "the objective ffn"
        )
    if cfg.FFN.ANY_FRAME != "nearest":
        yield (
            f"FFN.ANY_FRAME = {cfg.FFN.ANY_FRAME!r} makes layers for frame counts alone: set it to "
            f"nearest, or FFN.SIZES = {trained} to []"
        )
    if cfg.MULTIGRID.SHORT_CYCLE or cfg.MULTIGRID.LONG_CYCLE:
        yield f"MULTIGRID changes the size of clips: set FFN.SIZES = {trained} to []"


def _distillation(cfg: CfgNode) -> Iterator[str]:
    if cfg.OBJECTIVE.NAME != "distill" or not cfg.DISTILL.STUDENT_SIZE:
        return
    if cfg.BN.USE_PRECISE_STATS:
        yield (
            "BN.USE_PRECISE_STATS would take the statistics of clips as the teacher sees them, not "
            f"at DISTILL.STUDENT_SIZE = {cfg.DISTILL.STUDENT_SIZE}: set it False"
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


def _mixing(cfg: CfgNode) -> Iterator[str]:
    if not cfg.MIXUP.ENABLE:
        return
    if cfg.OBJECTIVE.LABEL_SMOOTHING and cfg.MIXUP.LABEL_SMOOTH_VALUE:
        yield (
            f"OBJECTIVE.LABEL_SMOOTHING = {cfg.OBJECTIVE.LABEL_SMOOTHING} would smooth labels "
            f"again after MIXUP.LABEL_SMOOTH_VALUE = {cfg.MIXUP.LABEL_SMOOTH_VALUE}; "
            "set one of them to 0"
        )
    if cfg.MIXUP.ALPHA == cfg.MIXUP.CUTMIX_ALPHA == 0:
        yield "MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0: set MIXUP.ENABLE False instead"


def _training(cfg: CfgNode) -> Iterator[str]:
    train, batch = cfg.TRAIN, cfg.TRAIN.BATCH_SIZE
    if train.MICRO_BATCHES > batch:
        yield (
            f"TRAIN.MICRO_BATCHES = {train.MICRO_BATCHES} must not exceed TRAIN.BATCH_SIZE = "
            f"{batch}: a part has one video or more"
        )
    if 0 < train.MAX_LOSS_FACTOR <= 1:
        yield (
            f"TRAIN.MAX_LOSS_FACTOR = {train.MAX_LOSS_FACTOR} must be more than 1, or 0 for no "
            "limit: every run would stop"
        )
    if not 0 < cfg.SOLVER.LAYER_DECAY <= 1:
        yield f"SOLVER.LAYER_DECAY = {cfg.SOLVER.LAYER_DECAY} must be more than 0 and at most 1"
    for key in ("FROZEN_BN", "DETACH_FINAL_FC"):
        if cfg.MODEL[key] and cfg.BN.USE_PRECISE_STATS:
            yield (
                f"BN.USE_PRECISE_STATS would change the statistics that MODEL.{key} keeps; set one "
                "of them to False"
            )
    if cfg.DIST.BACKEND == "nccl" and cfg.NUM_GPUS == 0:
        yield "DIST.BACKEND = 'nccl' is for GPUs, and NUM_GPUS is 0; set it to 'auto'"


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


def _multigrid(cfg: CfgNode) -> Iterator[str]:
    grid, solver = cfg.MULTIGRID, cfg.SOLVER
    if not grid.LONG_CYCLE_FACTORS or any(len(pair) != 2 for pair in grid.LONG_CYCLE_FACTORS):
        yield (
            f"MULTIGRID.LONG_CYCLE_FACTORS = {grid.LONG_CYCLE_FACTORS} must hold pairs "
            "[part of the frames, part of the crop]"
        )
    for key in ("LONG_CYCLE_FACTORS", "SHORT_CYCLE_FACTORS"):
        if not all(0 < part <= 1 for part in _numbers(grid[key])):
            yield f"MULTIGRID.{key} = {grid[key]} must be more than 0 and at most 1"
    if grid.LONG_CYCLE and (solver.LR_POLICY != "steps_with_relative_lrs" or len(solver.STEPS) < 2):
        yield (
            "MULTIGRID.LONG_CYCLE goes through its shapes in each step of the learning rate: set "
            "SOLVER.LR_POLICY steps_with_relative_lrs with two or more SOLVER.STEPS"
        )


def _get(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg
