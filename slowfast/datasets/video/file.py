"""The packets of a video file and the time of each frame, without decoding any."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import BinaryIO

import av
import numpy as np
from av.packet import Packet
from av.stream import Disposition

from slowfast.datasets.video.base import Video, VideoError, shrunk


class VideoFile(Video):
    """The best video stream of a file; what decodes its frames is up to the subclass.

    The file, a path or open in bytes, is read once, and its compressed packets stay in memory until
    `close()`, which leaves an open one open.  `short_side` shrinks larger frames.  Raises
    VideoError if the file is missing, not a video, or truncated.
    """

    def __init__(self, path: str | Path | BinaryIO, short_side: int = 0) -> None:
        is_open = hasattr(path, "read")
        self.path = str(getattr(path, "name", "the file object") if is_open else path)
        self._container = _open_object(path, self.path) if is_open else _open(self.path)
        try:
            self._stream = self._container.streams.best("video")
            if self._stream is None or Disposition.attached_pic in self._stream.disposition:
                raise VideoError(f"{self.path} has no video stream, only other kinds (audio?)")
            self._decoder = self._stream.codec_context
            self._stored_size = self._decoder.height, self._decoder.width
            self._size = shrunk(*self._stored_size, short_side)
            self._packets = self._read_packets()
            self._index_packets()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and drop its packets."""
        self._packets = []
        self._container.close()

    @property
    def num_bytes(self) -> int:
        height, width = self._size  # or turned, which has as many pixels
        return self.num_frames * height * width * 3

    # ------------------------------------------------------------------ packets

    def _read_packets(self) -> list[Packet]:
        packets, count, trouble = [], 0, False
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    packets.append(packet)
                count += packet.size > 0 or packet.dts is not None  # an empty one repeats a frame
        except av.FFmpegError:
            trouble = True
        if packets and packets[-1].is_corrupt:
            packets.pop()
            count, trouble = count - 1, True
        stated = self._stated_packets(packets)
        if trouble or count < stated:
            of = f" of {stated}" if stated > count else ""
            raise VideoError(f"{self.path} is truncated: {count}{of} frames can be read")
        if not packets:
            raise VideoError(f"{self.path} has a video stream without frames")
        return packets

    def _stated_packets(self, packets: list[Packet]) -> int:
        """How many frames the file's own headers promise; 0 if they do not say."""
        name = self._container.format.name
        if "mp4" in name:
            return len(self._stream.index_entries)  # unlike `frames` it respects edit lists
        if name == "avi":
            return self._stream.frames
        stated = next((v for k, v in self._stream.metadata.items() if k.startswith("DURATION")), "")
        if not stated or len(packets) < 2 or any(packet.pts is None for packet in packets):
            return 0
        hours, minutes, seconds = stated.split(":")
        end = (3600 * int(hours) + 60 * int(minutes) + float(seconds)) / self._stream.time_base
        pts = np.sort([packet.pts for packet in packets])
        gaps = np.diff(pts)
        if end - pts[-1] <= max(2 * gaps.max(), packets[-1].duration or 0):
            return 0  # the last frame lasts until the end
        return round(len(packets) * end / (pts[-1] + np.median(gaps)))

    # ------------------------------------------------------------------ the timeline

    def _index_packets(self) -> None:
        """Set `timestamps`, `fps`, seconds at the start, and where frames lie among the packets."""
        codec = self._decoder.name
        shown = [i for i, packet in enumerate(self._packets) if is_shown(packet, codec)]
        if not shown:
            raise VideoError(f"{self.path} has a video stream without visible frames")
        pts = [packet.pts for packet in self._packets]
        # AVI stores no time stamps; what the reader makes up is wrong around B-frames.
        self._is_stamped = (
            self._container.format.name != "avi" and None not in pts and len(set(pts)) == len(pts)
        )
        nominal = float(self._nominal_rate)
        if self._is_stamped:
            shown.sort(key=pts.__getitem__)
            self._rank_of_pts = {pts[i]: rank for rank, i in enumerate(shown)}
            self._entries = _entry_points(self._packets)
            ticks = np.array([pts[i] for i in shown])
            self._start = float(ticks[0] * self._stream.time_base)
            last = self._packets[shown[-1]].duration or median(np.diff(ticks).tolist() or [0])
            duration = float((ticks[-1] + last - ticks[0]) * self._stream.time_base)
            self.fps = _mean_rate(len(shown), duration, nominal)
            self.timestamps = (ticks - ticks[0]) * float(self._stream.time_base)
        else:
            self._entries = np.zeros(1, np.int64)
            self._start = 0.0
            self.fps = nominal
            self.timestamps = np.arange(len(shown)) / nominal
        self._packet_of_rank = np.array(shown)

    @property
    def _nominal_rate(self) -> Fraction:
        return self._stream.average_rate or self._stream.guessed_rate or Fraction(25)


def _open(path: str) -> av.container.InputContainer:
    if os.path.getsize(path) == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    try:
        return av.open(path)
    except (av.FFmpegError, OSError) as error:
        with open(path, "rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        if is_mp4:  # its table of frames stands at the end and was cut off
            raise VideoError(f"{path} is truncated: 0 frames can be read (no moov box)") from error
        raise VideoError(f"{path} is not a video file ({error.strerror})") from error


def _open_object(file: BinaryIO, name: str) -> av.container.InputContainer:
    try:
        return av.open(file)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{name} is not a video file ({error.strerror or error})") from error


def is_shown(packet: Packet, codec: str) -> bool:
    """Whether a frame comes out: not if an edit list hides it, nor for VP8's hidden references."""
    is_hidden = codec == "vp8" and not bytes(packet)[0] & 0x10  # show_frame, RFC 6386 section 9.1
    return not packet.is_discard and not is_hidden


def _entry_points(packets: list[Packet]) -> np.ndarray:
    """Packets to start decoding at: key frames that nothing crosses in presentation order."""
    pts = np.array([packet.pts for packet in packets])
    before = np.concatenate([[pts[0] - 1], np.maximum.accumulate(pts)[:-1]])
    onward = np.minimum.accumulate(pts[::-1])[::-1]
    key = np.array([packet.is_keyframe for packet in packets])
    key[0] = True
    entries = key & (before < pts) & (onward == pts)
    entries[0] = True
    return np.flatnonzero(entries)


def _mean_rate(num_frames: int, duration: float, nominal: float) -> float:
    """Frames per second: `nominal` if it is true but for the rounding of time stamps."""
    if abs(duration * nominal - num_frames) < 0.1 or duration <= 0:
        return nominal
    return num_frames / duration
