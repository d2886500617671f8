"""Keys and names of PySlowFast, UniFormer and the original FFN code, with one log line each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slowfast.config.values import coerce, decode
from slowfast.config.yaml_files import Settings

logger = logging.getLogger("slowfast.config")

# The original's counts per rate, low to high like FFN.NUM_FRAMES.
_COUNT_KEYS = ("DATA.NUM_FRAMES_L", "DATA.NUM_FRAMES_M", "DATA.NUM_FRAMES_H")
# It labels the private layers with these, whatever frame counts they stand for.
_PUBLISHED_TAGS = ["4", "8", "16"]
# Names by key, in any case.  The `_ffn` ones also turn the conversion on.
_NAMES = {
    ("MODEL.MODEL_NAME", "slowfast_ffn"): "SlowFast",
    ("MODEL.MODEL_NAME", "uniformer_ffn"): "UniFormer",
    ("MODEL.MODEL_NAME", "uniformer"): "UniFormer",
    ("MODEL.ARCH", "slowfast_ffn"): "slowfast",
    ("MODEL.ARCH", "uniformer_ffn"): "uniformer",
    ("RESNET.TRANS_FUNC", "bottleneck_transform_ffn"): "bottleneck_transform",
    ("DATA.DECODING_BACKEND", "torchvision"): "pyav",
    ("TRAIN.DATASET", "sth_ffn"): "sth",
    ("TEST.DATASET", "sth_ffn"): "sth",
}

_RENAMED = {
    "TRAIN.LAMBDA": "FFN.LAMBDA",
    "TRAIN.KILL_LOSS_EXPLOSION_FACTOR": "TRAIN.MAX_LOSS_FACTOR",
    "SOLVER.CLIP_GRADIENT": "SOLVER.CLIP_GRAD_L2NORM",
    "MODEL.USE_CHECKPOINT": "MODEL.ACT_CHECKPOINT",
}
# Keys of the originals' YAMLs without a choice here: the only value (...: whatever it is) and why.
_SETTLED = {
    "NUM_SHARDS": (..., "machines are told by --num_shards, torchrun or SLURM"),
    "SHARD_ID": (..., "machines are told by --shard_id, torchrun or SLURM"),
    "DIST_BACKEND": (..., "it is nccl on GPUs and gloo on the CPU"),
    "BN.MOMENTUM": (0.1, "BatchNorm averages with 0.1"),
    "MVIT.NORM": ("layernorm", "MViT has LayerNorm"),
    "AUG.RE_SPLIT": (False, "every sample is erased with AUG.RE_PROB"),
    "DATA.MULTI_LABEL": (..., "the data set and MODEL.LOSS_FUNC tell it"),
    "TRAIN.CHECKPOINT_TYPE": (..., "a checkpoint is known by its content"),
    "TEST.CHECKPOINT_TYPE": (..., "a checkpoint is known by its content"),
    "TRAIN.CHECKPOINT_INFLATE": (..., "weights of images are inflated where they fit"),
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": (..., "TRAIN.BATCH_SIZE is the batch of all machines"),
    "DATA.DECODING_SHORT_SIZE": (..., "PySlowFast does not read it either"),
    "SOLVER.STEP_SIZE": (..., "PySlowFast does not read it either"),
    "SOLVER.WARMUP_FACTOR": (..., "PySlowFast does not read it either"),
    "LOG_MODEL_INFO": (..., "MODEL_ZOO.md has parameters and GFLOPs"),
    "UNIFORMER.SPLIT": (False, "attention sees space and time at once"),
    "UNIFORMER.QKV_SCALE": (None, "attention scales with UNIFORMER.HEAD_DIM"),
    "UNIFORMER.REPRESENTATION_SIZE": (None, "no layer stands before the classifier"),
    "UNIFORMER.HEAD_DROPOUT_RATE": (0.0, "nothing is dropped before the classifier"),
    "UNIFORMER.STAGE_TYPE": (..., "UniFormer does not read it either"),
    "UNIFORMER.PRUNE_RATIO": (..., "UniFormer-Light alone reads it, which is not here"),
    "UNIFORMER.TRADE_OFF": (..., "UniFormer-Light alone reads it, which is not here"),
    "UNIFORMER.INIT_VALUE": (..., "UniFormer-Light alone reads it, which is not here"),
    "MODEL.CHECKPOINT_NUM": (..., "MODEL.ACT_CHECKPOINT recomputes every block"),
}
# Data sets that the originals read as images in BGR, and what every whole file of theirs has.
_BGR = ("sth", "sth_ffn", "ssv2", "charades")
_WHOLE = ("TRAIN.DATASET", "DATA.INPUT_CHANNEL_NUM", "NUM_SHARDS")

# (the old words, the new values) of one translation.
_Translation = tuple[str, dict[str, Any]]


def resolve_aliases(settings: Settings, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `settings` with the originals' keys and names replaced by today's.

    `cfg` is the tree before these settings.  A key that is also written out beside its alias keeps
    the written value.
    """
    values = dict(settings.values)
    translated: dict[str, Any] = {}
    for rule in _RULES:
        for old, new in rule(values, cfg):
            translated |= new
            words = ", ".join(f"{key} {value}" for key, value in new.items())
            logger.warning("%s: %s -> %s", settings.source, old, words)
    for line in _settled(values):
        logger.warning("%s: %s", settings.source, line)
    return translated | values


def _settled(values: dict[str, Any]) -> Iterator[str]:
    """Takes the keys of `_SETTLED` out of `values`; a line each, ValueError for another value."""
    for key, (only, reason) in _SETTLED.items():
        if key not in values:
            continue
        value = values.pop(key)
        if only is not ... and coerce(key, value, only) != only:
            raise ValueError(f"{key} = {value!r} cannot be had here: {reason}; leave the key out")
        yield f"{key} {value} is left out: {reason}"


# Each rule takes the old keys out of `values` and yields what stands for them.


def _colours(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    """What the originals' key turns to RGB, and without it stays BGR; ours turns RGB to BGR."""
    if all(key in values for key in _WHOLE) and str(values["TRAIN.DATASET"]).lower() in _BGR:
        key = "DATA.REVERSE_INPUT_CHANNEL"
        reverse = coerce(key, values.pop(key, False), False)
        yield f"{key} {reverse} of images read as BGR", {key: not reverse}


def _names(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    for (key, old), new in _NAMES.items():
        value = values.get(key)
        if isinstance(value, str) and value.lower() == old and value != new:
            flexible = key.startswith("MODEL.") and old.endswith("_ffn")
            implied = _implied_rates(old, values, cfg) if flexible else {}
            if new == "UniFormer" and cfg["SOLVER"]["CLIP_GRAD_L2NORM"] is None:
                implied |= {"SOLVER.CLIP_GRAD_L2NORM": 20}  # its code's default
            yield f"{key} {values.pop(key)}", {key: new} | implied


def _implied_rates(name: str, values: Mapping, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The original's default counts, 16/32/64 for SlowFast, unless somebody has chosen any."""
    chosen = cfg["FFN"]["ENABLE"] or cfg["FFN"]["NUM_FRAMES"] != [4, 8, 16]
    if name != "slowfast_ffn" or chosen or any(key in values for key in _COUNT_KEYS):
        return {"FFN.ENABLE": True}
    return {"FFN.ENABLE": True, "FFN.NUM_FRAMES": [16, 32, 64], "FFN.TAGS": _PUBLISHED_TAGS}


def _frame_counts(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    given = {key: coerce(key, values.pop(key), 0) for key in _COUNT_KEYS if key in values}
    if not given:
        return
    present = cfg["FFN"]["NUM_FRAMES"]
    if len(given) < 3 and len(present) != 3:
        raise ValueError(f"give {', '.join(_COUNT_KEYS)} together: FFN.NUM_FRAMES is {present}")
    counts = [given[key] if key in given else present[i] for i, key in enumerate(_COUNT_KEYS)]
    if len(given) == 3:
        counts.sort()
    new = {"FFN.ENABLE": True, "FFN.NUM_FRAMES": counts}
    if [str(n) for n in counts] != _PUBLISHED_TAGS and not cfg["FFN"]["TAGS"]:
        new["FFN.TAGS"] = _PUBLISHED_TAGS
    yield ", ".join(f"{key} {value}" for key, value in given.items()), new


def _renamed(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    for old, new in _RENAMED.items():
        if old in values:
            value = values.pop(old)
            yield f"{old} {value}", {new: value}


def _surplus_factors(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    """PySlowFast's YAMLs have factors for steps that never come, which it does not read."""
    steps, factors = values.get("SOLVER.STEPS"), values.get("SOLVER.LRS")
    if isinstance(steps, list) and isinstance(factors, list) and len(factors) > len(steps) > 0:
        del values["SOLVER.LRS"]
        yield f"SOLVER.LRS {factors}, more than SOLVER.STEPS", {"SOLVER.LRS": factors[: len(steps)]}


def _decord(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    key = "DATA.DECODING_BACKEND"
    if str(values.get(key)).lower() == "decord":
        old = f"{key} {values.pop(key)}, whose clips count frames at any rate, not DATA.TARGET_FPS"
        yield old, {key: "pyav"}


def _mlp_ratios(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    """Some of UniFormer's YAMLs have a ratio per stage, all of them the same."""
    key = "UNIFORMER.MLP_RATIO"
    ratios = decode(values.get(key))
    if isinstance(ratios, list | tuple) and ratios:
        if any(ratio != ratios[0] for ratio in ratios):
            raise ValueError(f"{key} = {ratios!r} cannot be had here: all stages have one ratio")
        del values[key]
        yield f"{key} {ratios}", {key: ratios[0]}


def _pretrained(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    """UniFormer begins with the weights of a name, but not with a classifier of other classes.

    A checkpoint that is written out beside the name comes after it, and stands.
    """
    key, path = "UNIFORMER.PRETRAIN_NAME", "TRAIN.CHECKPOINT_FILE_PATH"
    if key not in values:
        return
    name = coerce(key, decode(values.pop(key)) or "", "")
    bare = name and "/" not in name and not Path(name).suffix
    file = values.pop(path, "") or (f"{name}.pth" if bare else name)
    yield f"{key} {name!r}", {path: file, "TRAIN.CHECKPOINT_NEW_HEAD": bool(name)}


_RULES = (
    _colours,
    _names,
    _frame_counts,
    _renamed,
    _surplus_factors,
    _decord,
    _mlp_ratios,
    _pretrained,
)
