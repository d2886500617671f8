"""Videos to measure on: generated, of the size and length of Kinetics clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Film:
    """Generated videos: a texture that drifts behind a moving square, with noise."""

    seconds: int = 10
    height: int = 256
    width: int = 340
    fps: int = 30
    noise: float = 6.0

    def write(self, path: Path, seed: int) -> Path:
        """Encode one to H.264 with a key frame every 250 frames, as x264 does by itself."""
        rng = np.random.default_rng(seed)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=self.fps, options={"g": "250"})
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            for frame in self._frames(rng):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    def _frames(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        coarse = rng.integers(0, 256, (self.height // 4 + 24, self.width // 4 + 24, 3))
        for axis in (0, 1):  # smooth, so that it compresses as pictures do
            coarse = (coarse + np.roll(coarse, 1, axis) + np.roll(coarse, 2, axis)) / 3
        texture = coarse.repeat(4, axis=0).repeat(4, axis=1)
        side = self.height // 4
        for i in range(self.seconds * self.fps):
            y, x = int(40 + 30 * np.sin(i / 40)), int(40 + 30 * np.sin(i / 55))
            frame = texture[y : y + self.height, x : x + self.width]
            frame = frame + rng.normal(0, self.noise, frame.shape)
            left = i * 3 % (self.width - side)
            frame[side : 2 * side, left : left + side] = (200, 60, 30)
            yield frame.clip(0, 255).astype(np.uint8)
