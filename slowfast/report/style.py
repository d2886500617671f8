"""How every figure looks: one font, one resolution, and one colour, marker and line per role."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import ceil

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 180
INK, GREY, FAINT = "#1f2430", "#6b7280", "#c9ced6"
# Okabe-Ito: told apart with any colour vision and in grey print.
HIGH, SEPARATE, FFN, FRAME = "#0072B2", "#009E73", "#D55E00", "#E69F00"

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 11,
    "text.parse_math": False,  # a dollar sign in the name of a class is one
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 11.5,
    "axes.edgecolor": "#8a919e",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "axes.axisbelow": True,
    "grid.color": "#e8ebef",
    "grid.linewidth": 0.9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.title_fontsize": 10,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": DPI,
}


def styled() -> AbstractContextManager:
    """Inside, new figures have the house style; matplotlib's own settings return after."""
    return style.context(["default", _RC])


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **subplots
) -> tuple[Figure, np.ndarray]:
    """A figure of inches and its array of axes, without pyplot's global state."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def percent_axis(axes: Axes, lowest: float, highest: float, name: str) -> None:
    """Percentages on y, in tens around the values; from zero when the lowest is below 50."""
    bottom = 0 if lowest < 50 else 10 * int((lowest - 5) // 10)
    top = min(10 * ceil((highest + 3) / 10), 100)
    axes.set_ylim(bottom, top + 0.03 * (top - bottom))
    axes.set_ylabel(name)
