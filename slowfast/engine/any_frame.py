"""Untrained frame counts in a test: whose private layers run there."""

import logging
from collections.abc import Iterator

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.config import frame_counts
from slowfast.datasets import build_loader
from slowfast.models import FrameFlexible
from slowfast.models.flexible import add_rates

logger = logging.getLogger(__name__)


def prepare_untrained_counts(model: nn.Module, cfg: CfgNode, device: torch.device) -> str:
    """Make the private layers that FFN.ANY_FRAME wants for TEST.NUM_FRAMES; the rule that runs.

    Recalibration reads FFN.RECALIBRATION_CLIPS training videos, drawn at random, and none of their
    labels.  A network that is not flexible runs as it is, which counts as the nearest rule.
    """
    untrained = set(cfg.TEST.NUM_FRAMES) - set(frame_counts(cfg))
    if not isinstance(model, FrameFlexible) or cfg.FFN.ANY_FRAME == "nearest" or not untrained:
        return "nearest"
    clips = _training_clips(cfg, device) if "recalibrated" in cfg.FFN.ANY_FRAME else ()
    rule = add_rates(model, untrained, cfg.FFN.ANY_FRAME, clips)
    counts = ", ".join(map(str, sorted(untrained)))
    logger.info("private layers of untrained frame counts (%s): %s", counts, rule)
    return rule


def _training_clips(cfg: CfgNode, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    wanted = cfg.FFN.RECALIBRATION_CLIPS
    for batch in build_loader(cfg, "recalibrate"):
        for failure in batch.failures:
            logger.warning("left out of recalibration: %s", failure.error)
        if len(batch):
            yield tuple(clip[:wanted].to(device) for clip in batch.clips)
        wanted -= len(batch)
        if wanted <= 0:
            return
