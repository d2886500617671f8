"""Figures over frames, cost, epochs and classes.  Each function returns one matplotlib figure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from slowfast.report.results import Report, Run
from slowfast.report.style import (
    FAINT,
    FFN,
    GREY,
    HIGH,
    INK,
    SEPARATE,
    new_figure,
    percent_axis,
)

MAX_CLASSES = 40  # more rows are no longer readable in one figure
Place = Callable[[Run, int], float]  # where on x a network stands at a tested frame count


def accuracy_over_frames(report: Report) -> Figure:
    """The Temporal-Frequency-Deviation figure: top-1 of the three ways at every tested count."""
    figure, [[axes]] = new_figure(7.6, 5.0)
    _draw_three_ways(axes, report, lambda run, frames: frames)
    axes.set_xlim(0, 1.03 * report.tested[-1])
    axes.set_xlabel("Frames at test time")
    axes.set_xticks(report.tested, map(str, report.tested))
    _embolden_trained(axes.get_xticklabels(), report)
    axes.set_title(f"Temporal frequency deviation on {report.dataset.name}")
    return figure


def accuracy_over_gflops(report: Report) -> Figure:
    """The same curves over the multiply-adds of one clip; the frame counts stand on top."""
    figure, [[axes]] = new_figure(7.6, 5.2)
    _draw_three_ways(axes, report, lambda run, frames: run.costs[frames].gflops)
    axes.set_xlim(0, 1.03 * report.ffn.costs[report.tested[-1]].gflops)
    axes.set_xlabel("GFLOPs (multiply-adds) per clip")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:g}")
    _draw_frames_on_top(axes, report)
    axes.set_title(f"Accuracy and cost on {report.dataset.name}")
    return figure


def learning_curves(report: Report) -> Figure:
    """Validation accuracy over epochs, one panel per trained rate: separate network and FFN."""
    count = len(report.rates)
    figure, [panels] = new_figure(3.4 * count + 0.6, 3.7, 1, count, sharey=True)
    for axes, rate in zip(panels, report.rates, strict=True):
        separate = report.separate(rate)
        _draw_curve(axes, separate, rate, color=SEPARATE, ls="--", label="trained at this count")
        _draw_curve(axes, report.ffn, rate, color=FFN, lw=2.6, label=report.ffn.name)
        axes.set_title(f"{rate} frames")
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(0, 103)
    panels[0].set_ylabel(f"{report.metric.name} (%)")
    panels[-1].legend(loc="lower right")
    return figure


def accuracy_per_class(report: Report) -> Figure:
    """One row per class, one panel per trained rate, one mark per network."""
    classes = shown_classes(report)
    count = len(report.rates)
    height = 1.5 + 0.3 * len(classes)
    figure, [panels] = new_figure(2.9 * count + 2.0, height, 1, count, sharey=True)
    for axes, rate in zip(panels, report.rates, strict=True):
        _draw_class_marks(axes, report, rate, classes)
    panels[0].set_yticks(range(len(classes)), [report.dataset.classes[c] for c in classes])
    panels[0].set_ylim(len(classes) - 0.4, -0.6)
    handles = [
        Line2D([], [], color=HIGH, marker="o", ls="", label=report.high.name),
        Line2D([], [], color=SEPARATE, marker="s", ls="", label="trained at this count"),
        Line2D([], [], color=FFN, marker="D", ls="", label=report.ffn.name),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


# ---------------------------------------------------------------------------- accuracy curves


def _draw_three_ways(axes: Axes, report: Report, at: Place) -> None:
    """High, separate and FFN with the gap between the first two."""
    high, ffn = report.high, report.ffn
    for rate in report.rates:
        axes.axvline(at(ffn, rate), color=FAINT, lw=1, ls=(0, (1, 2)), zorder=0)
    _draw_separate(axes, report, at)
    _draw_run(axes, report, high, at, HIGH, linewidth=2.0)
    _draw_run(axes, report, ffn, at, FFN, linewidth=3.2)
    _draw_gap(axes, report, at(high, report.rates[0]))
    low = [run.mean(t) - run.std(t) for run in (high, ffn) for t in report.tested]
    top = [run.mean(t) + run.std(t) for run in report.runs for t in run.trained]
    percent_axis(axes, min(low), max(top), f"{report.metric.name} (%)")
    _draw_chance(axes, report.chance or 0)
    _draw_legend(axes, report)


def _draw_run(
    axes: Axes, report: Report, run: Run, at: Place, color: str, linewidth: float
) -> None:
    """A line in its band of one standard deviation; markers filled at the trained counts."""
    tested = report.tested
    x, y = [at(run, t) for t in tested], [run.mean(t) for t in tested]
    below = [run.mean(t) - run.std(t) for t in tested]
    above = [min(run.mean(t) + run.std(t), 100) for t in tested]
    axes.fill_between(x, below, above, color=color, alpha=0.18, lw=0)
    axes.plot(x, y, color=color, lw=linewidth, zorder=4)
    faces = [color if t in run.trained else "white" for t in tested]
    axes.scatter(x, y, s=44, c=faces, edgecolors=color, lw=1.8, zorder=5, clip_on=False)


def _draw_separate(axes: Axes, report: Report, at: Place) -> None:
    """Each plain network at its own count only; squares wide enough to be seen around dots."""
    runs = {rate: report.separate(rate) for rate in report.rates}
    axes.errorbar(
        [at(run, rate) for rate, run in runs.items()],
        [run.mean(rate) for rate, run in runs.items()],
        yerr=[run.std(rate) for rate, run in runs.items()],
        **{"color": SEPARATE, "ls": "--", "lw": 2.0, "zorder": 3},
        **{"marker": "s", "ms": 9.5, "capsize": 4, "clip_on": False},
    )


def _draw_gap(axes: Axes, report: Report, x: float) -> None:
    """The deviation at the lowest rate: an arrow between the separate network and the high one."""
    low = report.rates[0]
    top, bottom = report.separate(low).mean(low), report.high.mean(low)
    if top - bottom < 10:  # no room for arrow and number
        return
    arrow = {"arrowstyle": "<->", "color": INK, "lw": 1.3, "shrinkA": 7, "shrinkB": 7}
    axes.annotate("", (x, bottom), (x, top), arrowprops=arrow, zorder=2)
    axes.annotate(
        f"{bottom - top:.1f}\npoints".replace("-", "\u2212"),
        (x, bottom + 0.7 * (top - bottom)),  # where the curve of the high network is far
        (7, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontweight="bold",
    )


def _draw_chance(axes: Axes, chance: float) -> None:
    if chance <= axes.get_ylim()[0]:
        return
    axes.axhline(chance, color=GREY, lw=1, ls=":")
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("chance", (0, chance), (5, 3), **where, fontsize=9, color=GREY)


def _draw_legend(axes: Axes, report: Report) -> None:
    seeds = len(report.seeds)
    hollow = {"marker": "o", "markerfacecolor": "white", "ls": ""}
    handles = [
        Line2D([], [], color=FFN, lw=3.2, marker="o", ms=7, label=report.ffn.name),
        Line2D([], [], color=SEPARATE, ls="--", marker="s", ms=9, label="separately trained"),
        Line2D([], [], color=HIGH, lw=2, marker="o", label=report.high.name),
        Line2D([], [], color=INK, **hollow, label="hollow: untrained count"),
    ]
    title = f"mean ± std of {seeds} seeds" if seeds > 1 else None
    bottom, top = axes.get_ylim()
    above_chance = (1, max((report.chance or 0) - bottom, 0) / (top - bottom))
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=above_chance,
        title=title,
        alignment="left",
    )


def _draw_frames_on_top(axes: Axes, report: Report) -> None:
    top = axes.secondary_xaxis("top")
    top.set_xticks([report.ffn.costs[t].gflops for t in report.tested], map(str, report.tested))
    top.set_xlabel("Frames at test time", labelpad=6)
    top.spines["top"].set_visible(False)
    _embolden_trained(top.get_xticklabels(), report)


def _embolden_trained(labels: Sequence[Text], report: Report) -> None:
    for label, frames in zip(labels, report.tested, strict=True):
        label.set_fontweight("bold" if frames in report.rates else "normal")


# ---------------------------------------------------------------------------- classes and epochs


def shown_classes(report: Report) -> list[int]:
    """Class numbers by rising accuracy of the high network at the lowest rate.

    Beyond MAX_CLASSES only those in which FFN and the high network differ most there.
    """
    low = report.rates[0]
    ffn, high = report.ffn.per_class[low], report.high.per_class[low]
    known = [c for c in range(len(high)) if ffn[c] is not None and high[c] is not None]
    known.sort(key=lambda c: -abs(ffn[c] - high[c]))
    return sorted(known[:MAX_CLASSES], key=lambda c: high[c])


def _draw_class_marks(axes: Axes, report: Report, rate: int, classes: Sequence[int]) -> None:
    """Wide marks below narrow ones, so that equal values stay visible."""
    marks = [
        (report.separate(rate), SEPARATE, "s", 64),
        (report.high, HIGH, "o", 48),
        (report.ffn, FFN, "D", 32),
    ]
    rows = range(len(classes))
    values = [[run.per_class[rate][c] for c in classes] for run, *_ in marks]
    lines = [(min(row), max(row)) for row in zip(*values, strict=True)]
    axes.hlines(rows, *zip(*lines, strict=True), color=FAINT, lw=2, zorder=1)
    for x, (_, color, marker, size) in zip(values, marks, strict=True):
        edge = {"edgecolors": "white", "lw": 0.7}
        axes.scatter(x, rows, s=size, c=color, marker=marker, zorder=3, clip_on=False, **edge)
    axes.set_xlim(-3, 103)
    axes.set_title(f"{rate} frames")
    axes.set_xlabel(f"{report.metric.per_class} (%)")


def _draw_curve(axes: Axes, run: Run, rate: int, **line) -> None:
    by_epoch = defaultdict(list)
    for point in run.curves:
        if point.rate == rate:
            by_epoch[point.epoch].append(point.top1)
    epochs = sorted(by_epoch)
    axes.plot(epochs, [statistics.fmean(by_epoch[epoch]) for epoch in epochs], **line)
