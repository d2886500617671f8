"""Multi-view testing at any frame counts, each video decoded once."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.config import frame_counts
from slowfast.datasets import build_loader
from slowfast.engine.checkpoint import Checkpoints
from slowfast.engine.device import pick_device
from slowfast.engine.evaluate import Evaluation, Scored, evaluate
from slowfast.models import FrameFlexible, build_model
from slowfast.weights import load_weights

logger = logging.getLogger(__name__)


def test(cfg: CfgNode) -> dict[str, Any]:
    """Test as `cfg` says and return the record that is written to OUTPUT_DIR/results/test.json.

    Beside it, predictions.csv lists every video and failures.csv those that could not be read.
    Raises ValueError if there is no checkpoint to test or no video could be read.
    """
    device = pick_device(cfg)
    model = build_model(cfg)
    source = load_test_weights(model, cfg)
    model.to(device)
    loader = build_loader(cfg, "test")
    folder = Path(cfg.OUTPUT_DIR) / "results"
    folder.mkdir(parents=True, exist_ok=True)
    logger.info("testing %s on %d videos", source, len(loader.dataset))
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "frames", "prediction", "score", "top5"])
        result = evaluate(model, loader, device, cfg, lambda scored: _write(writer, scored))
    record = test_record(model, result, cfg)
    (folder / "test.json").write_text(json.dumps(record, indent=1))
    with open(folder / "failures.csv", "w", newline="") as file:
        csv.writer(file).writerows([("index", "path", "error"), *result.failures])
    _log_result(record, result)
    if len(result.failures) == result.videos:
        raise ValueError(f"none of the {result.videos} test videos could be read; see the warnings")
    return record


def load_test_weights(model: nn.Module, cfg: CfgNode) -> str:
    """Load the weights to test and return where they came from.

    TEST.CHECKPOINT_FILE_PATH, else the newest checkpoint in OUTPUT_DIR, else
    TRAIN.CHECKPOINT_FILE_PATH.  Raises ValueError if there is none: random weights are not tested.
    """
    newest = Checkpoints(Path(cfg.OUTPUT_DIR) / "checkpoints").newest
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        load_weights(model, cfg.TEST.CHECKPOINT_FILE_PATH)
        return cfg.TEST.CHECKPOINT_FILE_PATH
    if found := newest():
        path, state = found
        load_weights(model, state["model_state"])
        return str(path)
    if cfg.TRAIN.CHECKPOINT_FILE_PATH:
        load_weights(model, cfg.TRAIN.CHECKPOINT_FILE_PATH)
        return cfg.TRAIN.CHECKPOINT_FILE_PATH
    raise ValueError(
        f"nothing to test: no checkpoint in {cfg.OUTPUT_DIR}/checkpoints; train first "
        "or set TEST.CHECKPOINT_FILE_PATH"
    )


def activated_rate(model: nn.Module, num_frames: int, trained: tuple[int, ...]) -> int:
    """The trained frame count whose private layers run for a clip of `num_frames`."""
    if isinstance(model, FrameFlexible):
        rates = model.rates
        return rates.num_frames[rates.tags.index(rates.nearest(num_frames))]
    return trained[-1]


def test_record(model: nn.Module, result: Evaluation, cfg: CfgNode) -> dict[str, Any]:
    """Everything a report needs to know of a test, as plain JSON values."""
    trained = frame_counts(cfg)
    classes = Path(cfg.DATA.PATH_TO_DATA_DIR) / "classes.txt"
    return {
        "model": cfg.MODEL.MODEL_NAME,
        "flexible": cfg.FFN.ENABLE,
        "dataset": cfg.TEST.DATASET,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": list(trained),
        "views": [cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS],
        "crop": cfg.DATA.TEST_CROP_SIZE,
        "seed": cfg.RNG_SEED,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "classes": classes.read_text().split("\n")[:-1] if classes.exists() else [],
        "coverage": {
            "videos": result.videos,
            "read": result.videos - len(result.failures),
            "failures": [failure._asdict() for failure in result.failures],
        },
        "by_frames": {
            str(num_frames): {
                "rate": activated_rate(model, num_frames, trained),
                "top1": confusion.top1,
                "top5": confusion.top5,
                "per_class": confusion.per_class,
                "confusion": confusion.matrix.tolist(),
            }
            for num_frames, confusion in result.by_frames.items()
        },
    }


def _write(writer: Any, scored: Scored) -> None:
    for num_frames, scores in scored.scores.items():
        top = scores.topk(min(5, scores.shape[1]), dim=1)
        rows = zip(
            scored.batch.paths,
            scored.batch.labels.tolist(),
            *map(torch.Tensor.tolist, top),
            strict=True,
        )
        for path, label, values, classes in rows:
            best = " ".join(map(str, classes))
            writer.writerow([path, label, num_frames, classes[0], f"{values[0]:.4f}", best])


def _log_result(record: dict[str, Any], result: Evaluation) -> None:
    logger.info("%8s %8s %8s %8s", "frames", "rate", "top-1", "top-5")
    for num_frames, row in record["by_frames"].items():
        logger.info("%8s %8d %8.2f %8.2f", num_frames, row["rate"], row["top1"], row["top5"])
    logger.info("%s", result.coverage)
    for failure in result.failures:
        logger.warning("not tested: %s", failure.error)
