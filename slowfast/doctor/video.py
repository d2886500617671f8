"""Whether videos can be read, and rightly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.doctor.findings import Found, one_line

if TYPE_CHECKING:
    import torch

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
FRAMES = 12  # of the video that every back end reads
ASKED = (9, 0, 4, 11)
STEP = 20  # grey levels from frame to frame; coding errors stay far below


def of_codecs() -> Found:
    """FFmpeg's libraries as PyAV has them, and the kinds of video that they decode."""
    import av

    libraries = (
        f"{name} {'.'.join(map(str, av.library_versions[name]))}"
        for name in ("libavcodec", "libavformat", "libswscale")
    )
    yield "FFmpeg of PyAV", "ok", ", ".join(libraries)
    known = [name for name in CODECS if _knows(name)]
    lacking = ", ".join(name for name in CODECS if name not in known)
    advice = f"videos in {lacking} cannot be read; pip install --force-reinstall av" * bool(lacking)
    yield "decodes", "note" if lacking else "ok", ", ".join(known), "", advice


def _knows(codec: str) -> bool:
    import av

    try:
        return bool(av.codec.Codec(codec, "r"))
    except ValueError:
        return False


def of_backends() -> Found:
    """Whether each way to read videos gives the frames that were asked for."""
    from slowfast.datasets.video import open_video

    with tempfile.TemporaryDirectory() as folder:
        video, images = write_samples(Path(folder))
        for name, path, backend in (
            ("PyAV", video, "pyav"),
            ("images", images, "pyav"),
            ("TorchCodec", video, "torchcodec"),
        ):
            try:
                with open_video(path, backend=backend) as opened:
                    shown = read_back(opened.frames(ASKED))
            except Exception as error:
                is_optional = backend == "torchcodec"
                yield name, "absent" if is_optional else "failed", one_line(error)
                continue
            if shown == list(ASKED):
                yield name, "ok", f"frames {list(ASKED)} of {FRAMES} read back"
            else:
                advice = "reinstall it; do not train with it"
                value = f"asked for {list(ASKED)}, got {shown}"
                yield name, "failed", value, "", advice


def write_samples(folder: Path) -> tuple[Path, Path]:
    """An H.264 video and a folder of images whose frame i is grey, and the lighter the larger i."""
    import av
    import numpy as np
    from PIL import Image

    images, video = folder / "images", folder / "video.mp4"
    images.mkdir()
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(FRAMES):
            pixels = np.full((48, 64, 3), 16 + STEP * i, np.uint8)
            Image.fromarray(pixels).save(images / f"{i:05d}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return video, images


def read_back(frames: torch.Tensor) -> list[int]:
    """The numbers of frames `(n, H, W, 3)`, by their brightness."""
    return [round((level - 16) / STEP) for level in frames.float().mean(dim=(1, 2, 3)).tolist()]
