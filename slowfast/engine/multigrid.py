"""Multigrid training's part of the engine: its epochs, learning rates, validations and norms."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from torch import nn

from slowfast.config import CfgNode
from slowfast.datasets.multigrid import Multigrid, norm_type
from slowfast.engine.processes.world import World
from slowfast.layers.norms import convert_norms

logger = logging.getLogger(__name__)


def solver_of(cfg: CfgNode) -> CfgNode:
    """`cfg.SOLVER`, with the MAX_EPOCH, STEPS and LRS of multigrid training where that is on."""
    grid = Multigrid.from_cfg(cfg)
    if grid is None:
        return cfg.SOLVER
    solver = cfg.SOLVER.clone()
    solver.defrost()
    solver.MAX_EPOCH = grid.max_epoch
    solver.STEPS, solver.LRS = list(grid.steps), list(grid.lrs)
    return solver


@dataclass
class Phases:
    """What changes from epoch to epoch of a training, besides the loader's batches.

    `videos` are those that a BatchNorm of one process sees per TRAIN.BATCH_SIZE, and `base` how
    many should share its statistics; 0 leaves the norms alone.
    """

    grid: Multigrid
    videos: float
    base: int
    world: World
    _norms: tuple[str, int] | None = field(default=None, init=False)

    @classmethod
    def from_cfg(cls, cfg: CfgNode, world: World) -> Phases | None:
        """None where MULTIGRID is off; the phases are logged.

        Raises ValueError where norms cannot change because weights are split among processes.
        """
        grid = Multigrid.from_cfg(cfg)
        if grid is None:
            return None
        logger.info("multigrid training, batches times TRAIN.BATCH_SIZE:\n%s", grid.table())
        if cfg.FFN.ENABLE and cfg.MULTIGRID.LONG_CYCLE:
            logger.info("  frame counts stay those of FFN.NUM_FRAMES")
        parts = world.size * cfg.TRAIN.MICRO_BATCHES
        videos = cfg.TRAIN.BATCH_SIZE * cfg.AUG.NUM_SAMPLE / parts
        changing = cfg.MULTIGRID.LONG_CYCLE and not cfg.MODEL.FROZEN_BN
        base = cfg.MULTIGRID.BN_BASE_SIZE if changing else 0
        if base and cfg.DIST.STRATEGY == "fsdp" and world.size > 1:
            raise ValueError(
                f"MULTIGRID.BN_BASE_SIZE={base} changes norms whose weights DIST.STRATEGY 'fsdp' "
                "has split; set it to 0, or DIST.STRATEGY to 'ddp'"
            )
        return cls(grid, videos, base, world)

    def enter(self, epoch: int, *nets: nn.Module) -> bool:
        """Give the BatchNorms of `nets` the batch of the epoch's phase; whether that changed them.

        Every process calls it.  Parameters, buffers and names stay; the modules are others.
        """
        norms = self.norms(epoch)
        if norms is None or norms == self._norms:
            return False
        self._norms = norms
        kind, number = norms
        for net in nets:
            convert_norms(net, kind, splits=number, processes=number)
        words = {"sub_batchnorm": " of %d parts", "sync_batchnorm": " of %d processes"}
        logger.info("multigrid: %s" + words.get(kind, "%.0s"), kind, number)
        return True

    def norms(self, epoch: int) -> tuple[str, int] | None:
        """BN.NORM_TYPE and the number of its parts or processes; None leaves the norms alone."""
        if not self.base:
            return None
        videos = int(self.videos * self.grid.phase(epoch).factor)
        kind, number = norm_type(max(videos, 1), self.base)
        if kind == "sync_batchnorm":
            size = self.world.size  # groups of equal size
            number = max(n for n in range(1, min(number, size) + 1) if size % n == 0)
        return (kind, number) if number > 1 else ("batchnorm", 1)
