"""Pixels to floats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalize:
    """Pixels `(n, 3, H, W)` uint8 RGB to a clip `(3, n, H, W)` float32, `(x / 255 - mean) / std`.

    `mean` and `std` are in RGB order; `bgr` then reverses the channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], bgr: bool = False) -> None:
        order = [2, 1, 0] if bgr else [0, 1, 2]
        centre = torch.tensor(mean, dtype=torch.float32)[order].view(3, 1, 1)
        spread = torch.tensor(std, dtype=torch.float32)[order].view(3, 1, 1)
        self.bgr = bgr
        self.scale = 1 / (255 * spread)
        self.shift = -centre / spread

    def __call__(self, pixels: Tensor) -> Tensor:
        clip = torch.empty(3, len(pixels), *pixels.shape[2:])
        self.write(pixels, torch.arange(len(pixels)), clip)
        return clip

    def pixels(self, clip: Tensor) -> Tensor:
        """What `clip` (3, n, H, W) was made of, as `(n, H, W, 3)` uint8 RGB."""
        values = (clip.cpu().transpose(0, 1) - self.shift) / self.scale
        values = values.flip(1) if self.bgr else values
        return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def write(self, pixels: Tensor, indices: Tensor, clip: Tensor) -> None:
        """Put the frames `indices` of `pixels`, normalised, into `clip`."""
        for t, i in enumerate(indices.tolist()):
            frame = clip[:, t]  # one at a time stays in the processor's cache
            frame.copy_(pixels[i].flip(0) if self.bgr else pixels[i])
            frame.mul_(self.scale).add_(self.shift)
