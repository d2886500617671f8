"""Writes a report: `report.html`, `report.md`, `report.json` and `figures/*.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from slowfast.report.claims import claims
from slowfast.report.document import Document, claim_line
from slowfast.report.heatmaps import accuracy_matrix, confusion_matrices
from slowfast.report.html import Picture, signed
from slowfast.report.plots import (
    accuracy_over_frames,
    accuracy_over_gflops,
    accuracy_per_class,
    learning_curves,
    shown_classes,
)
from slowfast.report.results import Report, Run
from slowfast.report.style import DPI, styled
from slowfast.report.tables import (
    cost_table,
    main_table,
    matrix_table,
    number,
    per_class_table,
    to_markdown,
)


def write_report(report: Report, folder: Path) -> list[Path]:
    """The paths of all files written into `folder`, the page first."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    pictures = _draw(report, folder / "figures")
    texts = document(report, pictures).write(folder, "report")
    report.save(data := folder / "report.json")
    return [*texts, data, *(picture.path for picture in pictures)]


def document(report: Report, pictures: Sequence[Picture]) -> Document:
    """What the page and the Markdown say."""
    kinds = (main_table, matrix_table, cost_table, per_class_table)
    return Document(
        title=report.title,
        summary=summary(report),
        claims=claims(report),
        pictures=pictures,
        tables=[kind(report) for kind in kinds],
        facts=_facts(report),
        commands=report.commands,
        coverage={
            f"{run.name}: {coverage_text(run)}": [
                f"{failure['path']}: {failure['error']}" for failure in run.coverage.failures
            ]
            for run in report.ordered
        },
    )


def _facts(report: Report) -> dict[str, str]:
    data = report.dataset
    return {
        "Data": f"{data.name}: {len(data.classes)} classes, {data.train_videos:,} training and "
        f"{data.val_videos:,} test videos" + (f" ({data.note})" if data.note else ""),
        "Trained at": f"{', '.join(map(str, report.rates))} frames",
        "Tested at": f"{', '.join(map(str, report.tested))} frames",
        "Seeds": ", ".join(map(str, report.seeds)),
        "Read": coverage_text(report.ffn),
        "Chance": f"{number(report.chance)} %",
    }


def coverage_text(run: Run) -> str:
    """How much of the test list stands behind the accuracy: "299/300 videos read (99.7 %)"."""
    read, videos = run.coverage.read, run.coverage.videos
    return f"{read:,}/{videos:,} videos read ({number(100 * read / max(videos, 1))} %)"


def summary(report: Report) -> str:
    """The result in two sentences, from the numbers alone."""
    low, top = report.rates[0], report.rates[-1]
    high, ffn = report.high, report.ffn
    gaps = [signed(ffn.mean(rate) - report.separate(rate).mean(rate)) for rate in report.rates]
    return (
        f"The network trained at {top} frames reaches {high.mean(top):.1f} % there and "
        f"{high.mean(low):.1f} % at {low} frames, where a network trained for {low} reaches "
        f"{report.separate(low).mean(low):.1f} % and the one frame-flexible network "
        f"{ffn.mean(low):.1f} %. Against the networks trained separately, the frame-flexible one "
        f"is at {_listed(gaps)} points ({_listed(report.rates)} frames)."
    )


def _listed(items: Sequence) -> str:
    """Prose of two or more items: `4, 8 and 16`."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}"


def summary_lines(report: Report) -> list[str]:
    """The report for a terminal: summary, coverage, matrix and every claim with its number."""
    return [
        summary(report),
        f"{report.ffn.name}: {coverage_text(report.ffn)}",
        "",
        *to_markdown(matrix_table(report)).replace("**", "").splitlines(),
        "",
        *(claim_line(claim) for claim in claims(report)),
    ]


class _Plan(NamedTuple):
    """A figure to draw: file name, drawing function, caption and layout."""

    name: str
    draw: Callable[[Report], Figure]
    caption: str
    wide: bool = True


def _plans(report: Report) -> list[_Plan]:
    low, top, metric = report.rates[0], report.rates[-1], report.metric.name
    plans = [
        _Plan(
            "frames",
            accuracy_over_frames,
            f"{metric} at other frame counts. Solid blue: trained at {top} frames; dashed "
            "green: networks trained separately, each tested at its own count; bold orange: one "
            "frame-flexible network.",
        ),
        _Plan(
            "gflops",
            accuracy_over_gflops,
            "The same over computation: multiply-adds of one clip, frame counts on top.",
            wide=False,
        ),
        _Plan(
            "matrix",
            accuracy_matrix,
            f"{metric} of every network at every tested frame count.",
            wide=False,
        ),
        _Plan(
            "classes",
            accuracy_per_class,
            f"{report.metric.per_class} per class, in the order of the network trained at {top} "
            f"tested at {low}." + _omission(report),
        ),
        _Plan(
            "confusion",
            confusion_matrices,
            "Confusion between classes in percent of the true class, all seeds together.",
        ),
        _Plan(
            "curves",
            learning_curves,
            f"{metric} in validation during training at each trained rate.",
        ),
    ]
    measured = {
        "gflops": all(run.costs for run in report.runs),
        "curves": bool(report.ffn.curves),
        "confusion": bool(report.ffn.confusion),
    }
    return [plan for plan in plans if measured.get(plan.name, True)]


def _omission(report: Report) -> str:
    """Says so when the figure of classes does not show all."""
    shown, classes = len(shown_classes(report)), len(report.dataset.classes)
    return "" if shown == classes else f" The {shown} of {classes} that differ most are shown."


def _draw(report: Report, folder: Path) -> list[Picture]:
    """One PNG per figure whose numbers were measured."""
    pictures = []
    with styled():
        for plan in _plans(report):
            path = folder / f"{plan.name}.png"
            plan.draw(report).savefig(path, dpi=DPI)
            pictures.append(Picture(path, plan.caption, plan.wide))
    return pictures
