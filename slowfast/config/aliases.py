"""Keys and names of PySlowFast and the original FFN code, translated with one log line each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from slowfast.config.values import coerce
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
}
# Keys of PySlowFast's YAMLs without a choice here: the only value (None: whatever it is) and why.
_SETTLED = {
    "NUM_SHARDS": (None, "machines are told by --num_shards, torchrun or SLURM"),
    "SHARD_ID": (None, "machines are told by --shard_id, torchrun or SLURM"),
    "DIST_BACKEND": (None, "it is nccl on GPUs and gloo on the CPU"),
    "BN.MOMENTUM": (0.1, "BatchNorm averages with 0.1"),
    "MVIT.NORM": ("layernorm", "MViT has LayerNorm"),
    "AUG.RE_SPLIT": (False, "every sample is erased with AUG.RE_PROB"),
    "DATA.MULTI_LABEL": (None, "the data set and MODEL.LOSS_FUNC tell it"),
    "TRAIN.CHECKPOINT_TYPE": (None, "a checkpoint is known by its content"),
    "TEST.CHECKPOINT_TYPE": (None, "a checkpoint is known by its content"),
    "TRAIN.CHECKPOINT_INFLATE": (None, "weights of images are inflated where they fit"),
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": (None, "TRAIN.BATCH_SIZE is the batch of all machines"),
    "DATA.DECODING_SHORT_SIZE": (None, "PySlowFast does not read it either"),
    "SOLVER.STEP_SIZE": (None, "PySlowFast does not read it either"),
    "SOLVER.WARMUP_FACTOR": (None, "PySlowFast does not read it either"),
    "LOG_MODEL_INFO": (None, "MODEL_ZOO.md has parameters and GFLOPs"),
}

# (the old words, the new values) of one translation.
_Translation = tuple[str, dict[str, Any]]


def resolve_aliases(settings: Settings, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `settings` with the originals' keys and names replaced by today's.

    `cfg` is the tree before these settings.  A key that is also written out beside its alias keeps
    the written value.
    """
    values = dict(settings.values)
    for line in _settled(values):
        logger.warning("%s: %s", settings.source, line)
    translated: dict[str, Any] = {}
    for rule in (_names, _frame_counts, _renamed, _surplus_factors):
        for old, new in rule(values, cfg):
            translated |= new
            words = ", ".join(f"{key} {value}" for key, value in new.items())
            logger.warning("%s: %s -> %s", settings.source, old, words)
    return translated | values


def _settled(values: dict[str, Any]) -> Iterator[str]:
    """Takes the keys of `_SETTLED` out of `values`; a line each, ValueError for another value."""
    for key, (only, reason) in _SETTLED.items():
        if key not in values:
            continue
        value = values.pop(key)
        if only is not None and coerce(key, value, only) != only:
            raise ValueError(f"{key} = {value!r} cannot be had here: {reason}; leave the key out")
        yield f"{key} {value} is left out: {reason}"


# Each rule takes the old keys out of `values` and yields what stands for them.


def _names(values: dict[str, Any], cfg: Mapping[str, Any]) -> Iterator[_Translation]:
    for (key, old), new in _NAMES.items():
        value = values.get(key)
        if isinstance(value, str) and value.lower() == old and value != new:
            flexible = key.startswith("MODEL.") and old.endswith("_ffn")
            implied = _implied_rates(old, values, cfg) if flexible else {}
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
