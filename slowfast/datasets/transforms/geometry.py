"""Affine maps of uint8 frames `(n, 3, H, W)`, all by the same map."""

from __future__ import annotations

from math import cos, radians, sin

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

GREY = 128  # what shows where a frame has no pixels

# Output (x, y) shows input (a x + b y + c, d x + e y + f), in pixels from the top left corner.
Map = tuple[float, float, float, float, float, float]
IDENTITY: Map = (1, 0, 0, 0, 1, 0)


def shear_x(height: int, width: int, factor: float) -> Map:
    """Rows move against each other, the first not at all."""
    return (1, factor, 0, 0, 1, 0)


def shear_y(height: int, width: int, factor: float) -> Map:
    """Columns move against each other, the first not at all."""
    return (1, 0, 0, factor, 1, 0)


def translate_x(height: int, width: int, share: float) -> Map:
    """The frame moves left by `share` of its width."""
    return (1, 0, share * width, 0, 1, 0)


def translate_y(height: int, width: int, share: float) -> Map:
    """The frame moves up by `share` of its height."""
    return (1, 0, 0, 0, 1, share * height)


def rotate(height: int, width: int, degrees: float) -> Map:
    """The frame turns counter-clockwise about its centre."""
    c, s = cos(radians(degrees)), -sin(radians(degrees))
    x, y = width / 2, height / 2
    return (c, s, x - c * x - s * y, -s, c, y + s * x - c * y)


def warp(pixels: Tensor, through: Map, mode: str = "bicubic") -> Tensor:
    """`pixels` mapped `through`, interpolated as `mode` (bicubic, bilinear); empty places are grey.

    Frames and channels are one batch of planes, so that positions and weights are found once.
    """
    if through == IDENTITY:
        return pixels
    n, channels, height, width = pixels.shape
    a, b, c, d, e, f = through
    x = torch.arange(width, dtype=torch.float32) + 0.5
    y = (torch.arange(height, dtype=torch.float32) + 0.5).unsqueeze(1)
    grid = torch.stack(
        [(a * x + b * y + c) * (2 / width) - 1, (d * x + e * y + f) * (2 / height) - 1], dim=-1
    )
    planes = pixels.reshape(1, n * channels, height, width).float().sub_(GREY)
    warped = grid_sample(planes, grid.unsqueeze(0), mode, "zeros", align_corners=False)
    return warped.add_(GREY).round_().clamp_(0, 255).to(torch.uint8).view(pixels.shape)
