"""Puts results into a README, so that nobody types them."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from slowfast.report.build import summary
from slowfast.report.document import Document
from slowfast.report.results import Report
from slowfast.report.tables import main_table, matrix_table, to_markdown


def publish(report: Report, readme: Path, marker: str, written: Path, figures: Path) -> None:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->` in `readme`.

    By the report's main figure, copied from `written` (where `write_report` wrote) to `figures` as
    `marker.png`, its summary and tables.  Raises ValueError if `readme` lacks the markers.
    """
    picture = figures / f"{marker}.png"
    replace_block(readme, marker, _results(report, os.path.relpath(picture, readme.parent)))
    _copy(written / "figures/frames.png", picture)


def publish_document(document: Document, readme: Path, marker: str) -> None:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->` by a document.

    Its pictures are copied to the folder `figures` beside `readme`.  Raises ValueError if `readme`
    lacks the markers.
    """
    figures = readme.parent / "figures"
    pictures = [
        picture._replace(path=_copy(picture.path, figures / picture.path.name))
        for picture in document.pictures
    ]
    shown = replace(document, pictures=pictures)
    replace_block(readme, marker, shown.markdown(readme.parent))


def replace_block(readme: Path, marker: str, content: str) -> None:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->` in `readme`.

    Raises ValueError if `readme` lacks the markers.
    """
    text = readme.read_text("utf-8")
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if start not in text or end not in text:
        raise ValueError(f"{readme} has no lines {start} and {end} to write between")
    block = "\n\n".join([start, content, end])
    pattern = re.escape(start) + ".*?" + re.escape(end)
    readme.write_text(re.sub(pattern, lambda _: block, text, flags=re.S), "utf-8")


def _copy(source: Path, target: Path) -> Path:
    """`target`, where the picture now is; it may have been written there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(shutil.SameFileError):
        shutil.copy(source, target)
    return target


def _results(report: Report, picture: str) -> str:
    data, seeds, commands = report.dataset, report.seeds, "`, `".join(report.commands)
    return "\n\n".join(
        [
            f"![{report.metric.name} over test frames]({picture})",
            summary(report),
            to_markdown(main_table(report)).strip(),
            to_markdown(matrix_table(report)).strip(),
            f"Data: {data.train_videos} training and {data.val_videos} validation videos, "
            f"{len(data.classes)} classes; seed{'s' * (len(seeds) > 1)} "
            f"{', '.join(map(str, seeds))}. Made by `{commands}`.",
        ]
    )
