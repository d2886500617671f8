"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from slowfast.datasets.draws import TorchDraws
from slowfast.datasets.transforms import colour


@dataclass(frozen=True)
class ColorJitter:
    """Colours of `(n, 3, H, W)` uint8 pixels changed in random order, all frames alike.

    Brightness, contrast and saturation are multiplied by a factor within 1 -+ their strength, hue
    is turned by up to its strength, 0 to 0.5 of the circle, either way.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"AUG.COLOR_HUE={self.hue} must be 0 to 0.5 of the colour circle")

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        draws = TorchDraws(generator)
        for which in torch.randperm(4, generator=generator).tolist():
            change = (colour.brightness, colour.contrast, colour.saturation, colour.hue)[which]
            strength = (self.brightness, self.contrast, self.saturation, self.hue)[which]
            if not strength:
                continue
            centre = 0.0 if change is colour.hue else 1.0
            low = centre - strength if change is colour.hue else max(0.0, centre - strength)
            pixels = change(pixels, draws.uniform(low, centre + strength))
        return pixels
