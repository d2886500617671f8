"""What became of every name when a checkpoint was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Pairs = dict[str, tuple[Shape, Shape]]  # name -> (checkpoint's shape, model's)

MAX_ROWS = 20


@dataclass(frozen=True)
class LoadReport:
    """What happened to each name, with its shape; (checkpoint's, model's) where they differ.

    `loaded` includes what was `inflated` (2D kernels repeated over time) or `resized` (position
    embeddings interpolated) to fit.  `ignored` entries are no weights, or a classifier's in a place
    where the model has none.  `format` is the family that the checkpoint was read as.
    """

    loaded: dict[str, Shape]
    missing: dict[str, Shape]
    unexpected: dict[str, Shape]
    mismatched: Pairs
    format: str = "native"
    inflated: Pairs = field(default_factory=dict)
    resized: Pairs = field(default_factory=dict)
    ignored: dict[str, Shape] = field(default_factory=dict)

    def table(self, full: bool = False) -> str:
        """A line of counts and rows of what did not fit; if `full`, also of what did.

        No part has more than MAX_ROWS rows.
        """
        problems = {
            "missing (not in the checkpoint)": self.missing,
            "unexpected (not in the model)": self.unexpected,
            "mismatched (shapes in checkpoint and model differ)": self.mismatched,
        }
        rest = {
            "loaded": self.loaded,
            "inflated (kernels repeated over time)": self.inflated,
            "resized (positions interpolated)": self.resized,
            "ignored (no weights, or a classifier without a place)": self.ignored,
        }
        parts = problems | rest if full else problems
        rows = [row for title, shapes in parts.items() for row in _rows(title, shapes)]
        return "\n".join([self._counts(), *rows])

    def _counts(self) -> str:
        adapted = {"inflated": self.inflated, "resized": self.resized, "ignored": self.ignored}
        counts = [
            f"{len(self.loaded)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} mismatched",
            *(f"{len(names)} {kind}" for kind, names in adapted.items() if names),
        ]
        return f"{', '.join(counts)} ({self.format} format)"


def _rows(title: str, shapes: Mapping[str, Any]) -> list[str]:
    if not shapes:
        return []
    rows = [f"    {name}  {shape}" for name, shape in list(shapes.items())[:MAX_ROWS]]
    more = [f"    ... and {len(shapes) - MAX_ROWS} more"] if len(shapes) > MAX_ROWS else []
    return [f"  {title}:", *rows, *more]
