"""Maps and clips of other sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """`(B, C, T, H, W)` at the `size` (frames, height, width), interpolated linearly.

    Corners are not aligned and nothing is smoothed before: half of height and width is the mean of
    each 2x2 pixels, and a smaller size leaves pixels out.  `x` itself where it has that size.
    """
    size = tuple(size)
    if tuple(x.shape[2:]) == size:
        return x
    if x.shape[2] == size[0]:  # each frame by itself
        frames = F.interpolate(x.flatten(0, 1), size[1:], mode="bilinear", align_corners=False)
        return frames.unflatten(0, x.shape[:2])
    return F.interpolate(x, size, mode="trilinear", align_corners=False)


def shrink(clip: Tensor, side: int) -> Tensor:
    """The frames of `(B, C, T, H, W)` at `side` x `side` pixels; `clip` itself at 0.

    Down to half as `resize` does (ResKD, arXiv:2209.12797).  Below, it would leave pixels out that
    testing, which resizes decoded frames, does not: there every pixel counts.
    """
    if not side or 2 * side >= max(clip.shape[3:]):
        return resize(clip, (clip.shape[2], side, side)) if side else clip
    size, frames = (side, side), clip.flatten(0, 1)
    small = F.interpolate(frames, size, mode="bilinear", antialias=True)
    return small.unflatten(0, clip.shape[:2])
