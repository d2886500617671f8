"""The tables of a report, each built once and written as Markdown or HTML.

The best accuracy among comparable cells is bold.  Several seeds give `mean ± standard deviation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import fmean, stdev
from typing import NamedTuple

from slowfast.report.results import Cost, Report, Run


class Cell(NamedTuple):
    """Text of one cell; `best` is bold, `own` (a network at a count it was trained at) shaded."""

    text: str
    best: bool = False
    own: bool = False


class Table(NamedTuple):
    """A caption, column heads and rows; the first `labels` columns are text, the others numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    labels: int = 1


def to_markdown(table: Table) -> str:
    """A pipe table under its caption; best cells bold."""
    align = [":--" if i < table.labels else "--:" for i in range(len(table.columns))]
    lines = [table.columns, align, *([_markdown(cell) for cell in row] for row in table.rows)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.caption}\n\n{body}\n"


def to_html(table: Table) -> str:
    """A `<table>` in a box that scrolls sideways on narrow screens; everything escaped."""
    kinds = ["label" if i < table.labels else "number" for i in range(len(table.columns))]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(column)}</th>'
        for kind, column in zip(kinds, table.columns, strict=True)
    )
    rows = "\n".join(f"<tr>{_html_row(row, table.labels)}</tr>" for row in table.rows)
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def main_table(report: Report) -> Table:
    """The three ways to serve every trained rate: one plain network, one per rate, one FFN."""
    rates = report.rates
    ways = [
        (f"One network, {report.high.name}", [report.high] * len(rates), report.high.parameters),
        (
            f"{len(rates)} separate networks",
            [report.separate(rate) for rate in rates],
            sum(report.separate(rate).parameters for rate in rates),
        ),
        (f"One network, {report.ffn.name}", [report.ffn] * len(rates), report.ffn.parameters),
    ]
    best = [max(runs[i].mean(rate) for _, runs, _ in ways) for i, rate in enumerate(rates)]
    rows = [
        [
            Cell(name),
            Cell(f"{parameters:,}"),
            *map(_top1, runs, rates, best),
            Cell(number(fmean(map(Run.mean, runs, rates)))),
        ]
        for name, runs, parameters in ways
    ]
    columns = ("Networks", "Parameters", *(f"{rate} frames" for rate in rates), "Mean")
    return Table(f"{report.metric.name} (%) at the trained frame counts", columns, rows)


def matrix_table(report: Report) -> Table:
    """Every network (rows) at every tested frame count (columns)."""
    best = {t: max(run.mean(t) for run in report.runs) for t in report.tested}
    rows = [
        [Cell(run.name), *(_top1(run, t, best[t]) for t in report.tested)] for run in report.ordered
    ]
    columns = ("Network", *map(str, report.tested))
    return Table(f"{report.metric.name} (%) by network and tested frames", columns, rows)


def cost_table(report: Report) -> Table:
    """Accuracy, multiply-adds, parameters, latency and memory at every tested frame count."""
    rows = [
        row for frames in report.tested for row in _cost_rows(frames, _contenders(report, frames))
    ]
    metric = report.metric
    columns = (
        *("Frames", "Network", f"{metric.short} (%)", f"{metric.beside_short} (%)"),
        *("GFLOPs", "Parameters", "Latency (ms)", "Peak memory (MiB)"),
    )
    return Table(f"Accuracy and cost of one clip, {_input_note(report)}", columns, rows, labels=2)


def per_class_table(report: Report) -> Table:
    """Every class at every trained rate: high-rate network, separate network, FFN."""
    columns, values = ["Class"], []
    for rate in report.rates:
        for label, run in by_role(report, rate).items():
            columns.append(f"{label} @\N{NO-BREAK SPACE}{rate}")
            values.append((rate, run.per_class[rate]))
    rows = [
        [Cell(name), *_class_cells([(rate, percent[i]) for rate, percent in values])]
        for i, name in enumerate(report.dataset.classes)
    ]
    caption = f"{report.metric.per_class} per class (%) at the trained frame counts"
    return Table(caption, tuple(columns), rows)


def by_role(report: Report, rate: int) -> dict[str, Run]:
    """The networks to compare at a trained rate; at the highest, separate and high are one."""
    top = report.rates[-1]
    roles = {f"trained at {top}": report.high}
    if rate != top:
        roles[f"trained at {rate}"] = report.separate(rate)
    return {**roles, "FFN": report.ffn}


def number(value: float | None) -> str:
    """A percentage with one decimal; a dash when nothing was measured."""
    return "–" if value is None else f"{value:.1f}"


def _contenders(report: Report, frames: int) -> list[Run]:
    plain = [report.high]
    if frames in report.rates[:-1]:
        plain.append(report.separate(frames))
    return [*plain, *(run for run in report.ordered if run.kind == "ffn")]


def _cost_rows(frames: int, runs: Sequence[Run]) -> list[list[Cell]]:
    best = max(run.mean(frames) for run in runs)
    return [
        [
            Cell(str(frames)),
            Cell(run.name),
            _top1(run, frames, best),
            Cell(number(fmean(run.top5[frames]))),
            *_cost_cells(run.costs.get(frames), run.parameters),
        ]
        for run in runs
    ]


def _cost_cells(cost: Cost | None, parameters: int) -> list[Cell]:
    if cost is None:
        return [Cell("–"), Cell(f"{parameters:,}"), Cell("–"), Cell("–")]
    texts = (significant(cost.gflops), f"{parameters:,}")
    return [Cell(t) for t in (*texts, significant(cost.latency_ms), significant(cost.peak_mb))]


def significant(value: float) -> str:
    """At least three significant digits: 0.0123, 1.23, 123, 12346."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def with_spread(values: Sequence[float]) -> str:
    """The mean of percentages and, of several, their standard deviation: `92.3 ± 0.4`."""
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return number(fmean(values)) + spread


def _input_note(report: Report) -> str:
    clips, crops = report.ffn.views
    size = f"{report.ffn.crop}×{report.ffn.crop} pixels, " if report.ffn.crop else ""
    views = f"{_counted(clips, 'clip')} × {_counted(crops, 'crop')}"
    note = f"; {report.cost_note}" if report.cost_note else ""
    return f"{size}accuracy from {views} per video{note}"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _top1(run: Run, frames: int, best: float) -> Cell:
    is_best = number(run.mean(frames)) == number(best)
    return Cell(with_spread(run.accuracy[frames]), best=is_best, own=frames in run.trained)


def _class_cells(values: Sequence[tuple[int, float | None]]) -> list[Cell]:
    """One row of the per-class table; the best of each rate is bold."""
    best = {
        rate: max((v for r, v in values if r == rate and v is not None), default=None)
        for rate, _ in values
    }
    return [Cell(number(v), best=v is not None and v == best[rate]) for rate, v in values]


def _markdown(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return f"**{text}**" if cell.best else text


def _html_row(row: Sequence[Cell], labels: int) -> str:
    return "".join(
        f'<th scope="row">{escape(cell.text)}</th>' if i < labels else _html_cell(cell)
        for i, cell in enumerate(row)
    )


def _html_cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    return f'<td class="own">{text}</td>' if cell.own else f"<td>{text}</td>"
