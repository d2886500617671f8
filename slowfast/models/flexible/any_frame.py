"""Private layers for frame counts that were not trained, made from those that were."""

from __future__ import annotations

import copy
import logging
from bisect import bisect
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from slowfast.layers.statistics import exact_statistics, tracking_norms
from slowfast.models.flexible.frame_flexible import FrameFlexible
from slowfast.models.flexible.names import check_names
from slowfast.models.flexible.rates import Rates
from slowfast.models.flexible.switch import RateSwitch

logger = logging.getLogger(__name__)

RULES = ("nearest", "interpolated", "recalibrated", "interpolated_recalibrated")


def add_rates(
    model: FrameFlexible,
    num_frames: Iterable[int],
    how: str,
    batches: Iterable[Sequence[Tensor]] = (),
) -> str:
    """Gives `model` private layers for each of `num_frames` that has none, and returns the rule.

    nearest        those of the nearest rate, the rule of the paper (a tie goes to the higher one)
    interpolated   weights and statistics on the line between the two rates around the count;
                   beyond the lowest and the highest rate those of that rate
    recalibrated   nearest, with the BatchNorm statistics of the clips in `batches`, which need no
                   labels: tuples of `(B, 3, T, H, W)`, one per added count
    interpolated_recalibrated   interpolated, with such statistics

    From then on a clip of such a length runs them, and checkpoints hold them.  All counts are
    derived from the rates that were there before.  Without any BatchNorm, what is returned instead
    of `recalibrated` is the rule before it.  Raises ValueError for an unknown rule, a count below
    1, a network of several sizes, or if a count to recalibrate gets no clips.
    """
    if how not in RULES:
        raise ValueError(f"how={how!r} must be one of {', '.join(RULES)}")
    rates = model.rates
    counts = sorted(set(num_frames) - set(rates.num_frames))
    tags = {count: _free_tag(rates, count) for count in counts}
    paths = {
        path: module
        for path, module in model.net.named_modules(remove_duplicate=False)
        if isinstance(module, RateSwitch) and module.rates is rates
    }
    check_names(model.net, paths, list(tags.values()))
    switches = set(paths.values())
    made = {
        switch: {tag: _derive(switch, t, how) for t, tag in tags.items()} for switch in switches
    }
    for count, tag in tags.items():
        rates.add(tag, count)
    for switch in switches:
        copies = {**switch.copies, **made[switch]}
        # Low to high, as in a network converted for all of them.
        switch.copies = nn.ModuleDict({tag: copies[tag] for tag in rates.tags})
    if how.endswith("recalibrated") and not recalibrate(model, counts, batches):
        return "nearest" if how == "recalibrated" else "interpolated"
    return how


def _free_tag(rates: Rates, num_frames: int) -> str:
    """The count itself, unless it labels another rate, as in the published SlowFast-FFN."""
    tag = str(num_frames)
    return f"{tag}frames" if tag in rates.tags else tag


def _derive(switch: RateSwitch, num_frames: int, how: str) -> nn.Module:
    """A layer for `num_frames` frames from those that `switch` has."""
    rates = switch.rates
    layer = copy.deepcopy(switch.copies[rates.nearest(num_frames)])
    above = bisect(rates.num_frames, num_frames)
    if not how.startswith("interpolated") or above in (0, len(rates.num_frames)):
        return layer
    around = slice(above - 1, above + 1)
    low, high = rates.num_frames[around]
    part = (num_frames - low) / (high - low)
    below, beyond = (switch.copies[tag].state_dict() for tag in rates.tags[around])
    for name, tensor in layer.state_dict().items():  # these share the layer's memory
        if tensor.is_floating_point():
            tensor.copy_(torch.lerp(below[name], beyond[name], part))
    return layer


def recalibrate(
    model: FrameFlexible, num_frames: Sequence[int], batches: Iterable[Sequence[Tensor]]
) -> bool:
    """Sets the BatchNorm statistics of the rates `num_frames` to those of the clips in `batches`.

    Exact mean and variance over all batches, each normalised by its own statistics on the way, as
    in training; dropout is off.  Returns False, with a log line, for a network without BatchNorm.
    Raises ValueError if a rate gets no clip.
    """
    tags = {model.rates.nearest(count): count for count in num_frames}
    switches = [module for module in model.modules() if isinstance(module, RateSwitch)]
    norms = tracking_norms(switch.copies[tag] for switch in switches for tag in tags)
    if not norms:
        name = type(model.net).__name__
        logger.warning("%s has no BatchNorm to recalibrate: its private layers stay", name)
        return False
    with exact_statistics(model, norms):
        for clips in batches:
            for clip in clips:
                tags.pop(model.tag_of(clip), None)
                model(clip)
        if tags:
            raise ValueError(f"no clips of {sorted(tags.values())} frames to recalibrate with")
    return True
