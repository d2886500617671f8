"""One HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from slowfast.report.claims import Claim
from slowfast.report.results import Report, Run
from slowfast.report.tables import Table, number, to_html
from slowfast.report.template import PAGE


class Picture(NamedTuple):
    """A PNG file, the sentence that says what it shows, and whether it spans the page."""

    path: Path
    caption: str
    wide: bool = True


def page(
    report: Report,
    summary: str,
    claims: Sequence[Claim],
    pictures: Sequence[Picture],
    tables: Sequence[Table],
) -> str:
    """The whole document; every text is escaped and every picture embedded."""
    return PAGE.substitute(
        title=escape(report.title),
        summary=escape(summary),
        facts=_facts(report),
        claims="\n".join(claim_item(claim) for claim in claims),
        pictures="\n".join(figure_item(picture) for picture in pictures),
        tables="\n".join(to_html(table) for table in tables),
        coverage="\n".join(_coverage(run) for run in report.ordered),
        commands=escape("\n".join(report.commands)),
    )


def _facts(report: Report) -> str:
    data = report.dataset
    facts = {
        "Data": f"{data.name}: {len(data.classes)} classes, {data.train_videos:,} training and "
        f"{data.val_videos:,} test videos" + (f" ({data.note})" if data.note else ""),
        "Trained at": f"{', '.join(map(str, report.rates))} frames",
        "Tested at": f"{', '.join(map(str, report.tested))} frames",
        "Seeds": ", ".join(map(str, report.seeds)),
        "Read": coverage_text(report.ffn),
        "Chance": f"{number(report.chance)} %",
    }
    return "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())


def coverage_text(run: Run) -> str:
    """How much of the test list stands behind the accuracy: "299/300 videos read (99.7 %)"."""
    read, videos = run.coverage.read, run.coverage.videos
    return f"{read:,}/{videos:,} videos read ({number(100 * read / max(videos, 1))} %)"


def _coverage(run: Run) -> str:
    failures = "".join(
        f"<li><code>{escape(str(f['path']))}</code>: {escape(str(f['error']))}</li>"
        for f in run.coverage.failures
    )
    listing = f"<ul>{failures}</ul>" if failures else ""
    return f"<li>{escape(run.name)}: {coverage_text(run)}{listing}</li>"


def claim_item(claim: Claim) -> str:
    mark, name = ("✓", "holds") if claim.holds else ("✗", "fails")
    return (
        f'<li class="{name}"><span class="mark" aria-label="{name}">{mark}</span>'
        f"<span>{escape(claim.text)}</span><b>{signed(claim.value)} points</b></li>"
    )


def signed(points: float) -> str:
    """A difference with its sign and a true minus."""
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")


def figure_item(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = escape(picture.caption)
    width = ' class="wide"' if picture.wide else ""
    return (
        f'<figure{width}><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
