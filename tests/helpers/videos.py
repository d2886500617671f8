"""Small test videos: frame `i` is a flat grey from which `i` can be read back."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from torch import Tensor

REAL = sorted((Path(__file__).parents[1] / "fixtures/videos").iterdir())

# Every kind of reference structure that changes which packets a frame needs.
ENCODINGS = {
    "closed.mp4": {"options": {"x264-params": "bframes=3:keyint=20"}},
    "pyramid.mp4": {"options": {"x264-params": "bframes=8:b-pyramid=normal:keyint=60"}},
    "open_gop.mp4": {"options": {"x264-params": "bframes=3:open-gop=1:keyint=20"}},
    "intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=2"}},
    "interlaced.mp4": {"options": {"x264-params": "interlaced=1:bframes=3:keyint=30"}},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "matroska.mkv": {"options": {"x264-params": "bframes=3:keyint=20"}},
    "transport.ts": {"options": {"x264-params": "bframes=3:keyint=20"}},
    "raw.h264": {"options": {"x264-params": "bframes=3:keyint=20"}},
    "h264.avi": {"options": {"x264-params": "bframes=3:keyint=20"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=20:log-level=0"}},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "g": "20"}},
}

STEP = 4  # grey levels between frames: coding errors stay below half of it


def grey(index: int) -> int:
    """Brightness of frame `index` (up to 59 of them)."""
    return 10 + STEP * index


def read_indices(frames: Tensor) -> list[int]:
    """The frame indices shown by `frames` `(n, H, W, 3)`, from their brightness."""
    levels = frames.double().mean(dim=(1, 2, 3))
    return [round(level) for level in ((levels - grey(0)) / STEP).tolist()]


def grey_frames(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    return [np.full((height, width, 3), grey(i), np.uint8) for i in range(num_frames)]


def textured_frames(num_frames: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """A smooth random texture that drifts, with noise: makes encoders use all their frame types."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 9, width // 8 + 9, 3)).astype(np.uint8)
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
    noise = rng.integers(0, 24, (num_frames, height, width, 3)).astype(np.uint8)
    shifts = [(i * 2 % 60, i * 3 % 60) for i in range(num_frames)]
    return [fine[y : y + height, x : x + width] // 2 + noise[i] for i, (y, x) in enumerate(shifts)]


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: int = 20,
    times_ms: Iterable[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
) -> Path:
    """Encodes RGB `frames` `(H, W, 3)`; `times_ms` gives each its own time stamp."""
    height, width, _ = frames[0].shape
    times = None if times_ms is None else list(times_ms)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_grey_video(
    path: Path, num_frames: int = 40, size: tuple[int, int] = (48, 64), **how
) -> Path:
    """A video of `num_frames` frames whose brightness tells their index."""
    return write_video(path, grey_frames(num_frames, *size), **how)


def write_audio(path: Path, cover: bool = False) -> Path:
    """A file with sound and no moving picture, with a `cover` picture if asked for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
        for i in range(10):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_all(path: Path) -> list[np.ndarray]:
    """Every frame as stored, by a plain decode from the start."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def cut(source: Path, target: Path, part: float) -> Path:
    """The first `part` (0 to 1) of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * part)])
    return target


def hide_first_frames(source: Path, target: Path, seconds: float) -> Path:
    """A copy whose edit list starts `seconds` into the video, as made by cutting without coding."""
    keep = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as reader, av.open(str(target), "w", options=keep) as writer:
        stream = reader.streams.best("video")
        copy = writer.add_stream_from_template(stream)
        shift = round(seconds / stream.time_base)
        for packet in reader.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                writer.mux(packet)
    return target
