"""Opening whatever holds the frames of a video."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

from slowfast.datasets.video.base import Video, VideoError
from slowfast.datasets.video.images import ImageFrames, is_image
from slowfast.datasets.video.pyav import PyAVVideo
from slowfast.datasets.video.torchcodec import TorchCodecVideo, check_torchcodec

BACKENDS = ("pyav", "torchcodec")


def open_video(
    path: str | Path,
    *,
    backend: str = "pyav",
    short_side: int = 0,
    template: str = "",
    fps: float = 30.0,
    start: int = -1,
) -> Video:
    """The frames of a video file, of a folder of numbered images, or of an image.

    `backend` decodes video files: "pyav" or "torchcodec", for the same pictures at the same
    indices.  `short_side` shrinks larger frames while decoding; 0 keeps their size.  `template`,
    `fps` and `start` are about folders of images, see `ImageFrames`.  Raises VideoError if the
    video cannot be read, ValueError for an unknown back end.
    """
    path = os.fspath(path)
    check_backend(backend)
    _check_exists(path)
    try:
        if os.path.isdir(path) or is_image(path):
            return ImageFrames(path, short_side, template, fps, start)
        if backend == "torchcodec":
            return TorchCodecVideo(path, short_side)
        return PyAVVideo(path, short_side)
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror or error})") from error


@cache
def check_backend(backend: str) -> None:
    """Raises ValueError for an unknown back end and for one that is not installed."""
    if backend not in BACKENDS:
        raise ValueError(f"no decoding back end {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend == "torchcodec":
        check_torchcodec()


def _check_exists(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            target = os.readlink(path)
            raise VideoError(f"{path} is a link to {target}, which does not exist") from None
        raise VideoError(f"{path} does not exist") from None
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would wait for ever
        raise VideoError(f"{path} is neither a file nor a folder")
