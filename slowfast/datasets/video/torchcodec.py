"""Video files through TorchCodec, an optional package."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from slowfast.datasets.video.pyav import PyAVVideo

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder

logger = logging.getLogger("slowfast.datasets")

CHUNK = 8  # frames decoded before they are shrunk: bounds the memory for large ones
LATE = 0.01  # of a frame's duration: the rounding of time stamps
INSTALL = (
    "install it with `pip install torchcodec==0.13.0` (the last build for the CPU; it needs the "
    "libraries of FFmpeg, as from `apt-get install ffmpeg`), or set DATA.DECODING_BACKEND pyav"
)


class TorchCodecVideo(PyAVVideo):
    """A video file whose frames TorchCodec decodes, on one thread; all else is as with PyAV.

    Each frame must come with its own time stamp.  Where TorchCodec finds another frame or none, as
    it does in AVI, transport and intra-refresh streams, PyAV decodes instead, which is logged once.
    Damage that TorchCodec does not notice is concealed.
    """

    _told = False

    def _read(self, ranks: np.ndarray) -> np.ndarray:
        trouble = "has no time stamps"
        if self._is_stamped:
            try:
                chunks = [ranks[i : i + CHUNK] for i in range(0, len(ranks), CHUNK)]
                pictures = [self._chunk(chunk) for chunk in chunks]
                if all(picture is not None for picture in pictures):
                    return np.concatenate(pictures)
                trouble = "gives frames of another time"
            except (RuntimeError, IndexError) as error:
                trouble = str(error).strip().splitlines()[0]
        self._tell_once(trouble)
        return super()._read(ranks)

    def _chunk(self, ranks: np.ndarray) -> np.ndarray | None:
        """The frames, or None if they are not those of `ranks`."""
        batch = self._reader.get_frames_at(ranks.tolist())
        times = batch.pts_seconds.numpy() - self._start
        late = np.abs(times - self.timestamps[ranks]) * self.fps
        return self._sized(batch.data).numpy() if late.max() < LATE else None

    def _sized(self, frames: Tensor) -> Tensor:
        if self._size == self._stored_size:
            return frames
        is_turned = tuple(frames.shape[1:3]) != self._stored_size
        size = self._size[::-1] if is_turned else self._size
        small = interpolate(frames.permute(0, 3, 1, 2), size, mode="bilinear", antialias=True)
        return small.permute(0, 2, 3, 1)

    @cached_property
    def _reader(self) -> VideoDecoder:
        from torchcodec.decoders import VideoDecoder

        return VideoDecoder(
            self.path,
            stream_index=self._stream.index,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode="exact",
        )

    def _tell_once(self, trouble: str) -> None:
        if not TorchCodecVideo._told:
            TorchCodecVideo._told = True
            logger.warning("PyAV decodes %s, and others like it: TorchCodec %s", self.path, trouble)


def check_torchcodec() -> None:
    """Raises ValueError with the way to install it if TorchCodec does not import."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:  # without FFmpeg it is a RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"TorchCodec does not import ({reason}); {INSTALL}") from error
