"""Writes a report: `report.html`, `report.md`, `report.json` and `figures/*.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from slowfast.report.claims import Claim, claims
from slowfast.report.heatmaps import accuracy_matrix, confusion_matrices
from slowfast.report.html import Picture, coverage_text, page, signed
from slowfast.report.plots import (
    accuracy_over_frames,
    accuracy_over_gflops,
    accuracy_per_class,
    learning_curves,
    shown_classes,
)
from slowfast.report.results import Report
from slowfast.report.style import DPI, styled
from slowfast.report.tables import (
    Table,
    cost_table,
    main_table,
    matrix_table,
    per_class_table,
    to_markdown,
)


def write_report(report: Report, folder: Path) -> list[Path]:
    """The paths of all files written into `folder`, the page first."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    pictures = _draw(report, folder / "figures")
    tables = [f(report) for f in (main_table, matrix_table, cost_table, per_class_table)]
    html, markdown, data = (folder / f"report.{kind}" for kind in ("html", "md", "json"))
    html.write_text(page(report, summary(report), claims(report), pictures, tables), "utf-8")
    markdown.write_text(_markdown(report, pictures, tables), "utf-8")
    report.save(data)
    return [html, markdown, data, *(picture.path for picture in pictures)]


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
        *(_claim_line(claim) for claim in claims(report)),
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


def _markdown(report: Report, pictures: list[Picture], tables: list[Table]) -> str:
    parts = [
        f"# {report.title}",
        summary(report),
        "\n".join(f"- {_claim_line(claim)}" for claim in claims(report)),
        *(f"![{p.caption}](figures/{p.path.name})\n\n*{p.caption}*" for p in pictures),
        *(to_markdown(table) for table in tables),
        "## Coverage",
        "\n".join(f"- {run.name}: {coverage_text(run)}" for run in report.ordered),
        "## Reproduce",
        "```bash\n" + "\n".join(report.commands) + "\n```",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _claim_line(claim: Claim) -> str:
    return f"{'✓' if claim.holds else '✗'} {claim.text}: {signed(claim.value)} points"
