"""Whatever a user has of a video, as frames by index: a path, an open file, an array, a camera."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

import av
import numpy as np
import torch
from av.container import InputContainer
from torch import Tensor
from torch.nn.functional import interpolate

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets import DATASETS
from slowfast.datasets.loader import build_opener
from slowfast.datasets.published import EACH_RATE
from slowfast.datasets.video import Video, VideoError
from slowfast.datasets.video.base import shrunk
from slowfast.datasets.video.pyav import PyAVVideo

logger = logging.getLogger(__name__)

Source = str | os.PathLike | BinaryIO | np.ndarray | Tensor | Video | int
CAMERA_SECONDS = 2.0  # of a camera or a stream, where the whole video is sampled


class ArrayVideo(Video):
    """`frames` `(T, H, W, 3)` uint8 RGB as a video of `fps` frames per second.

    `short_side` shrinks larger frames, as those of a file.  Raises ValueError for anything else.
    """

    def __init__(
        self,
        frames: np.ndarray | Tensor,
        fps: float = 30.0,
        short_side: int = 0,
        name: str = "array",
    ) -> None:
        shape = tuple(frames.shape)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or str(frames.dtype)[-5:] != "uint8":
            raise ValueError(
                f"an array of shape {shape} and type {frames.dtype} is no video; give "
                "(T, H, W, 3) uint8 RGB frames"
            )
        self.path, self.fps = name, fps
        self.timestamps = np.arange(len(frames)) / fps
        self._frames = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
        self._size = shrunk(*shape[1:3], short_side)

    def _read(self, ranks: np.ndarray) -> np.ndarray:
        frames = self._frames[ranks]
        if frames.shape[1:3] == self._size:
            return frames
        planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
        small = interpolate(planes, self._size, mode="bilinear", antialias=True)
        return small.permute(0, 2, 3, 1).numpy()


@contextmanager
def open_source(source: Source, cfg: CfgNode, short_side: int | None = None) -> Iterator[Video]:
    """The frames of `source`, read as `cfg` says, as long as the block lasts.

    A path of a video, of a folder of numbered images or of an image; an open file, which PyAV
    reads; an array or tensor `(T, H, W, 3)` uint8 of DATA.IMAGE_FPS frames per second; a `Video`,
    which is left open; or the number of a camera, which is recorded for `clip_seconds(cfg)`.
    Larger frames are shrunk to `short_side`, None: DATA.DECODE_SHORT_SIDE, 0: not at all.
    Raises VideoError if it cannot be read and ValueError for anything else.
    """
    if isinstance(source, Video):
        yield source
        return
    side = cfg.DATA.DECODE_SHORT_SIDE if short_side is None else short_side
    with _open(source, cfg, side) as video:
        yield video


def _open(source: Source, cfg: CfgNode, short_side: int) -> Video:
    if isinstance(source, np.ndarray | Tensor):
        return ArrayVideo(source, cfg.DATA.IMAGE_FPS, short_side)
    if isinstance(source, int) and not isinstance(source, bool):
        return record(source, clip_seconds(cfg), short_side)
    if hasattr(source, "read"):
        return PyAVVideo(source, short_side)
    if isinstance(source, str | os.PathLike):
        return _opener(cfg)(source, short_side=short_side)
    raise ValueError(
        f"{type(source).__name__} is no source of frames; give a path, an open file, an array "
        "(T, H, W, 3) uint8 or the number of a camera"
    )


def _opener(cfg: CfgNode) -> Callable[..., Video]:
    """As in training; PyAV where its back end is missing, which gives the same pictures."""
    try:
        return build_opener(cfg)
    except ValueError as error:
        if cfg.DATA.DECODING_BACKEND == "pyav":
            raise
        _tell_once(f"PyAV decodes in the place of {cfg.DATA.DECODING_BACKEND}: {error}")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.DECODING_BACKEND = "pyav"
    return build_opener(cfg)


@cache
def _tell_once(message: str) -> None:
    logger.warning(message)


def clip_seconds(cfg: CfgNode) -> float:
    """Of an endless video, how much one prediction sees: the span of a dense clip, or 2 seconds."""
    data = cfg.DATA
    kind = DATASETS.get(cfg.TEST.DATASET).sampling if data.SAMPLING == "auto" else data.SAMPLING
    if kind in ("segment", "clips", *EACH_RATE):
        return CAMERA_SECONDS
    return frame_counts(cfg)[-1] * data.SAMPLING_RATE / data.TARGET_FPS


# ---------------------------------------------------------------------------- cameras


def record(index: int, seconds: float, short_side: int = 0) -> ArrayVideo:
    """What camera `index` shows in `seconds` from now.  Raises VideoError if it shows nothing."""
    frames, times = [], []
    with open_camera(index) as container:
        for time, frame in moving_pictures(container):
            frames.append(frame)
            times.append(time)
            if time - times[0] >= seconds:
                break
    if not frames:
        raise VideoError(f"camera {index} shows no pictures")
    fps = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 30.0
    return ArrayVideo(np.stack(frames), fps, short_side, f"camera {index}")


def open_camera(index: int) -> InputContainer:
    """Camera `index`, counted from 0, through the system's own interface.

    Raises VideoError, saying where it was looked for, if there is none or it cannot be read.
    """
    kind, address = _address(index)
    try:
        return av.open(address, format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"camera {index} cannot be opened ({address} through {kind}: {error}); check its "
            "number, that this user may read it and that no other program uses it"
        ) from error


def _address(index: int) -> tuple[str, str]:
    """FFmpeg's name of the system's cameras and of camera `index` among them."""
    if sys.platform == "darwin":
        return "avfoundation", str(index)
    if not sys.platform.startswith("win"):
        return "v4l2", f"/dev/video{index}"
    from av.device import enumerate_input_devices  # of newer PyAV

    cameras = [d.name for d in enumerate_input_devices("dshow") if "video" in d.media_types]
    if not 0 <= index < len(cameras):
        raise VideoError(f"there is no camera {index}; found: {', '.join(cameras) or 'none'}")
    return "dshow", f"video={cameras[index]}"


def moving_pictures(container: InputContainer) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame of the best video stream as it comes: seconds, and `(H, W, 3)` uint8, upright."""
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError(f"{container.name} has no video stream")
    for count, frame in enumerate(container.decode(stream)):
        turns = round(frame.rotation / 90)
        picture = frame.to_ndarray(format="rgb24")
        time = count / 30 if frame.time is None else frame.time
        yield time, np.rot90(picture, turns) if turns else picture
