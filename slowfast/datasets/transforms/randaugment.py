"""RandAugment (arXiv:1909.13719) with increasing strengths, as timm and PySlowFast use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Generator, Tensor

from slowfast.datasets.draws import Draws, TorchDraws
from slowfast.datasets.transforms import colour, geometry

MOST = 10.0  # the strongest magnitude
INTERPOLATIONS = ("bicubic", "bilinear")


class Operation(NamedTuple):
    """`apply(pixels, argument(strength))`, strength 0 .. 1, negative half the time if `signed`."""

    apply: Callable[..., Tensor]
    argument: Callable[[float], Any] | None = None
    signed: bool = False
    geometric: bool = False


def _enhance(change: Callable[[Tensor, float], Tensor]) -> Operation:
    return Operation(change, lambda strength: 1 + 0.9 * strength, signed=True)


def _move(through: Callable[..., geometry.Map], most: float) -> Operation:
    return Operation(through, lambda strength: most * strength, signed=True, geometric=True)


OPERATIONS = {
    "autocontrast": Operation(colour.autocontrast),
    "equalize": Operation(colour.equalize),
    "invert": Operation(colour.invert),
    "rotate": _move(geometry.rotate, 30.0),
    "posterize": Operation(colour.posterize, lambda strength: 4 - int(4 * strength)),
    "solarize": Operation(colour.solarize, lambda strength: 256 - int(256 * strength)),
    "solarize_add": Operation(colour.solarize_add, lambda strength: int(110 * strength)),
    "saturation": _enhance(colour.saturation),
    "contrast": _enhance(colour.contrast),
    "brightness": _enhance(colour.brightness),
    "sharpness": _enhance(colour.sharpness),
    "shear_x": _move(geometry.shear_x, 0.3),
    "shear_y": _move(geometry.shear_y, 0.3),
    "translate_x": _move(geometry.translate_x, 0.45),
    "translate_y": _move(geometry.translate_y, 0.45),
}


@dataclass(frozen=True)
class RandAugment:
    """`num_ops` operations, each applied half the time, to `(n, 3, H, W)` uint8 pixels.

    Operations may repeat.  The strength of each is normal around `magnitude` (0 to 10) with
    standard deviation `std`, cut off at the ends.  All frames get the same operations.
    """

    magnitude: float
    num_ops: int = 2
    std: float = 0.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"AUG.INTERPOLATION={self.interpolation!r} must be {' or '.join(INTERPOLATIONS)}"
            )

    @classmethod
    def from_spec(cls, spec: str, interpolation: str = "bicubic") -> RandAugment:
        """The one that `rand-m7-n4-mstd0.5-inc1` means: magnitude, operations, deviation."""
        kind, *parts = spec.split("-")
        matches = [re.fullmatch(r"(mstd|m|n|inc)(\d+(?:\.\d+)?)", part) for part in parts]
        values = {match[1]: float(match[2]) for match in matches if match}
        fits = kind == "rand" and None not in matches and values.get("inc") == 1
        if not fits or not 0 <= values.get("m", MOST) <= MOST:
            raise ValueError(
                f"AUG.AA_TYPE={spec!r} is not understood; write 'rand-m7-n4-mstd0.5-inc1' with a "
                "magnitude up to 10, a number of operations and a deviation, or ''"
            )
        magnitude, num_ops = values.get("m", MOST), int(values.get("n", 2))
        return cls(magnitude, num_ops, values.get("mstd", 0.0), interpolation)

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        for name, argument in self.plan(TorchDraws(generator)):
            pixels = self.apply(name, pixels, argument)
        return pixels

    def plan(self, draws: Draws) -> list[tuple[str, Any]]:
        """Operations by name, in order, and their arguments (None for those without)."""
        names = list(OPERATIONS)
        chosen = [names[draws.integer(0, len(names) - 1)] for _ in range(self.num_ops)]
        return [(name, self._argument(name, draws)) for name in chosen if draws.uniform(0, 1) < 0.5]

    def apply(self, name: str, pixels: Tensor, argument: Any = None) -> Tensor:
        """`pixels` after the operation `name`."""
        operation = OPERATIONS[name]
        if operation.geometric:
            through = operation.apply(*pixels.shape[2:], argument)
            return geometry.warp(pixels, through, self.interpolation)
        return operation.apply(pixels) if argument is None else operation.apply(pixels, argument)

    def _argument(self, name: str, draws: Draws) -> Any:
        operation = OPERATIONS[name]
        strength = min(max(draws.normal(self.magnitude, self.std), 0.0), MOST) / MOST
        if operation.signed and draws.uniform(0, 1) < 0.5:
            strength = -strength
        return None if operation.argument is None else operation.argument(strength)
