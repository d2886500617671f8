"""What the demo page shows: a network at two frame counts of one video, side by side.

Plain functions and data, without Gradio.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from slowfast.datasets.video import open_video
from slowfast.datasets.video.images import is_image
from slowfast.inference.page import html
from slowfast.inference.page.results import Accuracy, View
from slowfast.models.flexible import Rate

if TYPE_CHECKING:
    from slowfast.inference.recognizer import Recognizer

KEPT_VIEWS = 32  # results kept, so that sliding one column does not compute the other anew
LONGEST = 40  # letters of the name of a class in a sentence


@dataclass(frozen=True)
class Limits:
    """What an upload may be: its file, its length, and the pixels of a frame, all at most."""

    megabytes: int = 64
    seconds: float = 600.0
    frames: int = 36_000
    pixels: int = 4096 * 2304


def check_video(path: str | os.PathLike, limits: Limits) -> None:
    """Raises ValueError for a file that is no video, is damaged, or exceeds `limits`."""
    name = Path(path).name
    if not os.path.isfile(path):
        raise ValueError(f"{name} is no longer kept; upload it again")
    if (megabytes := os.path.getsize(path) / 1e6) > limits.megabytes:
        raise ValueError(f"{name} has {megabytes:.0f} MB; at most {limits.megabytes} are taken")
    if is_image(path):
        raise ValueError(f"{name} is a picture; choose a video")
    with open_video(path) as video:
        seconds = video.num_frames / video.fps
        pixels = video.num_bytes // (3 * video.num_frames)
        if video.num_frames > limits.frames or seconds > limits.seconds:
            raise ValueError(
                f"{name} has {video.num_frames} frames in {seconds:.0f} s; at most "
                f"{limits.frames} frames in {limits.seconds:.0f} s are taken, so cut it first"
            )
    if pixels > limits.pixels:
        raise ValueError(
            f"{name} has {pixels / 1e6:.0f} million pixels a frame; at most "
            f"{limits.pixels / 1e6:.0f} million are taken, so make it smaller first"
        )


class Comparison:
    """The two columns of the page, for one network.  The results of recent videos are kept."""

    def __init__(self, recognizer: Recognizer, accuracy: Accuracy | None, limits: Limits) -> None:
        self.recognizer, self.accuracy, self.limits = recognizer, accuracy, limits
        self._kept_view = lru_cache(KEPT_VIEWS)(self._view)

    def view(self, path: str, num_frames: int, size: int = 0) -> View | str:
        """What the network sees and says, or the sentence that says why it does not."""
        try:
            return self._kept_view(path, num_frames, size)
        except ValueError as error:
            # Where uploads lie is nobody's business.
            return str(error).replace(path, Path(path).name)
        except RuntimeError as error:  # of shapes that a network cannot take
            reason = str(error).partition("\n")[0]
            return f"the network does not run on {html.frames(num_frames)} ({reason})"

    def _view(self, path: str, num_frames: int, size: int) -> View:
        check_video(path, self.limits)
        cut = self.recognizer.cut(path, num_frames)
        clip = self.recognizer.clip_of(cut, size)
        self.recognizer.warm_up(Rate(num_frames, size))  # the first run of a rate is slower
        found = self.recognizer.judge(cut, size)
        return View(found, clip.pixels, found.indices, clip.video_frames, clip.fps)

    def __call__(
        self,
        path: str | None,
        low: int = 0,
        high: int = 0,
        low_size: int = 0,
        high_size: int = 0,
    ) -> tuple[str, str, str]:
        """HTML of the line above the columns and of both columns, for the video at `path`."""
        if not path:
            nothing = "the frames and classes appear here"
            message = html.line("Drop a video, or choose one of the examples.")
            return message, html.empty("a", nothing), html.empty("b", nothing)
        views = self.view(path, int(low), int(low_size)), self.view(path, int(high), int(high_size))
        troubles = list(dict.fromkeys(view for view in views if isinstance(view, str)))
        message = html.alert(troubles[0]) if troubles else html.line(verdict(*views))
        if len(troubles) == 2:
            message = "".join(map(html.alert, troubles))
        return message, *(self._column(*pair) for pair in zip("ab", views, strict=True))

    def _column(self, side: str, view: View | str) -> str:
        if isinstance(view, str):
            return html.empty(side, "no result")
        return html.card(side, view, self.accuracy)


def verdict(first: View, second: View) -> str:
    """One sentence about two results: whether they agree, and what the cheaper one saves."""
    cheap, dear = sorted((first, second), key=lambda view: view.prediction.gflops)
    few, many = (f"{html.frames(v.num_frames)}{_size(v, cheap, dear)}" for v in (cheap, dear))
    labels = [shorten(v.prediction.label, LONGEST, placeholder="…") for v in (cheap, dear)]
    if cheap.prediction.label != dear.prediction.label:
        return f"From {few}: “{labels[0]}”. From {many}: “{labels[1]}”."
    ratio = dear.prediction.gflops / cheap.prediction.gflops
    saved = f", and {few} cost {ratio:.1f} times less than {many}"
    return f"Both say “{labels[0]}”{saved * (ratio >= 1.05)}."


def _size(view: View, *others: View) -> str:
    """The size of the pictures, where that differs."""
    differs = len({other.prediction.size for other in others}) > 1
    return f" of {view.prediction.size} pixels" * differs
