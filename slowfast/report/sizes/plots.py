"""Figures over frame count and size."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullFormatter

from slowfast.models.flexible import Rate
from slowfast.report.heatmaps import draw_cells, frame_cell
from slowfast.report.sizes.results import ByRate, SizeResults, axes_of, front
from slowfast.report.style import DPI, FFN, HIGH, INK, SEPARATE, new_figure, percent_axis, styled
from slowfast.report.tables import significant


def save_heatmaps(path: Path, results: SizeResults) -> None:
    """Write a PNG: accuracy and GFLOPs at each pair, of the one network and the highest one."""
    counts, sizes = axes_of(results.tested)
    sizes.reverse()  # the largest on top
    high = results.trained[-1]
    panels = [
        ("One network", results.flexible, results.trained),
        (f"Trained for {high.num_frames} frames of {high.size} px", results.highest, (high,)),
    ]
    with styled():
        height = 1.7 + 0.66 * len(sizes)
        figure, [cells] = new_figure(2.6 + 1.84 * len(counts), height, 1, 2, sharey=True)
        for axes, (title, values, framed) in zip(cells, panels, strict=True):
            image = _draw_grid(axes, results, values, counts, sizes)
            for rate in framed:
                frame_cell(axes, sizes.index(rate.size), counts.index(rate.num_frames))
            axes.set_title(title)
            axes.set_xlabel("Frames")
        cells[0].set_ylabel("Size (px)")
        bar = figure.colorbar(image, ax=cells, fraction=0.03, pad=0.02)
        bar.set_label(f"{results.words.name} (%)")
        bar.outline.set_visible(False)
        figure.savefig(path, dpi=DPI)


def _draw_grid(
    axes: Axes, results: SizeResults, values: ByRate, counts: list[int], sizes: list[int]
) -> AxesImage:
    rows = [[fmean(values[Rate(count, size)]) for count in counts] for size in sizes]
    image = draw_cells(axes, rows, "", fontsize=11)
    for y, size in enumerate(sizes):
        for x, count in enumerate(counts):
            color = "white" if rows[y][x] > 60 else INK
            centre = {"ha": "center", "color": color}
            axes.text(x, y + 0.02, f"{rows[y][x]:.1f}", va="bottom", size=11.5, **centre)
            cost = significant(results.gflops[Rate(count, size)])
            axes.text(x, y + 0.1, f"{cost} G", va="top", size=8, **centre)
    axes.set_xticks(range(len(counts)), map(str, counts))
    axes.set_yticks(range(len(sizes)), map(str, sizes))
    return image


def save_front(path: Path, results: SizeResults) -> None:
    """Write a PNG: accuracy over GFLOPs of all pairs, and the pairs that no other one beats."""
    with styled():
        figure, [[axes]] = new_figure(8.4, 5.2)
        best = front(results.gflops, results.flexible)
        _scatter(axes, results, results.highest, HIGH, "o", 34, (results.trained[-1],))
        _scatter(axes, results, results.separate, SEPARATE, "s", 70, tuple(results.separate))
        _scatter(axes, results, results.flexible, FFN, "o", 52, results.trained)
        line = [(results.gflops[rate], fmean(results.flexible[rate])) for rate in best]
        axes.plot(*zip(*line, strict=True), color=FFN, lw=2.4, zorder=3, drawstyle="steps-post")
        for rate, place in zip(best, line, strict=True):
            axes.annotate(
                f"{rate.num_frames} × {rate.size} px",
                place,
                (0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                zorder=6,
            )
        _legend(axes, results)
        low = [fmean(results.flexible[rate]) for rate in results.tested]
        percent_axis(axes, min(low), 100, f"{results.words.name} (%)")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("GFLOPs (multiply-adds) per clip")
        axes.set_title("The best frames and size for a budget")
        figure.savefig(path, dpi=DPI)


def _scatter(
    axes: Axes,
    results: SizeResults,
    values: ByRate,
    color: str,
    marker: str,
    size: float,
    filled: tuple[Rate, ...],
) -> None:
    x = [results.gflops[rate] for rate in values]
    y = [fmean(values[rate]) for rate in values]
    faces = [color if rate in filled else "white" for rate in values]
    axes.scatter(x, y, size, faces, marker=marker, edgecolors=color, lw=1.4, zorder=4)


def _legend(axes: Axes, results: SizeResults) -> None:
    for color, marker, label in (
        (FFN, "o", "one network"),
        (SEPARATE, "s", "one network per pair"),
        (HIGH, "o", "trained for the highest pair"),
    ):
        axes.plot([], [], color=color, marker=marker, ls="", label=label)
    axes.plot([], [], color=INK, marker="o", mfc="white", ls="", label="hollow: untrained pair")
    axes.legend(loc="lower right")
