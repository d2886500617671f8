"""Smaller copies of videos that decode fast: a short side, few frames between key frames."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av

from slowfast.datasets.annotations import VIDEO_SUFFIXES
from slowfast.datasets.lines import write_lines
from slowfast.datasets.prepare.parallel import in_processes
from slowfast.datasets.records import Records
from slowfast.datasets.video import Video, VideoError, open_video

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**20  # of decoded frames in memory


@dataclass(frozen=True)
class Packing:
    """How videos are encoded: H.264 of quality `crf`, a key frame at least every `gop` frames.

    The opener that reads them has the short side; it is here for the record.
    """

    short_side: int = 256
    gop: int = 12
    crf: int = 20


class Packed(NamedTuple):
    """What became of one video: sizes in bytes before and after, or an error."""

    name: str
    before: int
    after: int
    error: str = ""


def pack_videos(
    splits: Mapping[str, Records],
    opener: Callable[[str], Video],
    packing: Packing,
    out: Path,
    workers: int,
    classes: Sequence[str] = (),
) -> list[Packed]:
    """Write a copy of every video below `out`, and lists of the copies.

    Frame i of a copy is frame i of its source, at the source's mean rate and upright.  Copies that
    are there already are kept, so that a run that was broken off goes on.  Videos that cannot be
    read are reported and stay in the lists.  Raises ValueError if `out` was made in another way.
    """
    _check_same(out, packing)
    targets = _targets(splits, out)
    paths = {r.name(i): r.path(i) for r in splits.values() for i in range(len(r))}
    for folder in {target.parent for target in targets.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    jobs = [(name, path, targets[name]) for name, path in paths.items()]
    done = list(in_processes(partial(pack_video, opener, packing), jobs, workers, "packing"))
    for split, records in splits.items():
        names = [str(targets[records.name(i)].relative_to(out)) for i in range(len(records))]
        write_lines(out / f"{split}.csv", names, [records.classes(i) for i in range(len(records))])
    if classes:
        (out / "classes.txt").write_text("".join(f"{c}\n" for c in classes), encoding="utf-8")
    return done


def _check_same(out: Path, packing: Packing) -> None:
    """Raise ValueError if `out` holds copies made otherwise; else remember how these are made."""
    out.mkdir(parents=True, exist_ok=True)
    record, made_with = out / "pack.json", asdict(packing)
    if record.exists():
        if (found := json.loads(record.read_text())) != made_with:
            raise ValueError(f"{out} was packed with {found}, asked is {made_with}; use another")
    elif any(out.iterdir()):
        raise ValueError(f"{out} holds other files; pack into a new folder")
    record.write_text(json.dumps(made_with))


def _targets(splits: Mapping[str, Records], out: Path) -> dict[str, Path]:
    """Where the copy of each name goes: below `out`, as the name is below its root."""
    taken: dict[Path, str] = {}
    for records in splits.values():
        for i in range(len(records)):
            name = records.name(i)
            short = os.path.relpath(records.path(i), records.root) if records.root else name
            short = short.replace(f"..{os.sep}", "").lstrip(os.sep)
            stem, suffix = os.path.splitext(short)
            target = out / (f"{stem}.mp4" if suffix.lower() in VIDEO_SUFFIXES else f"{short}.mp4")
            if taken.get(target, name) != name:  # a.avi beside a.mp4
                target = out / f"{short}.mp4"
            taken[target] = name
    return {name: target for target, name in taken.items()}


def pack_video(
    opener: Callable[[str], Video], packing: Packing, name: str, path: str, target: Path
) -> Packed:
    """Encode one video to `target`, which appears only when it is whole and has been checked."""
    before = _num_bytes(Path(path))
    part = target.with_name(target.name + ".part")
    if not target.exists():
        try:
            with opener(path) as video:
                _encode(video, packing, part)
                _check(video, part)
        except (VideoError, av.FFmpegError, OSError) as error:
            part.unlink(missing_ok=True)
            return Packed(name, before, 0, str(error))
        os.replace(part, target)
    return Packed(name, before, target.stat().st_size)


def _num_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder; 0 if there is neither."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return path.stat().st_size if path.exists() else 0


def _encode(video: Video, packing: Packing, part: Path) -> None:
    height, width = (max(2, side - side % 2) for side in video.size)  # as 4:2:0 needs
    options = {"crf": str(packing.crf), "preset": "medium", "x264-params": "open-gop=0"}
    rate = Fraction(video.fps).limit_denominator(10_000)
    with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = packing.gop
        stream.codec_context.thread_count = 1
        for start in range(0, video.num_frames, step := _frames_at_a_time(video)):
            chunk = video.frames(range(start, min(start + step, video.num_frames)))
            for pixels in chunk[:, :height, :width].numpy():
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _frames_at_a_time(video: Video) -> int:
    height, width = video.size
    return max(1, CHUNK_BYTES // (height * width * 3))


def _check(source: Video, copy: Path) -> None:
    """Raise VideoError unless the copy has the source's frames and rate."""
    with open_video(copy) as video:
        if video.num_frames != source.num_frames or abs(video.fps / source.fps - 1) > 1e-3:
            raise VideoError(
                f"the copy of {source.path} has {video.num_frames} frames at {video.fps:.3f} per "
                f"second, not {source.num_frames} at {source.fps:.3f}"
            )
