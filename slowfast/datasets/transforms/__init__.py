"""From decoded frames to network input: one draw for all frames and rates of a sample.

Everything up to the last step works on uint8, and only on the pixels that are kept: cutting the
crop's rectangle out of the source frames, resizing it, changing its colours, and one fused
multiply-add to normalised floats.
"""

from slowfast.datasets.transforms.crops import (
    Box,
    Crops,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    Scale,
    UniformCrops,
    cut,
    cut_all,
)
from slowfast.datasets.transforms.erasing import Patch, RandomErasing
from slowfast.datasets.transforms.jitter import ColorJitter
from slowfast.datasets.transforms.normalize import Normalize
from slowfast.datasets.transforms.published import ScaledCrops, ScaledRandomCrop
from slowfast.datasets.transforms.randaugment import RandAugment

__all__ = [
    "Box",
    "ColorJitter",
    "Crops",
    "MultiScaleCrop",
    "Normalize",
    "Patch",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Scale",
    "ScaledCrops",
    "ScaledRandomCrop",
    "UniformCrops",
    "cut",
    "cut_all",
]
