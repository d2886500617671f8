"""The parts of the demo page that Gradio has no component for, as HTML with every text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from slowfast.inference.page.results import Accuracy, View

THUMBNAIL = 112  # pixels; larger pictures are shrunk to it, smaller ones sent as they are
LONG = 28  # letters of a name of a class that is set smaller

STYLE = """
.gradio-container { padding: 0 !important; }
.gradio-container .main { max-width: 1360px !important; padding: 14px 18px !important; }
.ffn-part .html-container { padding: 0 !important; }
.ffn-part .prose { --ffn-dim: var(--body-text-color-subdued); }
.ffn-title { border-left: 5px solid #0072b2; padding-left: 12px; }
.ffn-title h1 { font-size: 1.5rem !important; line-height: 1.25 !important; margin: 0 !important; }
.ffn-title p, .ffn-note { margin: 2px 0 0 !important; font-size: .85rem !important; }
.ffn-title p, .ffn-note, .ffn-facts dt, .ffn-strip li, .ffn-card small { color: var(--ffn-dim); }
.ffn-line { padding: 4px 0; font-size: 1.05rem; font-weight: 600; min-height: 2em; }
.ffn-alert { border: 1px solid #b3261e; border-left-width: 5px; border-radius: 6px;
  padding: 8px 12px; background: #fdecea; color: #7a1712; overflow-wrap: anywhere; }
.ffn-a { --ffn-ink: #0072b2; }
.ffn-b { --ffn-ink: #d55e00; }
.ffn-card { border-style: solid; border-width: 4px 1px 1px; border-radius: 6px;
  border-color: var(--ffn-ink) var(--block-border-color) var(--block-border-color);
  padding: 10px 14px 12px; background: var(--block-background-fill); }
.ffn-card h2 { font-size: 1.3rem !important; line-height: 1.25 !important; overflow-wrap: anywhere;
  margin: 0 0 6px !important; }
.ffn-card h2.long { font-size: 1.05rem !important; }
.ffn-card small { white-space: nowrap; font-size: .85rem; font-weight: 400; }
.ffn-empty { min-height: 240px; display: grid; place-items: center; text-align: center; }
.ffn-bars { list-style: none; margin: 0 0 10px !important; padding: 0 !important; }
.ffn-bars li { position: relative; display: flex; justify-content: space-between; gap: 10px;
  margin: 0 0 3px !important; padding: 2px 8px; font-size: .9rem; line-height: 1.35;
  border-radius: 3px; overflow: hidden; background: var(--background-fill-secondary); }
.ffn-bars li > span { position: relative; }
.ffn-bars .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.ffn-bars .share { white-space: nowrap; font-variant-numeric: tabular-nums; }
.ffn-bars li > .bar { position: absolute; inset: 0 auto 0 0; min-width: 2px;
  background: color-mix(in srgb, var(--ffn-ink) 48%, transparent); }
.ffn-facts { display: grid; grid-template-columns: repeat(4, auto); gap: 4px 10px;
  margin: 0 0 4px !important; }
.ffn-facts dt { font-size: .78rem; margin: 0; }
.ffn-facts dd { margin: 0; font-size: 1.05rem; font-weight: 600; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.ffn-time { display: block; width: 100%; height: 12px; margin-top: 4px; }
.ffn-time rect { fill: var(--border-color-primary); }
.ffn-time line { stroke: var(--ffn-ink); stroke-width: 2; vector-effect: non-scaling-stroke; }
.ffn-strip { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px;
  margin: 6px 0 0 !important; padding: 0 !important; list-style: none; overflow-y: auto;
  max-height: 206px; }
.ffn-strip li { margin: 0 !important; text-align: center; font-size: .7rem; line-height: 1.25; }
.ffn-strip img { display: block; width: 100%; margin: 0; border-radius: 3px; }
.ffn-strip img.small { image-rendering: pixelated; }
#frames-a { --slider-color: #0072b2; }
#frames-b { --slider-color: #d55e00; }
/* Cutting fetches a program from elsewhere. */
#video button[aria-label^="Trim"], #video button[aria-label^="Reset"] { display: none; }
@media (max-width: 640px) {
  .gradio-container .main { padding: 10px !important; }
  .ffn-facts { grid-template-columns: repeat(2, 1fr); }
  .ffn-strip { max-height: none; grid-template-columns: repeat(6, 1fr); }
}
"""


def title(headline: str, note: str) -> str:
    """The head of the page."""
    return f'<header class="ffn-title"><h1>{escape(headline)}</h1><p>{escape(note)}</p></header>'


def alert(sentence: str) -> str:
    """What went wrong, announced by screen readers."""
    return f'<div class="ffn-alert" role="alert">{escape(sentence)}</div>'


def line(sentence: str) -> str:
    """One sentence about both columns, announced when it changes."""
    return f'<div class="ffn-line" role="status">{escape(sentence)}</div>'


def empty(side: str, sentence: str) -> str:
    """The column `side` ("a" or "b") without a result."""
    return f'<div class="ffn-card ffn-{side} ffn-empty"><p>{escape(sentence)}</p></div>'


def card(side: str, view: View, accuracy: Accuracy | None) -> str:
    """The column `side` ("a" or "b"): the classes, what they cost, and the frames behind them."""
    found, count = view.prediction, frames(view.num_frames)
    best = f"{escape(found.label)} <small>{_share(found.scores[0])} from {count}</small>"
    size = ' class="long"' * (len(found.label) > LONG)
    return (
        f'<section class="ffn-card ffn-{side}" aria-label="{count}"><h2{size}>{best}</h2>'
        f"{_bars(found.labels, found.scores)}{_facts(view, accuracy)}{_strip(view)}</section>"
    )


def _bars(labels: Sequence[str], scores: Sequence[float]) -> str:
    rows = (
        f'<li><span class="bar" style="width:{100 * min(max(score, 0), 1):.2f}%"></span>'
        f'<span class="name" title="{escape(label)}">{escape(label)}</span>'
        f'<span class="share">{_share(score)}</span></li>'
        for label, score in zip(labels, scores, strict=True)
    )
    return f'<ol class="ffn-bars" aria-label="most likely classes">{"".join(rows)}</ol>'


def _share(score: float) -> str:
    # Networks whose MODEL.HEAD_ACT is none have scores without bounds.
    return f"{100 * score:.1f} %" if 0 <= score <= 1 else f"{score:.2f}"


def _facts(view: View, accuracy: Accuracy | None) -> str:
    found = view.prediction
    percent = accuracy and accuracy.at(view.num_frames, found.size)
    facts = {
        "GFLOPs": f"{found.gflops:.3g}",
        "network": _time(found.network_ms),
        "decoding": _time(found.decode_ms),
        accuracy.name if accuracy else "accuracy": "–" if percent is None else f"{percent:.1f} %",
    }
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts.items()
    )
    note = f'<p class="ffn-note">{escape(_origin(view, accuracy, percent))}</p>'
    return f'<dl class="ffn-facts">{cells}</dl>{note}'


def _time(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _origin(view: View, accuracy: Accuracy | None, percent: float | None) -> str:
    """Which private layers ran, and what the accuracy is of."""
    trained = view.prediction.rate.num_frames
    same = trained == view.num_frames
    ran = f"trained at {frames(trained)}" if same else f"run at the rate of {frames(trained)}"
    if accuracy is None:
        return f"{ran}; no test results beside the checkpoint"
    if percent is None:
        return f"{ran}; tested with {', '.join(accuracy.percent)} frames"
    return f"{ran}; {accuracy.name} of {accuracy.videos} test videos, {accuracy.views}"


def _strip(view: View) -> str:
    pictures = "".join(
        f'<li><img src="{address}"{small} alt="frame {i}">{i}</li>'
        for address, small, i in _pictures(view.pixels, view.indices)
    )
    stretch = f"of {frames(view.video_frames)} in {view.video_frames / view.fps:.1f} s"
    return (
        f'<p class="ffn-note">{view.num_frames} {stretch}, as the network sees them</p>'
        f"{_timeline(view.indices, view.video_frames)}"
        f'<ol class="ffn-strip" tabindex="0" aria-label="frames chosen">{pictures}</ol>'
    )


def _timeline(indices: Sequence[int], video_frames: int) -> str:
    """Where in the video the frames lie."""
    places = [(i + 0.5) / video_frames * 1000 for i in indices]
    marks = "".join(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="12"/>' for x in places)
    return (
        '<svg class="ffn-time" viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="0" y="5" width="1000" height="2"/>{marks}</svg>'
    )


def _pictures(pixels: Tensor, indices: Sequence[int]) -> list[tuple[str, str, int]]:
    """An address that holds the picture itself, its class, and its frame, for each of the clip."""
    from PIL import Image

    found = []
    for picture, index in zip(pixels.numpy(), indices, strict=True):
        image, buffer = Image.fromarray(picture), io.BytesIO()
        is_small = max(image.size) < THUMBNAIL
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        kind = "png" if is_small else "jpeg"  # pixels that can be counted are shown as they are
        image.save(buffer, kind)
        data = base64.b64encode(buffer.getvalue()).decode()
        found.append((f"data:image/{kind};base64,{data}", ' class="small"' * is_small, index))
    return found


def frames(count: int) -> str:
    """A number of frames in words."""
    return f"{count} frame{'s' * (count != 1)}"
