"""A contact sheet: what a network sees of a few videos at every rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slowfast.report.style import DPI, GREY, styled

COLUMNS = 16  # frames of a clip that fit beside each other
SIDE, HEAD, GAP = 0.85, 0.34, 0.17  # inches: a frame, the line above a video, below a strip
LEFT, TOP = 0.45, 0.45


class Row(NamedTuple):
    """A video: its class, where it is, and its clip (T, H, W, 3) uint8 per frame count."""

    label: str
    path: str
    clips: Mapping[int, np.ndarray]


def save_sheet(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write a PNG with a strip of frames per video and rate, numbered from 0.

    Of clips longer than COLUMNS frames, as many evenly spaced ones are shown.
    """
    counts = sorted(rows[0].clips)
    columns = min(COLUMNS, counts[-1])
    width = LEFT + max(SIDE * columns, 5.0) + 0.1
    height = TOP + len(rows) * (HEAD + len(counts) * (SIDE + GAP))
    with styled():
        figure = Figure(figsize=(width, height), layout="none")
        figure.text(0.12 / width, 1 - 0.27 / height, title, fontsize=12.5, fontweight="bold")
        top = TOP
        for row in rows:
            top += HEAD
            for count in counts:
                sides = (
                    LEFT / width,
                    1 - (top + SIDE) / height,
                    SIDE * columns / width,
                    SIDE / height,
                )
                axes = figure.add_axes(sides)
                _draw_strip(axes, row.clips[count], count, columns)
                if count == counts[0]:
                    _write_head(axes, row)
                top += SIDE + GAP
        figure.savefig(path, dpi=DPI)


def _write_head(axes: Axes, row: Row) -> None:
    """The class above the strip, and the path in grey behind it."""
    above = {"xycoords": "axes fraction", "textcoords": "offset points"}
    label = axes.annotate(row.label, (0, 1), (0, 7), fontsize=10, fontweight="bold", **above)
    behind = {"xycoords": label, "textcoords": "offset points", "va": "baseline"}
    axes.annotate(row.path, (1, 0), (8, 2.5), fontsize=8.5, color=GREY, **behind)


def _draw_strip(axes: Axes, clip: np.ndarray, count: int, columns: int) -> None:
    """The frames of a clip, each in the middle of its share of the strip."""
    shown = np.unique(np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int))
    axes.set_axis_off()
    for k, index in enumerate(shown):
        left = (k + 0.5) * columns / len(shown) - 0.5
        axes.imshow(clip[index], extent=(left + 0.03, left + 0.97, 0.97, 0.03))
        axes.text(left + 0.5, 1.0, str(index), ha="center", va="top", fontsize=6.5, color=GREY)
    axes.set(xlim=(0, columns), ylim=(1, 0), aspect="auto")
    axes.text(-0.12, 0.5, str(count), ha="right", va="center", fontsize=11, fontweight="bold")
