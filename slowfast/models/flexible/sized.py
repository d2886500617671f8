"""Clips at the sizes that a network is trained for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from slowfast.layers.resize import resize
from slowfast.models.flexible.rates import Rate


def sized(clips: Sequence[Tensor], sizes: Sequence[int] = ()) -> dict[int | Rate, Tensor]:
    """Every clip `(B, 3, T, H, W)` at every size, cheap to dear, by its `Rate`.

    Without sizes these are the clips as they are, by frame count.  All sizes come from the same
    pixels, so that they differ in nothing else; what has a size already is not copied.
    """
    if not sizes:
        return {clip.shape[2]: clip for clip in clips}
    pairs = {Rate(clip.shape[2], size): clip for clip in clips for size in sizes}
    ordered = sorted(pairs, key=lambda rate: (rate.pixels, rate.num_frames))
    return {rate: resize(pairs[rate], (*rate, rate.size)) for rate in ordered}
