"""One configuration from start to end."""

import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from fvcore.common.config import CfgNode

from slowfast.config import parse_run_args
from slowfast.engine.device import pick_device
from slowfast.engine.files.logs import setup_logging
from slowfast.engine.processes.launch import launch
from slowfast.engine.processes.world import World
from slowfast.engine.test import test
from slowfast.engine.train import train

logger = logging.getLogger(__name__)


def run(cfg: CfgNode, world: World | None = None) -> dict[str, Any] | None:
    """Train and test as `cfg` says; the test's record, or None if TEST.ENABLE is off.

    OUTPUT_DIR/config.yaml keeps the configuration of the training; a later test leaves it alone.
    Every process of `world` calls this; without one, this process is alone.
    """
    folder = Path(cfg.OUTPUT_DIR)
    setup_logging(folder, world.rank if world else 0)
    world = World(device=pick_device(cfg)) if world is None else world
    kept = folder / "config.yaml"
    if world.is_main and (cfg.TRAIN.ENABLE or not kept.exists()):
        kept.write_text(cfg.dump())
    log_world(cfg, world)
    if cfg.TRAIN.ENABLE:
        train(cfg, world)
        world.barrier()  # what the main process writes is there for all
    return test(cfg, world) if cfg.TEST.ENABLE else None


def log_world(cfg: CfgNode, world: World) -> None:
    """Log where the processes run and how they share a batch.  Every process calls this."""
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    places = world.gather(f"{host} {world.device}")
    logger.info("%s", describe_world(places, world, dist.get_backend() if world.size > 1 else ""))
    if cfg.NUM_GPUS and world.device.type == "cpu" and world.size > 1:
        logger.info("NUM_GPUS is %d, no GPU is visible: running on the CPU", cfg.NUM_GPUS)
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if world.size == 1 and tasks != "1" and "SLURM_STEP_ID" not in os.environ:
        logger.warning(
            "this is one process, but the SLURM job has %s tasks: start it by srun", tasks
        )
    if cfg.TRAIN.ENABLE:
        for line in describe_batch(cfg, world.size):
            logger.info("%s", line)


def describe_world(places: Sequence[str], world: World, backend: str) -> str:
    """A line that says where each rank of `world` runs, `places[rank]` being "host device".

    2 processes (NUM_GPUS 2, tcp://127.0.0.1:4711, gloo): a cpu: rank 0-1
    """
    if world.size == 1:
        return f"1 process: {places[0]}"
    ranks: dict[str, list[int]] = {}
    for rank, place in enumerate(places):
        ranks.setdefault(place.partition(":")[0], []).append(rank)
    shown = [f"{place}: rank {_spans(numbers)}" for place, numbers in ranks.items()]
    return f"{world.size} processes ({world.origin}, {backend}): {'; '.join(shown)}"


def _spans(numbers: Sequence[int]) -> str:
    """Rising numbers in short: 0-3, 8."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)


def describe_batch(cfg: CfgNode, processes: int) -> list[str]:
    """How a step's videos are shared, and what that makes of the learning rates."""
    batch, parts = cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.MICRO_BATCHES
    lines = []
    if processes > 1 or parts > 1:
        factors = [f"{processes} processes"] * (processes > 1) + [f"{parts} parts"] * (parts > 1)
        each = f"{batch / processes / parts:g} videos"
        lines.append(f"a batch is {batch} videos: {' x '.join([*factors, each])}")
    if reference := cfg.SOLVER.REFERENCE_BATCH_SIZE:
        lines.append(
            f"learning rates x {batch / reference:g}: TRAIN.BATCH_SIZE {batch} over "
            f"SOLVER.REFERENCE_BATCH_SIZE {reference}"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """The command line of a run; what the user can mend ends in one sentence and exit code 1."""
    arguments = sys.argv[1:] if argv is None else argv
    cfgs, shards = parse_run_args(arguments, "Train and test a network.")
    launch(run, cfgs, shards)
