"""Colour operations on uint8 pixels `(n, 3, H, W)`, RGB, that round as the Pillow library does.

Each returns uint8 pixels of the same shape.  Statistics, where an operation has any, are those of
each frame.
"""

from __future__ import annotations

import torch
from torch import Tensor


def blend(start: Tensor, pixels: Tensor, factor: float) -> Tensor:
    """`start` at factor 0, `pixels` at 1, beyond them outside; cut off to 0 .. 255."""
    base = start.float()
    mixed = (pixels - base).mul_(factor).add_(base)
    return mixed.clamp_(0, 255).to(torch.uint8)


def grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R 601: `(n, 1, H, W)` uint8."""
    red, green, blue = pixels.int().unbind(1)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.unsqueeze(1).to(torch.uint8)


def brightness(pixels: Tensor, factor: float) -> Tensor:
    """Black at factor 0, unchanged at 1."""
    return (pixels.float() * factor).clamp_(0, 255).to(torch.uint8)


def contrast(pixels: Tensor, factor: float) -> Tensor:
    """The frame's mean grey at factor 0, unchanged at 1."""
    mean = grey(pixels).double().mean((1, 2, 3), keepdim=True).add_(0.5).floor_()
    return blend(mean, pixels, factor)


def saturation(pixels: Tensor, factor: float) -> Tensor:
    """Grey at factor 0, unchanged at 1."""
    return blend(grey(pixels), pixels, factor)


def sharpness(pixels: Tensor, factor: float) -> Tensor:
    """Smoothed at factor 0, unchanged at 1; the outermost pixels never change."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    values = pixels.short()
    rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    weighted = around + 4 * values[..., 1:-1, 1:-1]  # a pixel counts 5, its neighbours 1 each
    smooth = pixels.float()
    smooth[..., 1:-1, 1:-1] = (weighted / 13 + 0.5).floor_()
    return blend(smooth, pixels, factor)


def hue(pixels: Tensor, turn: float) -> Tensor:
    """Hue turned by `turn` of the circle, -0.5 to 0.5; value and saturation (HSV) stay."""
    rgb = pixels.float().div_(255)
    value, where = rgb.max(1)
    chroma = value - rgb.amin(1)
    red, green, blue = rgb.unbind(1)
    safe = torch.where(chroma > 0, chroma, 1)
    sextant = torch.stack(
        [(green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4]
    )
    position = sextant.gather(0, where.unsqueeze(0))[0] + 6 * turn
    # Each channel's distance from full value along the circle, in chroma.
    channels = []
    for offset in (5, 3, 1):
        k = (position + offset) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, 1).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def invert(pixels: Tensor) -> Tensor:
    """The negative."""
    return 255 - pixels


def posterize(pixels: Tensor, bits: int) -> Tensor:
    """Only the `bits` highest bits of each value, 0 to 8."""
    return pixels & (256 - (1 << (8 - bits)))


def solarize(pixels: Tensor, threshold: int) -> Tensor:
    """Values from `threshold` on, 0 to 256, inverted."""
    return pixels if threshold > 255 else torch.where(pixels >= threshold, 255 - pixels, pixels)


def solarize_add(pixels: Tensor, addition: int) -> Tensor:
    """`addition`, 0 to 128, added to the darker half of the values."""
    return torch.where(pixels < 128, pixels + addition, pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Each channel of a frame stretched to 0 .. 255; a constant one stays."""
    low = pixels.amin((2, 3)).double()
    span = pixels.amax((2, 3)).double() - low
    scale = torch.where(span > 0, 255 / span, 1).unsqueeze(2)
    offset = torch.where(span > 0, -low, 0).unsqueeze(2) * scale
    table = (torch.arange(256, dtype=torch.float64) * scale + offset).clamp_(0, 255)
    return _look_up(pixels, table.to(torch.uint8))


def equalize(pixels: Tensor) -> Tensor:
    """Each channel of a frame with a histogram as flat as its values allow."""
    n, channels = pixels.shape[:2]
    rows = torch.arange(n * channels).view(-1, 1) * 256
    bins = pixels.reshape(n * channels, -1).long() + rows
    counts = torch.bincount(bins.flatten(), minlength=n * channels * 256).view(n, channels, 256)
    brightest = pixels.amax((2, 3)).long().unsqueeze(2)
    step = (counts.sum(2, keepdim=True) - counts.gather(2, brightest)) // 255
    before = counts.cumsum(2) - counts  # pixels darker than each value
    table = (before + step // 2) // step.clamp(min=1)
    unchanged = torch.arange(256).expand_as(table)
    table = torch.where(step > 0, table, unchanged).clamp_(0, 255)
    return _look_up(pixels, table.to(torch.uint8))


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """`pixels` through a table (n, 3, 256) of their channel."""
    return table.gather(2, pixels.flatten(2).long()).view(pixels.shape)
