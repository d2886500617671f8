"""Multi-view testing at any frame counts, each video decoded once."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from slowfast.config import frame_counts, tested_sizes, trained_sizes
from slowfast.datasets import DATASETS, build_loader
from slowfast.datasets.lists import class_names
from slowfast.engine.any_frame import prepare_untrained_counts
from slowfast.engine.device import pick_device
from slowfast.engine.evaluate import Evaluation, Scored, evaluate
from slowfast.engine.exits import test_exits
from slowfast.engine.files.checkpoint import Checkpoints
from slowfast.engine.files.failures import write_failures
from slowfast.engine.files.outputs import ResultFiles
from slowfast.engine.processes.preemption import Preemption
from slowfast.engine.processes.world import World
from slowfast.models import FrameFlexible, build_model
from slowfast.models.flexible import Rate, all_rates
from slowfast.weights import load_weights

logger = logging.getLogger(__name__)


def test(cfg: CfgNode, world: World | None = None) -> dict[str, Any]:
    """Test as `cfg` says and return the record that is written to OUTPUT_DIR/results/test.json.

    Beside it, failures.csv lists the videos that could not be read, and `ResultFiles` the others.
    The processes of `world` share the videos; without one, this process is alone.
    Raises ValueError if there is no checkpoint to test or no video could be read, and Preempted
    when the run was told to leave: the same command then tests anew.
    """
    world = World(device=pick_device(cfg)) if world is None else world
    model = build_model(cfg)
    source = load_test_weights(model, cfg)
    model.to(world.device)
    rule = prepare_untrained_counts(model, cfg, world.device)
    loader = build_loader(cfg, "test", world.rank, world.size)
    folder = Path(cfg.OUTPUT_DIR) / "results"
    if world.is_main:
        folder.mkdir(parents=True, exist_ok=True)
    logger.info("testing %s on %d videos", source, len(loader.dataset))
    metric = DATASETS.get(cfg.TEST.DATASET).metric
    files = ResultFiles(folder, class_names(cfg.DATA.PATH_TO_DATA_DIR))
    with Preemption() as preemption:
        leave = partial(preemption.leave, world, Path(source))
        ask = preemption.between_batches(loader, world, leave)

        def after_batch(scored: Scored) -> None:
            files.add(scored)
            ask()

        sizes = tested_sizes(cfg)
        result = evaluate(model, loader, world.device, cfg, metric, after_batch, world, sizes)
    files.finish(result, world)
    record = test_record(model, result, cfg, rule)
    if cfg.TEST.EXIT != "none" and len(result.failures) < result.videos:
        record["exits"] = test_exits(cfg, model, world, record["by_frames"])
    if world.is_main:
        (folder / "test.json").write_text(json.dumps(record, indent=1))
        write_failures(folder / "failures.csv", result.failures)
        _log_result(record, result)
    if len(result.failures) == result.videos:
        raise ValueError(f"none of the {result.videos} test videos could be read; see the warnings")
    return record


def load_test_weights(model: nn.Module, cfg: CfgNode) -> str:
    """Load the weights to test and return where they came from.

    TEST.CHECKPOINT_FILE_PATH, else the newest checkpoint in OUTPUT_DIR, else
    TRAIN.CHECKPOINT_FILE_PATH.  Raises ValueError if there is none: random weights are not tested.
    """
    path, state = cfg.TEST.CHECKPOINT_FILE_PATH, None
    if not path and (found := Checkpoints(Path(cfg.OUTPUT_DIR) / "checkpoints").newest()):
        averaged = found[1].get("ema_state")  # what was validated, where TRAIN.EMA_DECAY is on
        path, state = str(found[0]), (averaged or found[1])["model_state"]
    path = path or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        raise ValueError(
            f"nothing to test: no checkpoint in {Path(cfg.OUTPUT_DIR).resolve()}/checkpoints "
            "(OUTPUT_DIR is relative to the folder you are in); train first "
            "or set TEST.CHECKPOINT_FILE_PATH"
        )
    loaded = load_weights(model, state or path)
    logger.info("weights of %s\n%s", path, loaded.table())
    return path


def activated_rate(model: nn.Module, rate: int | Rate, trained: tuple[Rate, ...]) -> Rate:
    """The trained rate whose private layers run for a clip of the frame count or `Rate`."""
    if isinstance(model, FrameFlexible):
        tested = rate if isinstance(rate, Rate) else Rate(rate)
        return model.rates.rate(model.rates.nearest(*tested))
    return trained[-1]


def _is_trained(rate: int | Rate, trained: tuple[Rate, ...]) -> bool:
    """Whether the network has layers of the rate's own: where no size has, its frame count's."""
    tested = rate if isinstance(rate, Rate) else Rate(rate)
    return (tested if trained[0].size else Rate(tested.num_frames)) in trained


def test_record(
    model: nn.Module, result: Evaluation, cfg: CfgNode, rule: str = "nearest"
) -> dict[str, Any]:
    """Everything a report needs to know of a test, as plain JSON values.

    `rule` is that of FFN.ANY_FRAME which ran where the frame count was not trained.
    """
    trained = all_rates(frame_counts(cfg), trained_sizes(cfg))
    return {
        "model": cfg.MODEL.MODEL_NAME,
        "flexible": cfg.FFN.ENABLE,
        "dataset": cfg.TEST.DATASET,
        "metric": DATASETS.get(cfg.TEST.DATASET).metric,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": [rate.plain for rate in trained],
        "views": [cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS],
        "crop": cfg.DATA.TEST_CROP_SIZE,
        "seed": cfg.RNG_SEED,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "classes": class_names(cfg.DATA.PATH_TO_DATA_DIR),
        "coverage": {
            "videos": result.videos,
            "read": result.videos - len(result.failures),
            "failures": [failure._asdict() for failure in result.failures],
        },
        "by_frames": {
            str(rate): {
                "rate": activated_rate(model, rate, trained).plain,
                "rule": "trained" if _is_trained(rate, trained) else rule,
                **meter.record(),
            }
            for rate, meter in result.by_frames.items()
        },
    }


def _log_result(record: dict[str, Any], result: Evaluation) -> None:
    for rate, meter in result.by_frames.items():
        row = record["by_frames"][str(rate)]
        values = ", ".join(f"{name} {value:.2f}" for name, value in meter.summary.items())
        logger.info("%s frames (rate %s, %s): %s", rate, row["rate"], row["rule"], values)
    logger.info("%s", result.coverage)
    for failure in result.failures:
        logger.warning("not tested: %s", failure.error)
