"""Predictions while a video comes in, at the frame count that keeps up with it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, Self

import av
import numpy as np
from av.container import InputContainer

from slowfast.datasets.video import VideoError
from slowfast.inference.predictions import Prediction
from slowfast.inference.recognizer import Recognizer
from slowfast.inference.sources import ArrayVideo, moving_pictures, open_camera
from slowfast.models.flexible import Rate


class Pace:
    """Which of several rates keeps up, told by the load: seconds of work per second of video.

    `costs` are those of the rates, cheap to dear, in any unit.  It starts at the dearest.

    A load above `full` means falling behind: down, to a rate that is expected to keep up.
    `patience` windows in a row at which the next dearer one is expected to load no more than
    `room`: up.  Between the two it stays.  A rise that is taken back within `patience` windows
    doubles the patience, up to 32 times; one that lasts resets it.  A dearer rate is expected to
    load as many times more as when both ran in turn, at least as much and at most by its cost.
    """

    def __init__(
        self, costs: Sequence[float], full: float = 0.9, room: float = 0.7, patience: int = 3
    ) -> None:
        if not 0 < room < full:
            raise ValueError(f"room={room} must be above 0 and below full={full}")
        self.costs, self.full, self.room, self.base = tuple(costs), full, room, patience
        self.index = len(self.costs) - 1
        self.patience = patience
        self._factors = [b / a for a, b in pairwise(self.costs)]  # of each rate's load to the next
        self._last: tuple[int, float] | None = None  # the window before: rate and load
        self._calm = 0  # windows in a row with room for the next rate
        self._risen = 0  # windows since the last rise; 0 once that has lasted

    def update(self, load: float, other: float = 0.0) -> int:
        """The rate for the next window, after one at rate `index` that loaded `load`.

        `other` is the load of work that is the same at every rate.
        """
        self._learn(load)
        self._last = self.index, load
        if load + other > self.full:
            self._fall(load, other)
        else:
            self._stay_or_rise(load, other)
        return self.index

    def _learn(self, load: float) -> None:
        if self._last is None or min(load, self._last[1]) <= 0:
            return
        index, before = self._last
        low = min(index, self.index)
        if abs(index - self.index) == 1:
            seen = load / before if self.index > index else before / load
            self._factors[low] = min(max(seen, 1.0), self.costs[low + 1] / self.costs[low])

    def _fall(self, load: float, other: float) -> None:
        if self._risen:
            self.patience = min(2 * self.patience, 32 * self.base)
        self._calm = self._risen = 0
        start = self.index
        while self.index and (self.index == start or load + other > self.full):
            self.index -= 1
            load /= self._factors[self.index]

    def _stay_or_rise(self, load: float, other: float) -> None:
        if self._risen:
            self._risen += 1
            if self._risen > self.base:
                self._risen, self.patience = 0, self.base
        if self.index + 1 == len(self.costs):
            return
        expected = load * self._factors[self.index] + other
        self._calm = self._calm + 1 if expected <= self.room else 0
        if self._calm >= self.patience:
            self.index += 1
            self._calm, self._risen = 0, 1


class Window(NamedTuple):
    """The newest pictures `(H, W, 3)` uint8 of a stream, and seconds since its beginning."""

    times: Sequence[float]
    pictures: Sequence[np.ndarray]

    @property
    def video(self) -> ArrayVideo:
        start, end = self.times[0], self.times[-1]
        fps = (len(self.times) - 1) / (end - start) if end > start else 30.0
        return ArrayVideo(np.stack(self.pictures), fps, name=f"{start:.1f}-{end:.1f} s")


class Seen(NamedTuple):
    """What was said of a window, how much of the time to the next one that took, and how many
    windows were left out before it because the work on an earlier one took too long.
    """

    window: Window
    prediction: Prediction
    load: float
    missed: int


class Feed(Protocol):
    """A video that comes in at its own pace."""

    seconds: float  # of a window

    def now(self) -> float:
        """Seconds since the first picture."""

    def wait(self, until: float) -> bool:
        """Whether a picture of `until` seconds or later has come; False if the end came before."""

    def window(self) -> Window:
        """The newest `seconds`, or what there is."""


def watch(
    model: Recognizer, feed: Feed, hop: float, rates: Sequence[Rate], topk: int = 5
) -> Iterator[Seen]:
    """What `model` says of the newest window of `feed`, every `hop` seconds.

    It runs at one of `rates`, cheap to dear: the dearest at which predictions, and what the caller
    does between them, keep up.  Windows that came meanwhile are left out, never queued.  A video
    shorter than a window is seen once.  Raises ValueError unless hop and window last.
    """
    if min(hop, feed.seconds) <= 0:
        raise ValueError(f"hop={hop} and a window of {feed.seconds} seconds must be above 0")
    pace = Pace([model.gflops(*rate) for rate in rates])
    due, missed, first = feed.seconds, 0, True
    while feed.wait(due) or first:
        rate, began, window = rates[pace.index], feed.now(), feed.window()
        if not window.times:
            return
        found = model.predict(window.video, rate.num_frames, size=rate.size or None, topk=topk)
        work = feed.now() - began
        yield Seen(window, found, work / hop, missed)
        ended, first = feed.now(), False
        pace.update(work / hop, (ended - began - work) / hop)
        hops = max(int((ended - due) // hop), 1)
        due, missed = due + hops * hop, hops - 1


def rates_within(
    model: Recognizer,
    frames: int | None = None,
    size: int | None = None,
    budget_gflops: float | None = None,
    budget_ms: float | None = None,
) -> list[Rate]:
    """The rates that a stream may run at, cheap to dear: those up to what `choose` returns.

    Of a given frame count there is one.  Raises what `choose` raises.
    """
    dearest = model.choose(frames, size, budget_gflops, budget_ms)
    if frames is not None:
        return [dearest]
    rates = {Rate(rate.num_frames, size or rate.size) for rate in model.rates}
    within = [rate for rate in rates if model.gflops(*rate) <= model.gflops(*dearest)]
    return sorted(within, key=lambda rate: (model.gflops(*rate), rate.pixels))


def open_feed(source: str | os.PathLike | int, seconds: float) -> LiveFeed:
    """A file as it plays, or a camera, of which the newest `seconds` are at hand.

    Raises VideoError if it cannot be opened.
    """
    if isinstance(source, int):
        return LiveFeed(open_camera(source), seconds, paced=False)
    if not os.path.isfile(source):
        raise VideoError(f"{source} is no file that can be played")
    try:
        return LiveFeed(av.open(os.fspath(source)), seconds, paced=True)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{source} is not a video file ({error.strerror})") from error


class LiveFeed:
    """The pictures of `container`, read in a thread; with `paced`, a file's, as time goes by.

    Inside a `with` block.  An error of the video ends it and comes up when the block is left.
    """

    def __init__(self, container: InputContainer, seconds: float, *, paced: bool) -> None:
        self.seconds = seconds
        self._container, self._paced = container, paced
        video = container.streams.best("video")
        self.fps = float((video and video.average_rate) or 30)
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._started = 0.0
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="video", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        if not self._thread.is_alive():  # a camera that hangs is left to the end of the process
            self._container.close()
        if self._error is not None and kind is None:
            raise self._error

    def now(self) -> float:
        return time.monotonic() - self._started if self._started else 0.0

    def wait(self, until: float) -> bool:
        with self._news:
            self._news.wait_for(lambda: self._ended or self._newest >= until)
            return self._newest >= until

    def window(self) -> Window:
        with self._news:
            frames = list(self._frames)
        return Window(*map(list, zip(*frames, strict=True))) if frames else Window([], [])

    @property
    def _newest(self) -> float:
        return self._frames[-1][0] if self._frames else -1.0

    def _read(self) -> None:
        first: float | None = None
        try:
            for at, picture in moving_pictures(self._container):
                first = at if first is None else first
                self._started = self._started or time.monotonic()
                early = at - first - self.now()
                if self._stop.wait(max(early, 0.0) if self._paced else 0.0):
                    break
                self._add(at - first, picture)
        except Exception as error:  # of this thread, whatever it is: nobody else would tell
            self._error = error
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _add(self, at: float, picture: np.ndarray) -> None:
        with self._news:
            self._frames.append((at, picture))
            while self._frames[0][0] < at - self.seconds:
                self._frames.popleft()
            self._news.notify_all()
