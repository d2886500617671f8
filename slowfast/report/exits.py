"""Tests of conditional inference (`exits.json`) as a figure, tables and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slowfast.report.claims import Claim
from slowfast.report.document import Document
from slowfast.report.html import Picture, signed
from slowfast.report.results import METRICS
from slowfast.report.style import DPI, FFN, FRAME, GREY, HIGH, INK, new_figure, percent_axis, styled
from slowfast.report.tables import Cell, Table, number

Record = Mapping[str, Any]  # an exits.json

# Points of the metric that may be lost, and the percentage of GFLOPs to lose them at.
GOALS = {"gates": (1.5, 60.0), "rates": (1.0, 50.0)}
DROPS = (0.0, 0.5, 1.0, 2.0)  # points that thresholds may lose on validation videos


def name_of(record: Record) -> str:
    """The network in words: "FrameExit" or "R2Plus1D, 4, 8 and 16 frames"."""
    if record["exit"] == "gates":
        return "FrameExit"
    *low, high = map(str, record["frames"])
    return f"{record['model']}-FFN, {', '.join(low)} and {high} frames"


def exit_curves(records: Sequence[Record]) -> Figure:
    """Accuracy over mean GFLOPs per video, a panel per network: with exits, and at fixed counts."""
    figure, [panels] = new_figure(6.4 * len(records) + 0.4, 4.8, 1, len(records))
    for axes, record in zip(panels, records, strict=True):
        _draw(axes, record)
    return figure


def save_curve(path: Path, records: Sequence[Record]) -> None:
    """Write `exit_curves` as a PNG."""
    with styled():
        exit_curves(records).savefig(path, dpi=DPI)


def _draw(axes: Axes, record: Record) -> None:
    metric, test, whole = record["metric"], record["test"], record["no_exit"]
    fixed = sorted(record["fixed"], key=lambda row: row["frames"])
    curve = sorted(record["curve"], key=lambda row: row["gflops"])
    axes.plot(
        *_columns(fixed, metric), color=HIGH, marker="o", ms=6, label="fixed frame counts", zorder=3
    )
    for row in fixed:
        place = (row["gflops"], row[metric])
        style = {"textcoords": "offset points", "fontsize": 9, "color": GREY}
        axes.annotate(f"{row['frames']}", place, (5, -12), **style)
    alone = sorted(record["by_exit"], key=lambda row: row["frames"])
    hollow = {"marker": "o", "mfc": "none", "mew": 1.6, "ms": 11, "ls": "", "zorder": 5}
    axes.plot(*_columns(alone, metric), color=HIGH, label="each exit alone", **hollow)
    swept = sorted(record["sweep"], key=lambda row: row["thresholds"])
    axes.plot(*_columns(swept, metric), color=FFN, lw=1.2, label="exits, one threshold", zorder=3)
    ticks = {"marker": "o", "ms": 5, "lw": 2.6, "zorder": 4}
    axes.plot(*_columns(curve, metric), color=FFN, label="exits, calibrated", **ticks)
    betas = record.get("betas", [])
    if betas:
        dots = {"marker": "D", "ms": 6, "ls": "", "zorder": 5}
        axes.plot(*_columns(betas, metric), color=FRAME, label="gates as trained, each β", **dots)
    at = ([test["gflops"]], [test[metric]])
    axes.plot(*at, color=FFN, marker="*", ms=17, mec=INK, ls="", label="exits, chosen", zorder=6)
    at = ([whole["gflops"]], [whole[metric]])
    axes.plot(*at, color=INK, marker="s", ms=7, mfc="white", ls="", label="no exits", zorder=5)
    shown = [*curve, *swept, *alone, *betas, test, whole]
    values = [row[metric] for row in shown]
    percent_axis(axes, min(values), max(values), f"{METRICS[metric].name} (%)")
    axes.set_xlim(0, 1.05 * max(row["gflops"] for row in shown))
    axes.set_xlabel("Mean GFLOPs (multiply-adds) per video")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(name_of(record))
    axes.legend(loc="lower right")


def _columns(rows: Sequence[Mapping], metric: str) -> tuple[list[float], list[float]]:
    return [row["gflops"] for row in rows], [row[metric] for row in rows]


def exit_claims(record: Record) -> list[Claim]:
    """Whether exits lose as little, at as little, as GOALS says."""
    lost, share = GOALS[record["exit"]]
    metric, test, whole = record["metric"], record["test"], record["no_exit"]
    gain, used = test[metric] - whole[metric], 100 * test["gflops"] / whole["gflops"]
    text = (
        f"{name_of(record)}: exits take {number(used)} % of the GFLOPs without exits (at most "
        f"{share:g} %) and lose at most {lost:g} points"
    )
    return [Claim(text, gain, gain >= -lost and used <= share)]


def exit_summary(record: Record) -> str:
    """The result in a sentence, from the numbers alone."""
    metric, test, whole = record["metric"], record["test"], record["no_exit"]
    used, first = 100 * test["gflops"] / whole["gflops"], record["by_exit"][0]
    return (
        f"{name_of(record)}: {number(test[metric])} % with {number(used)} % of the GFLOPs, where "
        f"the network without exits has {number(whole[metric])} % "
        f"({signed(test[metric] - whole[metric])} points); {number(test['frames'])} of "
        f"{record['frames'][-1]} frames on average. All videos at the first exit: "
        f"{number(first[metric])} % with {number(100 * first['gflops'] / whole['gflops'])} %."
    )


def result_table(record: Record) -> Table:
    """With and without exits, and the network at fixed frame counts."""
    metric = METRICS[record["metric"]]
    rows = [
        _result_row(f"{name}", record[key], record)
        for name, key in (("exits, chosen thresholds", "test"), ("no exits", "no_exit"))
    ]
    for row in record.get("betas", []):
        rows.append(_result_row(f"gates as trained, β {row['beta']:g}", row, record))
    for row in record["fixed"]:
        cells = (f"{row['frames']} frames, fixed", number(row[record["metric"]]))
        cost = row["gflops"]
        share = number(100 * cost / record["no_exit"]["gflops"])
        texts = (*cells, f"{row['frames']}", f"{cost:.4g}", share, "–")
        rows.append([Cell(text) for text in texts])
    columns = (
        "Way",
        f"{metric.short} (%)",
        "Frames",
        "GFLOPs",
        "% of GFLOPs",
        "constant per frame",
    )
    return Table(f"{name_of(record)}: accuracy and mean cost of a video", columns, rows)


def _result_row(name: str, row: Mapping, record: Record) -> list[Cell]:
    share = number(100 * row["gflops"] / record["no_exit"]["gflops"])
    values = (number(row[record["metric"]]), number(row["frames"]), f"{row['gflops']:.4g}", share)
    return [Cell(text) for text in (name, *values, f"{row['gflops_published']:.4g}")]


def histogram_table(record: Record) -> Table:
    """How many videos leave where, and how accurate each exit is if all videos take it."""
    videos, limits = record["coverage"]["read"], [*record["thresholds"], None]
    rows = [
        [
            Cell(f"{exit + 1}"),
            Cell(str(alone["frames"])),
            Cell("–" if limit is None else f"{limit:.4f}" if limit < 1 else "never"),
            Cell(str(count)),
            Cell(number(100 * count / videos)),
            Cell(number(alone[record["metric"]])),
        ]
        for exit, (alone, limit, count) in enumerate(
            zip(record["by_exit"], limits, record["test"]["exits"], strict=True)
        )
    ]
    short = METRICS[record["metric"]].short
    columns = ("Exit", "Frames", "Threshold", "Videos", "%", f"{short} of all videos here (%)")
    return Table(f"{name_of(record)}: where videos leave", columns, rows)


def promise_table(record: Record) -> Table:
    """What thresholds lose on test videos that may lose some points on the validation videos."""
    metric, rows = record["metric"], []
    whole, curve = record["no_exit"], sorted(record["curve"], key=lambda row: row["gflops"])
    for drop in DROPS if curve else ():
        least = record["calibration"]["accuracy_without"] - drop
        kept = (row for row in curve if row["validation"]["accuracy"] >= least - 1e-9)
        row = min(kept, key=lambda row: row["validation"]["gflops"], default=None)
        if row is not None:
            share = number(100 * row["gflops"] / whole["gflops"])
            lost = signed(row[metric] - whole[metric])
            cells = (f"{drop:g}", number(row[metric]), lost, share, number(row["frames"]))
            rows.append([Cell(text) for text in cells])
    short = METRICS[metric].short
    columns = ("Points to lose, validation", f"{short} (%)", "Points", "% of GFLOPs", "Frames")
    return Table(f"{name_of(record)}: the cheapest thresholds for an accuracy", columns, rows)


def latency_table(records: Sequence[Record]) -> Table:
    """Milliseconds per video, of a batch and one by one."""
    rows = []
    for record in records:
        if (times := record["latency"]) is None:
            continue
        for name, tail in (("exits", ""), ("no exits", "_no_exit")):
            single, batched = times[f"single{tail}"], times[f"batched{tail}"]
            values = (f"{single:.2f}", f"{batched:.2f}", f"{single / batched:.1f}")
            label = f"{name_of(record)}, {name}, batch {times['batch']}"
            rows.append([Cell(text) for text in (label, *values)])
    columns = ("Network", "One by one (ms)", "In a batch (ms)", "Times faster")
    return Table("Milliseconds per video, clips in memory", columns, rows)


def write_exit_report(
    records: Sequence[Record],
    folder: Path,
    title: str,
    facts: Mapping[str, str],
    commands: Sequence[str],
) -> list[Path]:
    """Write `exits.html`, `exits.md` and the figure into `folder`; their paths, the page first."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "exits.png"
    save_curve(picture, records)
    caption = (
        "Accuracy over mean cost. Bold orange: conditional inference with the thresholds that are "
        "best for a cost on validation videos; star: those of the test; thin: a threshold that all "
        "exits share; diamonds: gates as trained. Blue: the same network at fixed frame counts, "
        "which stand beside the dots; circles: all videos at one exit, with the frames of the "
        "exits. Square: without exits."
    )
    kinds = (result_table, histogram_table, promise_table)
    tables = [kind(record) for record in records for kind in kinds]
    document = Document(
        title=title,
        summary=" ".join(exit_summary(record) for record in records),
        claims=[claim for record in records for claim in exit_claims(record)],
        pictures=[Picture(picture, caption)],
        tables=[*tables, latency_table(records)],
        facts=facts,
        commands=commands,
        coverage={_coverage(record): () for record in records},
    )
    return [*document.write(folder, "exits"), picture]


def _coverage(record: Record) -> str:
    read = f"{record['coverage']['read']}/{record['coverage']['videos']} test videos read"
    found = record["calibration"]
    if found is None:
        return f"{name_of(record)}: {read}; given thresholds"
    same = ", THE SAME AS TESTED" if found["same_as_test"] else ""
    return (
        f"{name_of(record)}: {read}; thresholds by {found['asked']} on {found['videos']} "
        f"validation videos{same} ({found['accuracy']:.1f} % there, "
        f"{found['accuracy_without']:.1f} % without exits)"
    )
