"""Parts of an HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import NamedTuple

from slowfast.report.claims import Claim


class Picture(NamedTuple):
    """A PNG file, the sentence that says what it shows, and whether it spans the page."""

    path: Path
    caption: str
    wide: bool = True


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
