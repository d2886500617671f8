"""BatchNorm statistics of every rate, estimated anew for the weights as they are."""

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import nn

from slowfast.datasets import Batch
from slowfast.engine.device import autocast_forward
from slowfast.engine.optimization.step import split
from slowfast.engine.processes.world import World
from slowfast.layers.statistics import exact_statistics, tracking_norms
from slowfast.models.flexible import sized

logger = logging.getLogger(__name__)


def precise_statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    num_batches: int,
    world: World | None = None,
    amp_dtype: torch.dtype | None = None,
    micro_batches: int = 1,
    sizes: Sequence[int] = (),
) -> bool:
    """Gives every BatchNorm of `model` the statistics of the first `num_batches` of `batches`.

    Those of a rate's private norms are of its own clips, at its own one of `sizes`.  Exact mean and
    variance over the batches of all processes; on the way each batch is normalised by its own
    statistics, as in training, while dropout is off.  "Rethinking Batch", arXiv:2105.07576,
    section 3.  Training goes on as if nothing had been estimated, since it looks at no running
    statistics.

    `model` is the network without a wrapper; `amp_dtype` and `micro_batches` are those of the
    training.  A batch of which one process could read no video is left out by all.  Returns False
    where there is nothing to estimate.  Raises ValueError if no batch could be read.
    """
    world = world or World()
    norms = tracking_norms([model])
    if not norms:
        return False
    forward = autocast_forward(model, world.device, amp_dtype)
    used = 0
    with exact_statistics(model, norms, lambda own: _gather(own, world)):
        for batch in islice(batches, num_batches):
            least = min(world.gather(len(batch)))
            if not least:
                continue
            # As many parts in every process: norms may exchange data in each.
            for part in split(batch, min(micro_batches, least)):
                for clip in sized(part.to(world.device).clips, sizes).values():
                    forward(clip)
            used += 1
        if not used:
            raise ValueError(
                f"none of the {num_batches} batches for BN.USE_PRECISE_STATS could be read; see "
                "the failures of the training"
            )
    logger.info("running statistics of %d BatchNorms are those of %d batches", len(norms), used)
    return True


def _gather(own: torch.Tensor, world: World) -> list[torch.Tensor]:
    return [part.to(own.device) for part in world.gather(own.cpu())]
