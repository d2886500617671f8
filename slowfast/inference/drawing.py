"""Videos with what was said of them written into the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from slowfast.datasets.video import Video
from slowfast.inference.predictions import Prediction
from slowfast.weights.replacing import replacing

LEAST_SIDE = 200  # pixels: smaller pictures are enlarged, or nobody could read the words
CLASSES = 3  # that are written
CHUNK = 32  # frames decoded at a time
_H264 = {"crf": "20", "preset": "veryfast"}  # streams are drawn while they run
_PAPER, _INK, _BAR = (0, 0, 0, 150), (255, 255, 255, 255), (0, 114, 178, 200)


class Film:
    """The frames of a labelled mp4, added one by one; all are as large as the first."""

    def __init__(self, container: av.container.OutputContainer, fps: float) -> None:
        self._container = container
        self._fps = Fraction(fps).limit_denominator(1001)
        self._stream: av.VideoStream | None = None
        self._sheet: tuple[Prediction, Image.Image] | None = None  # what was last written

    def add(self, picture: np.ndarray, prediction: Prediction) -> None:
        """One more frame `(H, W, 3)` uint8 RGB with the best classes of `prediction` on it."""
        pixels = enlarged(picture)
        height, width = (side - side % 2 for side in pixels.shape[:2])  # 4:2:0 takes even sides
        if self._stream is None:
            self._stream = self._new_stream(height, width)
        if self._sheet is None or self._sheet[0] is not prediction:
            self._sheet = prediction, sheet_of(prediction, height, width)
        image = Image.fromarray(np.ascontiguousarray(pixels[:height, :width])).convert("RGBA")
        image.alpha_composite(self._sheet[1])
        frame = av.VideoFrame.from_image(image.convert("RGB"))
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _new_stream(self, height: int, width: int) -> av.VideoStream:
        if "libx264" in av.codecs_available:
            stream = self._container.add_stream("libx264", self._fps, options=_H264)
        else:  # a PyAV that was built without it
            stream = self._container.add_stream("mpeg4", self._fps, options={"q": "3"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        return stream


@contextmanager
def new_film(path: Path, fps: float) -> Iterator[Film]:
    """A film that is at `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path, size=0) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        film = Film(container, fps)
        yield film
        film.finish()


def write_labelled(video: Video, prediction: Prediction, path: Path) -> None:
    """All frames of `video` as an mp4 at `path`, with the best classes on each."""
    with new_film(path, video.fps) as film:
        for start in range(0, video.num_frames, CHUNK):
            indices = range(start, min(start + CHUNK, video.num_frames))
            for picture in video.frames(indices).numpy():
                film.add(picture, prediction)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Each pixel repeated until the short side has `LEAST_SIDE`; larger pictures as they are."""
    times = -(-LEAST_SIDE // min(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else picture


def sheet_of(prediction: Prediction, height: int, width: int) -> Image.Image:
    """What lies over a picture: the best classes on bars as long as their scores, and the cost."""
    size = max(min(height, width) // 24, 12)
    font, small = ImageFont.load_default(size), ImageFont.load_default(max(size * 3 // 4, 10))
    row, margin = size * 3 // 2, size // 2
    best = list(zip(prediction.labels, prediction.scores, strict=True))[:CLASSES]
    sheet = Image.new("RGBA", (width, row * len(best) + 2 * margin + row))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, *sheet.size), fill=_PAPER)
    for i, (label, score) in enumerate(best):
        top = margin + i * row
        share = min(max(score, 0.0), 1.0)
        draw.rectangle((0, top, round(share * width), top + row - 3), fill=_BAR)
        _write(draw, (margin, top), f"{score:.0%}  {label}", font, width - 2 * margin)
    how = f"{prediction.num_frames} frames, {prediction.gflops:.3g} GFLOPs"
    _write(draw, (margin, margin + len(best) * row), how, small, width - 2 * margin)
    return sheet.crop((0, 0, width, min(sheet.height, height)))


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont,
    room: int,
) -> None:
    """`text` at `place`, cut with dots where it is longer than `room`."""
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "…", font) > room:
            text = text[:-1]
        text += "…"
    draw.text(place, text, _INK, font)


def names_of(inputs: Sequence[str], out: Path) -> list[Path]:
    """Where films go: that of a single input to the file `out`, others into the folder `out`.

    Raises ValueError for several inputs and the name of one file, and for one of another kind.
    """
    if out.is_dir() or not out.suffix:
        films = [out / f"{name.removesuffix('.mp4')}.mp4" for name in inputs]
        told_apart = len(set(films)) == len(films)
        return films if told_apart else [out / f"{name}.mp4" for name in inputs]
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--video {out} must end in .mp4, or name a folder without a suffix")
    if len(inputs) > 1:
        raise ValueError(f"{len(inputs)} videos do not fit into one {out}; name a folder")
    return [out]


def spare(films: list[Path], sources: Sequence[str | int]) -> list[Path]:
    """`films`; ValueError where one would take the place of a video that is to be read."""
    videos = {os.path.realpath(source) for source in sources if not isinstance(source, int)}
    for film in films:
        if os.path.realpath(film) in videos:
            raise ValueError(f"{film} is a video to be read; give labelled ones another place")
    return films
