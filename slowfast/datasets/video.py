"""Reading video files: exactly the frames asked for, upright, or an error that says why not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from statistics import median
from types import TracebackType

import av
import numpy as np
import torch
from av.packet import Packet
from av.stream import Disposition
from torch import Tensor
from torch.nn.functional import interpolate

# Restarting the decoder at a key frame refills its delay line, about this many packets' work.
RESTART_COST = 8


class VideoError(ValueError):
    """A video that cannot be read as asked; one sentence that names the file and the trouble."""


class Video:
    """The frames of one video file, by index on a constant-rate timeline.

    Index `i` of `num_frames` is the slot `[i, i + 1) / fps` seconds after the first frame, and
    means the frame on screen in the middle of the slot.  In a file of constant rate that is frame
    `i`; in one of variable rate a lasting frame is met several times, a brief one perhaps never.

    The file is read once, without decoding, and its compressed packets stay in memory until
    `close()` (or the end of a `with` block).  `short_side` shrinks larger frames while decoding.
    Raises VideoError if the file is missing, not a video, or truncated.
    """

    def __init__(self, path: str | Path, short_side: int = 0) -> None:
        self.path = str(path)
        self._container = _open(self.path)
        try:
            self._stream = self._container.streams.best("video")
            if self._stream is None or Disposition.attached_pic in self._stream.disposition:
                raise VideoError(f"{self.path} has no video stream, only other kinds (audio?)")
            self._decoder = self._stream.codec_context
            self._decoder.thread_count = 1
            self._decoder.options = {"err_detect": "explode"}  # never conceal damage
            self._stored_size = self._decoder.height, self._decoder.width
            self._size = _shrunk(*self._stored_size, short_side)
            self._packets = self._read_packets()
            self._index_packets()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and drop its packets."""
        self._packets = []
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def num_frames(self) -> int:
        """Length of the timeline, equal to the number of stored frames."""
        return len(self.timestamps)

    @property
    def num_bytes(self) -> int:
        """Size of all frames when decoded."""
        height, width = self._size
        return self.num_frames * height * width * 3

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned: shrunk and upright.  Decodes one frame."""
        _, height, width, _ = self.frames([0]).shape
        return height, width

    def frames(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The frames at `indices` (any order, repeats allowed): `(n, H, W, 3)` uint8 RGB, upright.

        One pass in file order, one thread, from the nearest key frames to the last frame wanted.
        Raises VideoError if one of them cannot be decoded undamaged.
        """
        ranks = self._shown[np.asarray(indices)]
        wanted, inverse = np.unique(ranks, return_inverse=True)
        pictures = None
        for rank, frame in self._decode(wanted):
            picture = self._picture(frame)
            if pictures is None:
                pictures = picture.new_empty(len(wanted), *picture.shape)
            pictures[np.searchsorted(wanted, rank)] = picture
        is_sorted = np.array_equal(wanted, ranks)
        return pictures if is_sorted else pictures[torch.from_numpy(inverse)]

    # ------------------------------------------------------------------ reading, without decoding

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
        """Set `timestamps` (seconds, rising), `fps`, and where frames lie among the packets."""
        codec = self._decoder.name
        shown = [i for i, packet in enumerate(self._packets) if _is_shown(packet, codec)]
        if not shown:
            raise VideoError(f"{self.path} has a video stream without visible frames")
        pts = [packet.pts for packet in self._packets]
        # AVI stores no time stamps; what the reader makes up is wrong around B-frames.
        self._stamped = (
            self._container.format.name != "avi" and None not in pts and len(set(pts)) == len(pts)
        )
        if self._stamped:
            shown.sort(key=pts.__getitem__)
            self._rank_of_pts = {pts[i]: rank for rank, i in enumerate(shown)}
            self._entries = _entry_points(self._packets)
            ticks = np.array([pts[i] for i in shown])
            last = self._packets[shown[-1]].duration or median(np.diff(ticks).tolist() or [0])
            duration = float((ticks[-1] + last - ticks[0]) * self._stream.time_base)
            self.fps = _mean_rate(len(shown), duration, float(self._nominal_rate))
            self.timestamps = (ticks - ticks[0]) * float(self._stream.time_base)
        else:
            self._entries = np.zeros(1, np.int64)
            self.fps = float(self._nominal_rate)
            self.timestamps = np.arange(len(shown)) / self.fps
        self._packet_of_rank = np.array(shown)
        middles = (np.arange(len(shown)) + 0.5) / self.fps
        self._shown = np.searchsorted(self.timestamps, middles, side="right") - 1

    @property
    def _nominal_rate(self) -> Fraction:
        return self._stream.average_rate or self._stream.guessed_rate or Fraction(25)

    # ------------------------------------------------------------------ decoding

    def _decode(self, ranks: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        """Each frame of `ranks` (rising, counted in display order) once, with its rank."""
        for entry, run in self._runs(ranks):
            try:
                yield from self._decode_run(entry, set(run))
            except VideoError:
                if entry == 0:
                    raise
                # Some key frames are none: intra-refresh streams recover over several frames.
                yield from self._decode_run(0, set(run))

    def _runs(self, ranks: np.ndarray) -> list[tuple[int, list[int]]]:
        """Splits `ranks` where restarting at a key frame is cheaper than decoding on."""
        runs: list[tuple[int, list[int]]] = []
        reached = -RESTART_COST
        for rank in ranks.tolist():
            position = self._packet_of_rank[rank]
            entry = self._entries[np.searchsorted(self._entries, position, side="right") - 1]
            if not runs or entry > reached + RESTART_COST:
                runs.append((int(entry), []))
            runs[-1][1].append(rank)
            reached = max(reached, position)
        return runs

    def _decode_run(self, entry: int, ranks: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of `ranks`, feeding the decoder from packet `entry` until the last is out."""
        count = 0
        for frame in self._feed(entry, ranks):
            rank = self._rank_of_pts.get(frame.pts) if self._stamped else count
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
        skips = self._stamped and self._decoder.name == "h264"
        for position, packet in enumerate([*self._packets[entry:], None], start=entry):
            if skips and packet is not None:
                needed = self._rank_of_pts.get(packet.pts) in ranks
                self._decoder.skip_frame = "DEFAULT" if needed else "NONREF"
            try:
                yield from self._decoder.decode(packet)
            except av.FFmpegError as error:
                at = f"packet {position} of {len(self._packets)}"
                raise VideoError(f"{self.path} is damaged at {at} ({error.strerror})") from error

    def _picture(self, frame: av.VideoFrame) -> Tensor:
        """`frame` as (H, W, 3) uint8 RGB, shrunk and turned."""
        height, width = self._stored_size
        array = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
        pixels = torch.from_numpy(array)
        if self._size != self._stored_size:  # truer colours than the decoder's own scaling to RGB
            planes = pixels.permute(2, 0, 1)[None]
            shrunk = interpolate(planes, self._size, mode="bilinear", antialias=True)
            pixels = shrunk[0].permute(1, 2, 0)
        return pixels.rot90(round(frame.rotation / 90))


def _open(path: str) -> av.container.InputContainer:
    if not os.path.exists(path):
        raise VideoError(f"{path} does not exist")
    if not os.path.isfile(path):
        raise VideoError(f"{path} is not a file")
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


def _shrunk(height: int, width: int, short_side: int) -> tuple[int, int]:
    short = min(height, width)
    if not 0 < short_side < short:
        return height, width
    return round(height * short_side / short), round(width * short_side / short)


def _is_shown(packet: Packet, codec: str) -> bool:
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
