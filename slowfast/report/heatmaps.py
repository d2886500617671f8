"""Figures of matrices: networks by frame counts, and confusion between classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from slowfast.report.results import Report
from slowfast.report.style import DPI, FRAME, INK, new_figure, styled

COLOURS = colormaps["Blues"]
MAX_NUMBERED = 24  # classes: beyond it, numbers and names do not fit
MAX_NAME = 24  # characters of a class: longer names leave no room for the cells
MAX_PANELS = 4


def accuracy_matrix(report: Report) -> Figure:
    """Every network (rows) at every tested count (columns); trained counts are framed."""
    runs, tested = report.ordered, report.tested
    figure, [[axes]] = new_figure(2.2 + 0.78 * len(tested), 1.6 + 0.8 * len(runs))
    values = [[run.mean(t) for t in tested] for run in runs]
    image = draw_cells(axes, values, "{:.1f}", fontsize=11.5)
    for row, run in enumerate(runs):
        for column in (tested.index(t) for t in run.trained if t in tested):
            frame_cell(axes, row, column)
    axes.set_xticks(range(len(tested)), map(str, tested))
    axes.set_yticks(range(len(runs)), [run.name for run in runs])
    axes.set_xlabel("Frames at test time  (framed: trained at this count)")
    axes.set_title(f"{report.metric.name} (%)")
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02).outline.set_visible(False)
    return figure


def confusion_matrices(report: Report) -> Figure:
    """The high network at the lowest rate, then FFN at every trained rate; rows sum to 100 %."""
    panels = [(report.high, report.rates[0]), *((report.ffn, rate) for rate in report.rates)]
    side = min(max(0.36 * len(report.dataset.classes), 3.2), 7.0)
    rows = ceil(len(panels) / 2)
    figure, axes = new_figure(2 * side + 3.4, rows * (side + 0.5) + 1.2, rows, 2, sharey=True)
    for cell, (run, frames) in zip(axes.flat, panels, strict=False):
        title = f"{run.name}, tested at {frames}: {run.mean(frames):.1f} %"
        image = _draw_confusion(cell, run.confusion[frames], report.dataset.classes, title)
    for unused in axes.flat[len(panels) :]:
        unused.set_visible(False)
    for cell in axes[:, 0]:
        cell.set_ylabel("True class")
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.02, label="% of the true class")
    bar.outline.set_visible(False)
    return figure


def save_confusion(
    path: Path, matrices: Mapping[int, Sequence[Sequence[int]]], classes: Sequence[str]
) -> None:
    """Write a PNG of the confusion at each frame count, at most four of them; rows sum to 100 %."""
    counts = sorted(matrices)
    if len(counts) > MAX_PANELS:  # the lowest, the highest and two between them
        counts = [counts[i * (len(counts) - 1) // (MAX_PANELS - 1)] for i in range(MAX_PANELS)]
    size = len(matrices[counts[0]])
    names = list(classes) if len(classes) == size else list(map(str, range(size)))
    side = min(max(0.36 * size, 3.2), 7.0)
    with styled():
        figure, [panels] = new_figure(
            len(counts) * side + 1.8, side + 1.4, 1, len(counts), sharey=True
        )
        for axes, count in zip(panels, counts, strict=True):
            matrix = matrices[count]
            hits, videos = sum(matrix[c][c] for c in range(size)), sum(map(sum, matrix))
            title = f"{count} frames: {100 * hits / max(videos, 1):.1f} %"
            image = _draw_confusion(axes, matrix, names, title)
        panels[0].set_ylabel("True class")
        bar = figure.colorbar(image, ax=panels, fraction=0.025, pad=0.02)
        bar.set_label("% of the true class")
        bar.outline.set_visible(False)
        figure.savefig(path, dpi=DPI)


def _draw_confusion(
    axes: Axes, matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> AxesImage:
    percent = [[100 * n / max(sum(row), 1) for n in row] for row in matrix]
    numbered = len(classes) <= MAX_NUMBERED
    image = draw_cells(axes, percent, "{:.0f}" if numbered else "", fontsize=8, least=0.5)
    axes.set_title(title)
    axes.set_xlabel("Predicted class")
    if numbered:
        ticks = range(len(classes))
        names = [n if len(n) <= MAX_NAME else f"{n[: MAX_NAME - 1]}…" for n in classes]
        axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
        axes.set_yticks(ticks, names, fontsize=9)
    return image


def draw_cells(
    axes: Axes, values: Sequence[Sequence[float]], pattern: str, fontsize: float, least: float = 0
) -> AxesImage:
    """Coloured cells of percentages, written in them from `least` on when there is a pattern."""
    image = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=100, aspect="auto")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if not pattern:
        return image
    _separate_cells(axes, len(values), len(values[0]))
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value >= least:
                style = {"color": "white" if value > 60 else INK, "size": fontsize}
                axes.text(column, row, pattern.format(value), ha="center", va="center", **style)
    return image


def _separate_cells(axes: Axes, rows: int, columns: int) -> None:
    """White lines between the cells: a grid on minor ticks at their borders."""
    axes.set_xticks([x + 0.5 for x in range(columns - 1)], minor=True)
    axes.set_yticks([y + 0.5 for y in range(rows - 1)], minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="white", lw=1.2)


def frame_cell(axes: Axes, row: int, column: int) -> None:
    corner = (column - 0.47, row - 0.465)
    axes.add_patch(Rectangle(corner, 0.94, 0.93, fill=False, edgecolor=FRAME, lw=2.6, zorder=3))
