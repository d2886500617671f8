"""Every video of a data set opened and decoded: what is broken, odd, or there twice."""

from __future__ import annotations

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path

import av
import numpy as np

from slowfast.datasets.manifest import Probe, file_state, read_manifest, write_manifest
from slowfast.datasets.prepare.parallel import in_processes
from slowfast.datasets.records import Records
from slowfast.datasets.video import Video, VideoError

Opener = Callable[[str], Video]

CHUNK_BYTES = 64 * 2**20  # of decoded frames in memory
SHOWN = 20  # videos of one kind that a summary names


def probe(opener: Opener, whole: bool, name: str, path: str) -> Probe:
    """What can be found out about the video `name` at `path`, decoded entirely with `whole`.

    Otherwise three frames are decoded: the first, the middle and the last.
    """
    size, mtime = file_state(path)
    try:
        with opener(path) as video:
            count, (height, width) = video.num_frames, video.size
            step = max(1, CHUNK_BYTES // (height * width * 3))
            chunks = [range(i, min(i + step, count)) for i in range(0, count, step)]
            for frames in chunks if whole else [sorted({0, count // 2, count - 1})]:
                video.frames(frames)
            fps, variable = video.fps, _is_variable(video.timestamps)
    except (VideoError, av.FFmpegError, OSError) as error:
        return Probe(name, size, mtime, str(error) or type(error).__name__)
    digest = _digest(Path(path))
    return Probe(name, size, mtime, "", count, fps, height, width, variable, digest, whole)


def _is_variable(timestamps: np.ndarray) -> bool:
    """Whether frames last differently, beyond what rounding to milliseconds does."""
    gaps = np.diff(timestamps)
    return len(gaps) > 1 and bool(np.ptp(gaps) > max(0.003, 0.1 * np.median(gaps)))


def _digest(path: Path) -> str:
    """Equal for files, or folders of files, of the same content."""
    digest = blake2b(digest_size=16)
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def check_videos(
    splits: Mapping[str, Records], opener: Opener, manifest: Path, whole: bool, workers: int
) -> dict[str, Probe]:
    """A probe per video name, made in `workers` processes and written to `manifest`.

    Files that have not changed since an earlier check are not read again; one that is broken off
    keeps what it has found.
    """
    known = read_manifest(manifest)
    paths = {r.name(i): r.path(i) for r in splits.values() for i in range(len(r))}
    probes = {name: known[name] for name in paths if _still_holds(known.get(name), paths, whole)}
    todo = [(name, path) for name, path in paths.items() if name not in probes]
    job = partial(probe, opener, whole)
    try:
        for found in in_processes(job, todo, workers, "checking", len(probes)):
            probes[found.name] = found
    finally:
        write_manifest(manifest, (probes[name] for name in paths if name in probes))
    return probes


def _still_holds(known: Probe | None, paths: Mapping[str, str], whole: bool) -> bool:
    if known is None or (known.ok and whole and not known.whole):
        return False
    return file_state(paths[known.name]) == (known.size, known.mtime)


# --------------------------------------------------------------------------------- what it means


@dataclass
class Findings:
    """What to tell: `notes` are worth knowing, `troubles` want to be mended."""

    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def summary(
    splits: Mapping[str, Records], probes: Mapping[str, Probe], num_classes: int
) -> Findings:
    """Coverage, lengths, rates and classes of each split, and videos that are there twice."""
    findings = Findings()
    for split, records in splits.items():
        own = [probes[records.name(i)] for i in range(len(records))]
        _coverage(split, own, findings)
        _numbers_of_frames(split, records, own, findings)
        _classes(split, records, num_classes, findings)
    _duplicates(splits, probes, findings)
    return findings


def _coverage(split: str, probes: Sequence[Probe], findings: Findings) -> None:
    good = [probe for probe in probes if probe.ok]
    share = 100 * len(good) / len(probes)
    findings.notes.append(
        f"{split}: {len(good)} of {len(probes)} videos can be read ({share:.1f} %)"
    )
    if good:
        lengths = sorted(probe.num_frames for probe in good)
        seconds = sum(probe.duration for probe in good)
        rates = Counter(f"{probe.fps:.4g}" for probe in good).most_common(3)
        sizes = Counter(f"{probe.width}x{probe.height}" for probe in good).most_common(3)
        findings.notes += [
            f"  frames {lengths[0]} to {lengths[-1]}, median {statistics.median(lengths):g}; "
            f"{seconds / 3600:.2f} hours",
            f"  frames per second {_shares(rates)}; sizes {_shares(sizes)}",
        ]
        if variable := [probe.name for probe in good if probe.variable]:
            findings.notes.append(f"  {len(variable)} with a variable rate, like {variable[0]}")
    if broken := [probe.error for probe in probes if not probe.ok]:
        findings.troubles += _listed(f"{split}: {len(broken)} cannot be read", broken)


def _shares(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in counts)


def _numbers_of_frames(
    split: str, records: Records, probes: Sequence[Probe], findings: Findings
) -> None:
    wrong = [
        f"{probe.name} has {probe.num_frames} frames, the list says {records.num_frames(i)}"
        for i, probe in enumerate(probes)
        if probe.ok
        and records.num_frames(i) not in (None, probe.num_frames)
        and os.path.isdir(records.path(i))  # of a file it is what somebody extracted from it
    ]
    if wrong:
        findings.troubles += _listed(f"{split}: {len(wrong)} of another length than listed", wrong)


def _classes(split: str, records: Records, num_classes: int, findings: Findings) -> None:
    counts = np.bincount(records.labels, minlength=num_classes)
    filled = counts[counts > 0]
    if len(filled):
        findings.notes.append(
            f"  {len(filled)} of {num_classes} classes, {filled.min()} to {filled.max()} videos "
            f"each, median {np.median(filled):g}"
        )
    if split == "train" and (missing := np.flatnonzero(counts == 0).tolist()):
        names = [str(number) for number in missing]
        findings.troubles += _listed("train: classes without videos", [", ".join(names[:SHOWN])])


def _duplicates(
    splits: Mapping[str, Records], probes: Mapping[str, Probe], findings: Findings
) -> None:
    """Videos of equal content: in several splits, with several labels, or just more than once."""
    places: dict[str, list[tuple[str, str, tuple[int, ...]]]] = defaultdict(list)
    for split, records in splits.items():
        for i in range(len(records)):
            name = records.name(i)
            if digest := probes[name].digest:
                places[digest].append((split, name, records.classes(i)))
    shared, contrary, repeated = [], [], []
    for found in places.values():
        if len(found) == 1:
            continue
        text = ", ".join(f"{name} ({split})" for split, name, _ in found)
        is_shared = "train" in {f[0] for f in found} and len({f[0] for f in found}) > 1
        is_contrary = len({classes for *_, classes in found}) > 1
        (shared if is_shared else contrary if is_contrary else repeated).append(text)
    if shared:
        what = f"{len(shared)} videos to train on are also in another split"
        findings.troubles += _listed(what, shared)
    if contrary:
        findings.troubles += _listed(f"{len(contrary)} videos have different labels", contrary)
    if repeated:
        findings.notes.append(f"{len(repeated)} videos are there more than once, as {repeated[0]}")


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [title, *(f"  {line}" for line in lines[:SHOWN]), *more]
