"""A test of conditional inference: what it gives for what, and what other thresholds would."""

from __future__ import annotations

import csv
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from slowfast.datasets import DATASETS, Batch, Failure, build_loader
from slowfast.datasets.loader import list_path
from slowfast.engine.exits.calibrate import ExitTable, Point, calibrate, front, sweep
from slowfast.engine.exits.networks import ExitNetwork, exit_network
from slowfast.engine.files.outputs import Prediction, predictions
from slowfast.engine.meters import METERS
from slowfast.engine.processes.world import World
from slowfast.models.exits import NEVER
from slowfast.report.exits import save_curve

logger = logging.getLogger(__name__)

REPEATS = 3  # of each timing


@dataclass(frozen=True)
class Seen:
    """The videos of a list through all exits, in the order of the list."""

    table: ExitTable
    paths: tuple[str, ...]
    failures: tuple[Failure, ...]
    first: Batch | None  # of this process


def test_exits(
    cfg: CfgNode, model: nn.Module, world: World, by_frames: Mapping[str, Mapping] | None = None
) -> dict[str, Any]:
    """Test the exits of `model` as TEST.EXIT says, and return what goes to OUTPUT_DIR/results.

    exits.json   accuracy, exits, frames, GFLOPs and latency; the same of each exit alone, of the
                 network's `own` thresholds, of the best ones for other costs (`curve`), and of
                 thresholds that exits share (`sweep`)
    exits.csv    a line per video with the exit that it took
    exits.png    accuracy over GFLOPs

    Thresholds are chosen on the validation videos.  `by_frames` is that part of a test's record,
    for the network at fixed frame counts.  Raises ValueError if no video can be read, or the target
    or budget is out of reach.
    """
    model.eval()
    network = exit_network(model, cfg)
    chosen, curve, swept, validation = _choose(cfg, network, world)
    seen = look_at(cfg, network, "exits", world)
    record = {
        "exit": cfg.TEST.EXIT,
        "model": cfg.MODEL.MODEL_NAME,
        "dataset": cfg.TEST.DATASET,
        "metric": seen.table.metric,
        "frames": list(network.frames),
        "thresholds": list(chosen),
        "calibration": validation,
        "coverage": {
            "videos": len(seen.table) + len(seen.failures),
            "read": len(seen.table),
            "failures": [failure._asdict() for failure in seen.failures],
        },
        "test": outcome(network, seen.table, chosen),
        "no_exit": outcome(network, seen.table, seen.table.unhurried.thresholds),
        "by_exit": _exits_alone(network, seen.table),
        "fixed": _fixed(network, seen.table.metric, by_frames or {}),
        "curve": [
            _beside(point, outcome(network, seen.table, point.thresholds)) for point in curve
        ],
        "sweep": [outcome(network, seen.table, thresholds) for thresholds in swept],
    }
    if network.thresholds:
        record["own"] = outcome(network, seen.table, network.thresholds)
    measured = latency(network, seen.first, chosen, world.device) if seen.first else None
    record["latency"] = world.broadcast(measured)
    if world.is_main:
        _write(Path(cfg.OUTPUT_DIR) / "results", record, network, seen)
        _log(record)
    return record


def look_at(cfg: CfgNode, network: ExitNetwork, split: str, world: World) -> Seen:
    """All exits of all videos of `split`, in every process of `world`; ValueError without any."""
    loader = build_loader(cfg, split, world.rank, world.size)
    rows, failures, first = [], [], None
    bar = tqdm(
        loader, desc="exits", unit="batch", leave=False, disable=None if world.is_main else True
    )
    for batch in bar:
        failures += batch.failures
        if len(batch):
            on_device = batch.to(world.device)
            first = first or on_device
            scores, sure = (part.cpu() for part in network.look(on_device.clips))
            places = zip(batch.index.tolist(), scores, sure, batch.labels, batch.paths, strict=True)
            rows += places
    found = sorted((row for part in world.gather(rows) for row in part), key=lambda row: row[0])
    failed = [failure for part in world.gather(failures) for failure in part]
    if not found:
        raise ValueError(f"none of the {len(failed)} videos of {split!r} could be read")
    _, scores, sure, labels, paths = zip(*found, strict=True)
    metric = DATASETS.get(cfg.TEST.DATASET).metric
    table = ExitTable(
        torch.stack(scores), torch.stack(sure), torch.stack(labels), network.costs, metric
    )
    return Seen(table, paths, tuple(sorted(failed)), first)


def _choose(
    cfg: CfgNode, network: ExitNetwork, world: World
) -> tuple[tuple[float, ...], list[Point], list[tuple], dict[str, Any] | None]:
    """The thresholds of the test, those of `curve` and of `sweep`, and how the first were found."""
    test = cfg.TEST
    if test.EXIT_THRESHOLDS:
        needed = len(network.frames) - 1
        if len(test.EXIT_THRESHOLDS) != needed:
            raise ValueError(
                f"TEST.EXIT_THRESHOLDS = {test.EXIT_THRESHOLDS} must hold one for each of the "
                f"{needed} exits before the last"
            )
        return tuple(test.EXIT_THRESHOLDS), [], [], None
    same = list_path(cfg, "val") == list_path(cfg, "test")
    if same:
        logger.warning(
            "validation and test are the same list: thresholds are chosen on the videos that are "
            "tested, which flatters them; a list test.csv beside val.csv mends that"
        )
    table = look_at(cfg, network, "calibrate", world).table
    if test.EXIT_TARGET is not None:
        point, asked = calibrate(table, target=test.EXIT_TARGET), f"target {test.EXIT_TARGET:g} %"
    elif test.EXIT_BUDGET is not None:
        point, asked = calibrate(table, budget=test.EXIT_BUDGET), f"{test.EXIT_BUDGET:g} GFLOPs"
    else:
        point, asked = table.at(network.thresholds), "the network's own"
    validation = {
        "asked": asked,
        "videos": len(table),
        "same_as_test": same,
        "accuracy": point.accuracy,
        "gflops": point.gflops,
        "accuracy_without": table.unhurried.accuracy,
    }
    return point.thresholds, front(table), sweep(table), validation


def outcome(network: ExitNetwork, table: ExitTable, thresholds: Sequence[float]) -> dict[str, Any]:
    """What `thresholds` make of the videos, as plain JSON values; GFLOPs and frames are means."""
    exits = table.exits(thresholds)
    meter = METERS[table.metric](table.scores.shape[2])
    meter.add(table.taken(exits), table.labels)
    published = torch.tensor(network.published.of_exits(thresholds))[exits]
    return {
        "thresholds": list(thresholds),
        **meter.summary,
        "gflops": table.gflops(thresholds, exits),
        "gflops_published": float(published.mean()),
        "frames": float(torch.tensor(network.frames, dtype=torch.float64)[exits].mean()),
        "exits": torch.bincount(exits, minlength=len(network.frames)).tolist(),
    }


def _beside(point: Point, tested: dict[str, Any]) -> dict[str, Any]:
    """What a test says of thresholds, with what the validation videos said."""
    validation = {"accuracy": point.accuracy, "gflops": point.gflops}
    return {**tested, "validation": validation}


def _exits_alone(network: ExitNetwork, table: ExitTable) -> list[dict[str, Any]]:
    """Every exit for all videos, without asking any."""
    rows, last = [], len(network.frames) - 1
    for exit, frames in enumerate(network.frames):
        # Left by threshold -1, asked like the others; at the last one none is asked.
        thresholds = [NEVER] * exit + [-1.0] * (exit < last) + [NEVER] * (last - exit - 1)
        point = table.at(thresholds)
        rows.append({"frames": frames, table.metric: point.accuracy, "gflops": point.gflops})
    return rows


def _fixed(
    network: ExitNetwork, metric: str, by_frames: Mapping[str, Mapping]
) -> list[dict[str, Any]]:
    """The network without exits at the frame counts of a test, with its usual frames."""
    return [
        {"frames": int(t), metric: row[metric], "gflops": network.fixed_gflops(int(t))}
        for t, row in by_frames.items()
        if int(t) <= network.frames[-1]
    ]


def latency(
    network: ExitNetwork, batch: Batch, thresholds: Sequence[float], device: torch.device
) -> dict[str, float]:
    """Milliseconds per video of a batch in memory: alone and together, with exits and without.

    Medians of some repeats after one to warm up, by the wall clock.
    """
    clips, never = batch.clips, [NEVER] * len(thresholds)
    alone = [[clip[i : i + 1] for clip in clips] for i in range(len(batch))]

    def one_by_one(limits: Sequence[float]) -> None:
        for clip in alone:
            network.infer(clip, limits)

    ways: dict[str, Callable[[], object]] = {
        "batched": lambda: network.infer(clips, thresholds),
        "single": lambda: one_by_one(thresholds),
        "batched_no_exit": lambda: network.infer(clips, never),
        "single_no_exit": lambda: one_by_one(never),
    }
    found = {name: _milliseconds(way, device) / len(batch) for name, way in ways.items()}
    return {"batch": len(batch), **found}


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    taken = []
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    for _ in range(REPEATS + 1):
        wait()
        start = time.perf_counter()
        run()
        wait()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken[1:])


def _write(folder: Path, record: dict[str, Any], network: ExitNetwork, seen: Seen) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exits.json").write_text(json.dumps(record, indent=1))
    save_curve(folder / "exits.png", [record])
    exits = seen.table.exits(record["thresholds"])
    rows = exit_rows(seen, exits, network.frames)
    with open(folder / "exits.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("exit", *Prediction._fields), *rows])


def exit_rows(seen: Seen, exits: Tensor, frames: Sequence[int]) -> list[list[Any]]:
    """The exit and the prediction of each video, whose frames are those it has shown."""
    table = seen.table
    found = predictions(seen.paths, table.labels, 0, table.taken(exits))
    return [
        [exit, *row._replace(frames=frames[exit]).written()]
        for exit, row in zip(exits.tolist(), found, strict=True)
    ]


def _log(record: dict[str, Any]) -> None:
    metric, videos = record["metric"], record["coverage"]["read"]
    for name, words in (("test", "with exits"), ("no_exit", "without exits")):
        row = record[name]
        logger.info(
            "%s: %s %.2f, %.2f frames, %.4g GFLOPs (%.4g at a constant per frame)",
            *(words, metric, row[metric], row["frames"], row["gflops"], row["gflops_published"]),
        )
    shares = [
        f"{t}: {100 * n / videos:.1f} %"
        for t, n in zip(record["frames"], record["test"]["exits"], strict=True)
    ]
    logger.info("videos by frames shown: %s", ", ".join(shares))
