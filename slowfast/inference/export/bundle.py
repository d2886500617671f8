"""One file for those who have neither this project nor PyTorch: networks, and how to feed them.

    bundle.zip
        bundle.json      labels, activation, reading (frames and crop), normalisation, rates
        model_4.onnx     a network per rate, model_16x112.onnx where sizes are trained
        ...

`tools/run_bundle.py` shows how to use it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets import DATASETS
from slowfast.datasets.pipeline import build_crops
from slowfast.datasets.transforms import UniformCrops
from slowfast.inference.recognizer import Recognizer
from slowfast.models.flexible import Rate
from slowfast.weights.replacing import replacing

VERSION = 1
SAMPLINGS = ("segment", "dense", "pyslowfast")
CROPS = ("auto", "pyslowfast", "tsn")


def describe(recognizer: Recognizer, files: Mapping[Rate, str]) -> dict[str, Any]:
    """What `bundle.json` says; `files` are the names of the exported rates' networks.

    Raises ValueError for a way of sampling or of cropping that a bundle has no words for.
    """
    cfg = recognizer.cfg
    return {
        "version": VERSION,
        "labels": list(recognizer.labels),
        "activation": cfg.MODEL.HEAD_ACT,
        "rates": {
            str(rate): {"file": name, "num_frames": rate.num_frames} for rate, name in files.items()
        },
        "reading": _sampling(cfg) | _crop(cfg),
        "mean": list(cfg.DATA.MEAN),
        "std": list(cfg.DATA.STD),
        "bgr": cfg.DATA.REVERSE_INPUT_CHANNEL,
    }


def write_bundle(path: Path, description: Mapping[str, Any], folder: Path) -> None:
    """Writes the zip file `path` from the files in `folder` that `description` names."""
    names = [rate["file"] for rate in description["rates"].values()]
    size = sum((folder / name).stat().st_size for name in names)
    with (
        replacing(path, size) as temporary,
        # Weights are noise to a compressor.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bundle,
    ):
        bundle.writestr("bundle.json", json.dumps(description, indent=1) + "\n")
        for name in names:
            bundle.write(folder / name, name)


def _sampling(cfg: CfgNode) -> dict[str, Any]:
    """The frames of testing with one view.

    All are taken evenly from `span` frames of a video of `fps` frames per second (0: the centres
    of equal parts of the whole video), which begin at `place` of the way to their last beginning.
    """
    data = cfg.DATA
    kind = DATASETS.get(cfg.TEST.DATASET).sampling if data.SAMPLING == "auto" else data.SAMPLING
    _check("SAMPLING", kind, SAMPLINGS)
    if kind == "pyslowfast" and data.USE_OFFSET_SAMPLING:
        raise ValueError(_refused("USE_OFFSET_SAMPLING True with SAMPLING pyslowfast"))
    span = 0 if kind == "segment" else frame_counts(cfg)[-1] * data.SAMPLING_RATE
    return {"span": span, "fps": data.TARGET_FPS, "place": 0.5 if kind == "dense" else 0.0}


def _crop(cfg: CfgNode) -> dict[str, Any]:
    """Frames are resized to `short_side` (0: not) and cut; the cut becomes `size` pixels.

    Larger frames are shrunk to `decode_short_side` before.  `rounding` is of half a pixel.
    """
    _check("CROPS", cfg.DATA.CROPS, CROPS)
    one = cfg.clone()
    one.defrost()
    one.TEST.NUM_SPATIAL_CROPS = 1
    crops = build_crops(one, "test", DATASETS.get(cfg.TEST.DATASET))
    is_plain = isinstance(crops, UniformCrops)
    return {
        "decode_short_side": cfg.DATA.DECODE_SHORT_SIDE,
        "size": crops.size,
        "short_side": 0 if is_plain else crops.short_side,
        "antialias": is_plain or crops.antialias,
        "rounding": "ceil" if is_plain or not crops.even else "round",
    }


def _check(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(_refused(f"{key} {value!r}, only {', '.join(known)}"))


def _refused(what: str) -> str:
    return f"a bundle cannot say DATA.{what}; export without one (--formats onnx)"
