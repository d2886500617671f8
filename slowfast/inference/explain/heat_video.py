"""A video with the heat of Grad-CAM over it, every rate beside the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from slowfast.inference.explain.seen import Seen, Views
from slowfast.inference.explain.timeline import warmed
from slowfast.inference.whole_file import whole_file
from slowfast.report.style import FAINT, FFN, GREY, HIGH, INK, styled

SIDE, GAP, HEAD = 240, 12, 50  # pixels of a panel, between panels, and above them
ROW, LEFT = 34, 132  # pixels of a rate's row below the panels, and of the labels beside it
DPI = 100


def save_heat_video(path: Path, source: str, seen: Sequence[Seen], views: Views) -> None:
    """Write an mp4 of the whole video: the network's crop, and a panel with the heat of each rate.

    Between the frames that a rate saw the heat fades from one to the next; before the first and
    after the last one there is none beyond half of their distance.  A panel has a frame of its own
    colour while it shows a frame that its rate saw.  Below, a line moves along the time.
    """
    clip = seen[0].clip
    places = [heat_places(one) for one in seen]
    canvas, (first, last) = _canvas(seen)
    indices = range(clip.video_frames)
    crops = views.cropped(source, indices, SIDE)

    def pictures() -> Iterator[np.ndarray]:
        for index, crop in zip(indices, crops, strict=True):
            picture = canvas.copy()
            _put(picture, 0, crop)
            for k, (one, place) in enumerate(zip(seen, places, strict=True)):
                (warm,) = warmed(one, [crop], [place[index]])
                _put(picture, k + 1, warm, index in one.clip.indices)
            x = round(first + (last - first) * (index + 0.5) / clip.video_frames)
            picture[HEAD + SIDE + GAP :, x - 1 : x + 1] = 31, 36, 48
            yield picture

    with whole_file(path) as temporary:
        write_mp4(temporary, pictures(), clip.fps, canvas.shape[:2])


def heat_places(one: Seen) -> np.ndarray:
    """`(video_frames,)`: where in the clip each frame of the video lies; nan outside of it.

    Frame 12 of a clip of the frames 10 and 14 is at 0.5.
    """
    frames = np.arange(one.clip.video_frames, dtype=float)
    seen, first = np.unique(one.clip.indices.numpy(), return_index=True)
    places = np.interp(frames, seen, first)
    gaps = np.diff(seen)
    before, after = (gaps[0] / 2, gaps[-1] / 2) if len(gaps) else (0.5, 0.5)
    outside = (frames < seen[0] - before) | (frames > seen[-1] + after)
    return np.where(outside, np.nan, places)


def write_mp4(
    path: Path, pictures: Iterable[np.ndarray], fps: float, size: tuple[int, int]
) -> None:
    """H.264 of pictures `(H, W, 3)` uint8 of the `size`, even height and width."""
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": "20", "preset": "veryfast"}
        )
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _put(picture: np.ndarray, panel: int, crop: np.ndarray, marked: bool = False) -> None:
    """A crop in its panel, with a border if it is `marked`."""
    left = GAP + panel * (SIDE + GAP)
    if marked:
        picture[HEAD - 4 : HEAD + SIDE + 4, left - 4 : left + SIDE + 4] = _rgb(FFN)
    picture[HEAD : HEAD + SIDE, left : left + SIDE] = crop


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _canvas(seen: Sequence[Seen]) -> tuple[np.ndarray, tuple[float, float]]:
    """What stays the same, `(H, W, 3)` uint8, and the pixels in which time begins and ends."""
    width = GAP + (SIDE + GAP) * (len(seen) + 1)
    height = HEAD + SIDE + 2 * GAP + ROW * len(seen)
    width, height = width + width % 2, height + height % 2
    ends = (LEFT, width - GAP)
    with styled():
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="none")
        canvas = FigureCanvasAgg(figure)
        _write_panel(figure, 0, "video", "what the network's crop keeps", (width, height))
        for k, one in enumerate(seen):
            _write_panel(figure, k + 1, one.name, one.said(one.target), (width, height))
            top = HEAD + SIDE + GAP + k * ROW
            sides = ends[0] / width, 1 - (top + ROW) / height, (ends[1] - ends[0]) / width
            axes = figure.add_axes((*sides, ROW / height))
            _draw_row(axes, one)
            name = {"ha": "right", "va": "center", "fontsize": 9, "color": GREY}
            y = 1 - (top + 0.5 * ROW) / height
            figure.text((LEFT - 10) / width, y, one.name, **name)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy(), ends


def _write_panel(figure: Figure, panel: int, name: str, text: str, size: tuple[int, int]) -> None:
    width, height = size
    left = (GAP + panel * (SIDE + GAP)) / width
    figure.text(left, 1 - 20 / height, name, fontsize=10.5, fontweight="bold", color=INK)
    figure.text(left, 1 - 39 / height, text, fontsize=9, color=GREY)


def _draw_row(axes: Axes, one: Seen) -> None:
    """A mark at every frame that the rate saw, as high as its share of the heat."""
    axes.set_axis_off()
    axes.set(xlim=(0, one.clip.video_frames), ylim=(0, 1.15))
    axes.axhline(0.03, color=FAINT, lw=1)
    indices = one.clip.indices.numpy() + 0.5
    axes.vlines(indices, 0, 0.16, color=HIGH, lw=2)
    most = max(one.shares.max(), 1e-12)
    axes.vlines(indices, 0.16, 0.16 + 0.84 * one.shares / most, color=FFN, lw=4)
