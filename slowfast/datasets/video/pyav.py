"""Video files through PyAV: packets fed to the decoder one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch.nn.functional import interpolate

from slowfast.datasets.video.base import VideoError
from slowfast.datasets.video.file import VideoFile

# Restarting the decoder at a key frame refills its delay line, about this many packets' work.
RESTART_COST = 8


class PyAVVideo(VideoFile):
    """A video file decoded by PyAV on one thread, in one pass from the nearest key frames.

    Damage anywhere on the way to a wanted frame is an error, never concealed.
    """

    def __init__(self, path: str | Path | BinaryIO, short_side: int = 0) -> None:
        super().__init__(path, short_side)
        self._decoder.thread_count = 1
        self._decoder.options = {"err_detect": "explode"}
        self._to_rgb = VideoReformatter()  # one for all frames: it keeps its tables

    def _read(self, ranks: np.ndarray) -> np.ndarray:
        place = {rank: i for i, rank in enumerate(ranks.tolist())}
        pictures = None
        for rank, frame in self.decode(ranks):
            picture = self._picture(frame)
            if pictures is None:
                pictures = np.empty((len(ranks), *picture.shape), np.uint8)
            pictures[place[rank]] = picture
        return pictures

    def decode(self, ranks: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        """Each frame of `ranks` (rising, counted in display order) once, with its rank.

        As the decoder has it: `frames` makes pictures of them.
        """
        for entry, run in self._runs(ranks):
            missing = set(run)  # what is yet to come out
            try:
                yield from self._decode_run(entry, missing)
            except VideoError as error:
                if entry == 0:
                    raise self._with_readable(error) from error
                # Some key frames are none: intra-refresh streams recover over several frames.
                try:
                    yield from self._decode_run(0, missing)
                except VideoError as again:
                    raise self._with_readable(again) from again

    def _runs(self, ranks: np.ndarray) -> list[tuple[int, list[int]]]:
        """Splits `ranks` where restarting at a key frame is cheaper than decoding on."""
        runs: list[tuple[int, list[int]]] = []
        reached = -RESTART_COST
        positions = self._packet_of_rank[ranks]
        entries = self._entries[np.searchsorted(self._entries, positions, side="right") - 1]
        for rank, position, entry in zip(
            ranks.tolist(), positions.tolist(), entries.tolist(), strict=True
        ):
            if not runs or entry > reached + RESTART_COST:
                runs.append((entry, []))
            runs[-1][1].append(rank)
            reached = max(reached, position)
        return runs

    def _decode_run(self, entry: int, ranks: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of `ranks`, feeding the decoder from packet `entry` until the last is out.

        Takes from `ranks` what it yields.
        """
        count = 0
        for frame in self._feed(entry, ranks):
            rank = self._rank_of_pts.get(frame.pts) if self._is_stamped else count
            count += 1
            if rank not in ranks:
                continue
            if frame.is_corrupt:
                raise VideoError(f"{self.path}: frame {rank} of {self.num_frames} is damaged")
            ranks.remove(rank)
            yield rank, frame
            if not ranks:
                return
        raise VideoError(f"{self.path}: frame {min(ranks)} of {self.num_frames} does not decode")

    def _feed(self, entry: int, ranks: set[int]) -> Iterator[av.VideoFrame]:
        self._decoder.flush_buffers()
        # H.264 marks pictures that no other one refers to: unless wanted they need no decoding.
        skips = self._is_stamped and self._decoder.name == "h264"
        for position, packet in enumerate([*self._packets[entry:], None], start=entry):
            if skips and packet is not None:
                needed = self._rank_of_pts.get(packet.pts) in ranks
                self._decoder.skip_frame = "DEFAULT" if needed else "NONREF"
            try:
                yield from self._decoder.decode(packet)
            except av.FFmpegError as error:
                at = f"packet {position} of {len(self._packets)}"
                raise VideoError(f"{self.path} is damaged at {at} ({error.strerror})") from error

    def _with_readable(self, error: VideoError) -> VideoError:
        """`error` with the number of frames that do decode."""
        return VideoError(f"{error}; {self._count_readable()} frames can be read")

    def _count_readable(self) -> int:
        """Undamaged frames, from each key frame to the first trouble behind it."""
        self._decoder.skip_frame = "DEFAULT"
        bounds = [*self._entries.tolist(), len(self._packets)]
        count = 0
        for start, end in zip(bounds, bounds[1:], strict=False):
            self._decoder.flush_buffers()
            try:
                for packet in [*self._packets[start:end], None]:
                    count += sum(not frame.is_corrupt for frame in self._decoder.decode(packet))
            except av.FFmpegError:
                continue
        return count

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        """`frame` as (H, W, 3) uint8 RGB, shrunk and turned."""
        height, width = self._stored_size
        rgb = self._to_rgb.reformat(frame, width, height, "rgb24", threads=1)
        pixels = rgb.to_ndarray()
        if self._size != self._stored_size:
            # As fast as the decoder's own scaling to RGB, and without its shift of the colours.
            planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            small = interpolate(planes, self._size, mode="bilinear", antialias=True)
            pixels = small[0].permute(1, 2, 0).numpy()
        turns = round(frame.rotation / 90)
        return np.rot90(pixels, turns) if turns else pixels
