"""Figures of one video at several rates: which frames each saw, and what in them spoke for a class.

timeline    the video as a strip of film, and below it a row of marks per rate
strips      the frames of each rate, the heat of Grad-CAM over them, and each frame's share
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slowfast.inference.explain.seen import Seen, Views
from slowfast.inference.recognizer import Clip
from slowfast.inference.whole_file import whole_file
from slowfast.report.style import DPI, FAINT, FFN, GREY, HIGH, styled

WIDTH = 11.2  # inches of the strips
LEFT, TOP = 0.85, 0.72
LARGEST = 1.2  # inches of a picture's side, where few stand beside each other
COLUMNS = 16  # pictures that fit beside each other
NUMBERED = 32  # frames whose numbers fit
HEAD, BARS = 0.36, 0.62  # inches of a heading and of a row of bars
HEAT = colormaps["inferno"]
VIEW = 160  # pixels of a cropped picture


class Sheet:
    """A figure whose rows are placed in inches from the top, with a margin of `right` inches."""

    def __init__(self, height: float, right: float, title: str, subtitle: str) -> None:
        self.width, self.height = LEFT + WIDTH + right, height
        self.figure = Figure(figsize=(self.width, height), layout="none")
        self.write(0.12, 0.3, title, fontsize=13, fontweight="bold")
        self.write(0.12, 0.53, subtitle, fontsize=9.5, color=GREY)

    def write(self, left: float, top: float, text: str, **style) -> None:
        self.figure.text(left / self.width, 1 - top / self.height, text, **style)

    def axes(self, top: float, height: float) -> Axes:
        """A row over the strips' whole width, without ticks and frame."""
        sides = LEFT / self.width, 1 - (top + height) / self.height, WIDTH / self.width
        axes = self.figure.add_axes((*sides, height / self.height))
        axes.set_axis_off()
        return axes

    def save(self, path: Path) -> None:
        with whole_file(path) as temporary:
            self.figure.savefig(temporary, dpi=DPI, format="png")


# ---------------------------------------------------------------------------- timeline


def save_timeline(path: Path, source: str, seen: Sequence[Seen], views: Views) -> None:
    """Write a PNG: the video from its first to its last frame, and the frames of each rate."""
    clip = seen[0].clip
    sample = views.whole(source, [0])[0]
    film = 0.9
    count = max(int(WIDTH / (film * sample.shape[1] / sample.shape[0] + 0.04)), 3)
    row, head = 0.5, TOP + film + 0.62
    with styled():
        height = head + row * len(seen) + 0.2
        right = 0.35 + 0.095 * max(len(one.said(one.best)) for one in seen)
        sheet = Sheet(height, right, Path(clip.name).name, _facts(clip))
        _draw_film(sheet.axes(TOP, film), source, clip.video_frames, count, views)
        _draw_ruler(sheet.axes(TOP + film + 0.03, 0.45), clip.video_frames, clip.fps)
        for i, one in enumerate(seen):
            top = head + i * row
            sheet.write(LEFT - 0.15, top + 0.2, str(one.rate), fontweight="bold", ha="right")
            word = "frame" if one.rate.num_frames == 1 else "frames"
            sheet.write(LEFT - 0.15, top + 0.36, word, fontsize=8, color=GREY, ha="right")
            _draw_marks(sheet.axes(top, row), one)
            sheet.write(LEFT + WIDTH + 0.15, top + 0.2, one.said(one.best), fontsize=10)
        sheet.save(path)


def _facts(clip: Clip) -> str:
    seconds = clip.video_frames / clip.fps
    return f"{clip.video_frames} frames, {seconds:.1f} s at {clip.fps:.4g} frames per second"


def _draw_film(axes: Axes, source: str, num_frames: int, count: int, views: Views) -> None:
    """`count` frames from the middles of equal parts; what the crop leaves out is pale."""
    count = min(count, num_frames)
    indices = ((np.arange(count) + 0.5) * num_frames / count).astype(int)
    width = num_frames / count
    for k, picture in enumerate(views.whole(source, indices)):
        faded = (picture * 0.35 + 255 * 0.65).astype(np.uint8)
        rows, columns = _cropped(views, *picture.shape[:2])
        faded[rows, columns] = picture[rows, columns]
        left = (k + 0.02) * width
        axes.imshow(faded, extent=(left, left + 0.96 * width, 1, 0), interpolation="antialiased")
    axes.set(xlim=(0, num_frames), ylim=(1, 0), aspect="auto")


def _cropped(views: Views, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the frame that the crop keeps."""
    box = views.box(height, width)
    y, x = (1, 1) if box.scale is None else (height / box.scale.height, width / box.scale.width)
    return (
        slice(round(box.top * y), round((box.top + box.height) * y)),
        slice(round(box.left * x), round((box.left + box.width) * x)),
    )


def _draw_ruler(axes: Axes, num_frames: int, fps: float) -> None:
    """Frame numbers in round steps, and the seconds below them."""
    axes.set(xlim=(0, num_frames), ylim=(1, 0))
    axes.plot([0, num_frames], [0.08, 0.08], color=FAINT, lw=1)
    step = _round_step(num_frames / 12)
    for frame in range(0, num_frames, step):
        axes.plot([frame + 0.5] * 2, [0.08, 0.2], color=GREY, lw=1)
        text = {"ha": "center", "va": "top"}
        axes.text(frame + 0.5, 0.24, str(frame), fontsize=8.5, **text)
        axes.text(frame + 0.5, 0.62, f"{frame / fps:.1f} s", fontsize=7.5, color=GREY, **text)
    label = {"ha": "right", "va": "top", "transform": axes.get_yaxis_transform()}
    axes.text(-0.3 / WIDTH, 0.24, "frame", fontsize=8.5, **label)
    axes.text(-0.3 / WIDTH, 0.62, "time", fontsize=7.5, color=GREY, **label)


def _round_step(least: float) -> int:
    power = 10 ** max(len(str(int(least))) - 1, 0)
    return max(next(n * power for n in (1, 2, 5, 10) if n * power >= least), 1)


def _draw_marks(axes: Axes, one: Seen) -> None:
    """A light band with a line at every frame that was seen."""
    clip, num_frames = one.clip, one.clip.video_frames
    axes.set(xlim=(0, num_frames), ylim=(1, 0))
    axes.add_patch(Rectangle((0, 0.08), num_frames, 0.36, color="#eef1f4", lw=0))
    indices = np.unique(clip.indices.numpy())
    axes.vlines(indices + 0.5, 0.08, 0.44, color=HIGH, lw=3 if len(indices) <= 64 else 1.2)
    if len(indices) <= NUMBERED:
        text = {"ha": "center", "va": "top", "fontsize": 7, "color": GREY}
        for index in indices:
            axes.text(index + 0.5, 0.5, str(index), **text)


# ---------------------------------------------------------------------------- strips


def save_strips(
    path: Path, source: str, seen: Sequence[Seen], views: Views, layer: str = ""
) -> None:
    """Write a PNG: for each rate its frames as the network saw them, the heat, and the shares.

    Heat, of the map of `layer`, is drawn over the same frames in more pixels and has one scale per
    rate.  Of more frames than COLUMNS, as many evenly spaced ones have pictures.
    """
    clip = seen[0].clip
    sides = [_side(one) for one in seen]
    blocks = [HEAD + 2 * side + BARS + 0.44 for side in sides]
    _, height, width = seen[0].evidence.places.shape
    where = f"layer {layer}" if layer else "the last map"
    facts = (
        f"{_facts(clip)}; seen in {clip.pixels.shape[1]} x {clip.pixels.shape[2]} pixels; "
        f"heat of {height} x {width} places ({where})"
    )
    with styled():
        sheet = Sheet(TOP + sum(blocks), 0.9, Path(clip.name).name, facts)
        top = TOP
        for one, side, block in zip(seen, sides, blocks, strict=True):
            _draw_block(sheet, top, side, one, source, views)
            top += block
        sheet.save(path)


def _side(one: Seen) -> float:
    """Inches of the pictures of one rate."""
    return min(WIDTH / min(COLUMNS, len(one.clip.indices)), LARGEST)


def _draw_block(
    sheet: Sheet, top: float, side: float, one: Seen, source: str, views: Views
) -> None:
    """One rate: a heading, the frames, the heat over them, and a bar for each."""
    _write_head(sheet, top, one)
    shown = _shown(len(one.clip.indices))
    rows = [top + HEAD, top + HEAD + side + 0.05, top + HEAD + 2 * side + 0.1]
    _draw_pictures(sheet.axes(rows[0], side), one.clip.pixels.numpy()[shown], side, "nearest")
    pictures = views.cropped(source, one.clip.indices[shown].tolist(), VIEW)
    warm = list(warmed(one, pictures, shown))
    _draw_pictures(sheet.axes(rows[1], side), warm, side, "antialiased")
    _draw_scale(sheet, rows[1], side)
    _draw_shares(sheet.axes(rows[2], BARS), one, shown, side)
    middles = rows[0] + side / 2, rows[1] + side / 2, rows[2] + BARS / 2
    for name, middle in zip(("seen", "heat", "share"), middles, strict=True):
        style = {"ha": "right", "va": "center", "fontsize": 9.5}
        sheet.write(LEFT - 0.14, middle, name, color=GREY, **style)


def _write_head(sheet: Sheet, top: float, one: Seen) -> None:
    heading = f"{one.name}:  {one.said(one.target)}"
    sheet.write(LEFT, top + 0.24, heading, fontweight="bold")
    if one.target != one.best:
        above = f"most likely is {one.said(one.best)}"
        sheet.write(LEFT + WIDTH, top + 0.24, above, ha="right", color=GREY, fontsize=9.5)


def _shown(count: int) -> np.ndarray:
    """Which frames of a clip have a picture: all, or as many evenly spaced ones as fit."""
    parts = min(COLUMNS, count)
    return ((np.arange(parts) + 0.5) * count / parts).astype(int)


def warmed(
    one: Seen, pictures: Iterable[np.ndarray], places: Sequence[float]
) -> Iterator[np.ndarray]:
    """Each of `pictures` `(H, W, 3)` uint8 in grey, with the heat at `places` of the clip over it.

    A place is a frame of the clip, or between two of them; nothing is hot where it is nan.
    """
    for picture, place in zip(pictures, places, strict=True):
        yield _colours(_heat_at(one.heat, place, picture.shape[:2]), picture)


def _colours(heat: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """`heat` (H, W) of 0 to 1 over a picture `(H, W, 3)`, which is darker and has no colours."""
    levels = (255 * heat).astype(np.uint8)
    grey = picture @ _LUMA
    return (grey[..., None] * _LEFT_OF_GREY[levels] + _COLOUR[levels]).astype(np.uint8)


# By level of heat: what the colour adds, and how much of the grey it leaves.
_LEVELS = np.linspace(0, 1, 256)[:, None]
_STRENGTH = np.minimum(1.6 * _LEVELS, 0.75)
_COLOUR = (255 * _STRENGTH * HEAT(0.25 + 0.7 * _LEVELS[:, 0])[:, :3]).astype(np.float32)
_LEFT_OF_GREY = (0.7 * (1 - _STRENGTH)).astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _heat_at(heat: np.ndarray, place: float, size: tuple[int, int]) -> np.ndarray:
    """`size` pixels of the heat `(T, S, S)` at a place between two frames."""
    if np.isnan(place):
        return np.zeros(size, np.float32)
    before = int(place)
    after = min(before + 1, len(heat) - 1)
    part = np.float32(place - before)
    frame = torch.from_numpy(heat[before] + part * (heat[after] - heat[before]))
    return F.interpolate(frame[None, None], size, mode="bilinear")[0, 0].numpy()


def _draw_pictures(
    axes: Axes, pictures: Sequence[np.ndarray], side: float, interpolation: str
) -> None:
    """Square pictures of `side` inches, each in the middle of its share of the row."""
    for left, picture in zip(_lefts(len(pictures), side), pictures, strict=True):
        extent = (left + 0.02, left + side - 0.02, side - 0.02, 0.02)
        axes.imshow(picture, extent=extent, interpolation=interpolation)
    axes.set(xlim=(0, WIDTH), ylim=(side, 0), aspect="auto")


def _lefts(count: int, side: float) -> np.ndarray:
    return (np.arange(count) + 0.5) * WIDTH / count - side / 2


def _draw_shares(axes: Axes, one: Seen, shown: np.ndarray, side: float) -> None:
    """A bar per frame: its part of the heat; its number in the video below."""
    count, indices = len(one.shares), one.clip.indices.tolist()
    middles = (np.arange(count) + 0.5) * WIDTH / count
    top = max(one.shares.max(), 1 / count)
    axes.plot([0, WIDTH], [0, 0], color=FAINT, lw=1)
    axes.bar(middles, one.shares, min(0.45 * side, 0.8 * WIDTH / count), color=FFN)
    text = {"ha": "center", "fontsize": 7.5}
    for k in shown:
        axes.text(middles[k], -0.1 * top, str(indices[k]), va="top", **text)
        percent = f"{100 * one.shares[k]:.0f} %"
        axes.text(middles[k], one.shares[k] + 0.05 * top, percent, va="bottom", color=GREY, **text)
    if not one.shares.any():
        axes.text(WIDTH / 2, 0.5 * top, "nothing speaks for this class", color=GREY, ha="center")
    axes.set(xlim=(0, WIDTH), ylim=(-0.4 * top, 1.45 * top))


def _draw_scale(sheet: Sheet, top: float, side: float) -> None:
    """What the colours mean, to the right of the heat."""
    left, width = LEFT + WIDTH + 0.18, 0.11
    corner = left / sheet.width, 1 - (top + 0.96 * side) / sheet.height
    axes = sheet.figure.add_axes((*corner, width / sheet.width, 0.92 * side / sheet.height))
    heat = np.linspace(1, 0, 64, dtype=np.float32)[:, None]
    axes.imshow(_colours(heat, np.full((64, 1, 3), 96, np.float32)), aspect="auto")
    axes.set_axis_off()
    for place, name in ((0.12, "most"), (0.96, "nothing")):
        sheet.write(left + width + 0.07, top + place * side, name, fontsize=8, color=GREY)
