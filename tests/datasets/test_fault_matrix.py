"""Every kind of broken video in every split: read or named, never replaced, no crash, no hang."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.videos import cut, grey_frames, textured_frames, write_audio, write_video
from slowfast.config import get_cfg
from slowfast.datasets import Batch, Failure, build_loader

SPLITS = ("train", "val", "test")
FASTSTART = {"movflags": "faststart"}


# ---------------------------------------------------------------------------- kinds of faults


def textured(path: Path, **how) -> Path:
    return write_video(path, textured_frames(40, 48, 64, seed=3), **how)


def shortened(part: float, whole_name: str = "whole.mp4", **how) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        cut(textured(path.with_name(whole_name), **how), path, part)

    return make


def flipped(path: Path) -> None:
    data = bytearray(textured(path, options={"x264-params": "keyint=250"}).read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(len(data) // 4, 3 * len(data) // 4, 600):
        data[position] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def without_durations(path: Path) -> None:
    """An mp4 whose table says that every frame lasts 0."""
    data = bytearray(textured(path, options={"bf": "0"}).read_bytes())
    table = data.find(b"stts") + 8
    for entry in range(int.from_bytes(data[table : table + 4])):
        delta = table + 8 + 8 * entry
        data[delta : delta + 4] = bytes(4)
    path.write_bytes(data)


def images(folder: Path, numbers: range | list[int], size: tuple[int, int] = (48, 64)) -> None:
    folder.mkdir(exist_ok=True)
    for number, frame in zip(numbers, grey_frames(len(numbers), *size), strict=True):
        Image.fromarray(frame).save(folder / f"{number:05d}.jpg")


def unreadable_image(content: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        images(folder, range(1, 9))
        for image in folder.iterdir():
            image.write_bytes(content)

    return make


def of_two_sizes(folder: Path) -> None:
    images(folder, range(1, 5))
    images(folder, range(5, 9), (24, 32))


def without_permission(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    textured(path).chmod(0)


# What is written in place of a video, and what its failure says; "" if it reads after all.
FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("v.mp4", lambda path: None, "does not exist"),
    "empty": ("v.mp4", Path.touch, r"is empty \(0 bytes\)"),
    "text": ("v.mp4", lambda path: path.write_text("hello\n" * 99), "is not a video file"),
    "zeros": ("v.mp4", lambda path: path.write_bytes(bytes(9999)), "is not a video file"),
    "truncated, no moov": ("v.mp4", shortened(0.5), "truncated: 0 frames can be read"),
    "truncated, moov first": (
        "v.mp4",
        shortened(0.6, container_options=FASTSTART),
        r"truncated: \d+ of 40 frames can be read",
    ),
    "truncated mkv": ("v.mkv", shortened(0.6, "whole.mkv"), r"truncated: \d+ of 40 frames"),
    "truncated avi": ("v.avi", shortened(0.6, "whole.avi", codec="mpeg4"), r"\d+ of 40 frames"),
    "flipped bytes": ("v.mp4", flipped, r"is damaged at packet .*; \d+ frames can be read"),
    "audio only": ("v.mp4", write_audio, "has no video stream"),
    "cover only": ("v.mp4", lambda path: write_audio(path, cover=True), "has no video stream"),
    "one frame": ("v.mp4", lambda path: write_video(path, grey_frames(1, 48, 64)), ""),
    "no durations": ("v.mp4", without_durations, ""),
    "another container's name": (
        "v.avi",
        lambda path: textured(path.with_name("v.mp4")).rename(path),
        "",
    ),
    "a picture as video": (
        "v.mp4",
        lambda path: Image.fromarray(grey_frames(1, 48, 64)[0]).save(path, "JPEG"),
        "",
    ),
    "a video as picture": (
        "v.jpg",
        lambda path: textured(path.with_name("v.mp4")).rename(path),
        r"v\.jpg is not a readable image",
    ),
    "empty folder": ("v", Path.mkdir, "is a folder without numbered images, it is empty"),
    "folder of other files": (
        "v",
        lambda path: (path.mkdir(), (path / "a.txt").touch()),
        "is a folder without numbered images, but 'a.txt'",
    ),
    "a frame is missing": (
        "v",
        lambda path: images(path, [1, 2, 3, 5, 6]),
        r"lacks frame 4, behind 00003\.jpg: 1 of 6 are missing",
    ),
    "frames of two sizes": ("v", of_two_sizes, "pixels large, but .* frames of a video must agree"),
    "unreadable image": ("v", unreadable_image(b"no"), r"0\d\.jpg is not a readable image"),
    "empty image": ("v", unreadable_image(b""), r"0\d\.jpg is not .*\(empty, 0 bytes\)"),
    "no permission": ("v.mp4", without_permission, "cannot be read .*ermission denied"),
    "link to nowhere": (
        "v.mp4",
        lambda path: path.symlink_to("gone.mp4"),
        r"is a link to gone\.mp4, which does not exist",
    ),
    "a pipe": ("v.mp4", os.mkfifo, "is neither a file nor a folder"),
    "below a file": (
        "w.mp4/v.mp4",
        lambda path: textured(path.parent.with_name("w.mp4")),
        "does not exist",
    ),
}


# ---------------------------------------------------------------------------- the matrix


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, Path]:
    """Two videos that look different."""
    folder = tmp_path_factory.mktemp("good")
    return tuple(
        write_video(folder / f"{seed}.mp4", textured_frames(30, 48, 64, seed)) for seed in (1, 2)
    )


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A hang becomes an error."""

    def stop(*_) -> None:
        raise TimeoutError("a loader hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def load(
    folder: Path, split: str, paths: list[Path], batch_size: int, workers: int = 0
) -> list[Batch]:
    """The batches of an epoch over `paths`."""
    folder.mkdir(exist_ok=True)
    lines = [f"{path} {i % 2}\n" for i, path in enumerate(paths)]
    for name in SPLITS:
        (folder / f"{name}.csv").write_text("".join(lines))
    cfg = get_cfg()
    cfg.merge_from_list(
        ["FFN.ENABLE", True, "FFN.NUM_FRAMES", [2, 4], "MODEL.NUM_CLASSES", 2, "NUM_GPUS", 0]
        + ["DATA.PATH_TO_DATA_DIR", str(folder), "DATA_LOADER.NUM_WORKERS", workers]
        + ["DATA.TRAIN_JITTER_SCALES", [36, 40], "DATA.TRAIN_CROP_SIZE", 32]
        + ["DATA.TEST_CROP_SIZE", 32, "TRAIN.DATASET", "ssv2", "TEST.DATASET", "ssv2"]
        + ["DATA.RANDOM_FLIP", False, "TEST.NUM_ENSEMBLE_VIEWS", 2]
        + ["TRAIN.BATCH_SIZE", batch_size, "TEST.BATCH_SIZE", batch_size]
    )
    return list(build_loader(cfg, split))


def broken(folder: Path, fault: str) -> Path:
    name, make, _ = FAULTS[fault]
    folder.mkdir()
    path = folder / name
    make(path)
    return path


def check_failure(failure: Failure, path: Path, says: str) -> None:
    assert failure.path == str(path)
    assert str(path) in failure.error
    assert re.search(says, failure.error)
    assert "\n" not in failure.error


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_video_is_named_and_nothing_takes_its_place(tmp_path, good, fault, split):
    path, says = broken(tmp_path / "v", fault), FAULTS[fault][2]
    (batch,) = load(tmp_path, split, [good[0], path, good[1]], batch_size=3)
    (whole,) = load(tmp_path, split, [good[0], good[0], good[1]], batch_size=3)
    if not says:
        assert batch.failures == ()
        assert batch.index.tolist() == whole.index.tolist()
        return
    (failure,) = batch.failures
    check_failure(failure, path, says)
    keep = [row for row, index in enumerate(whole.index.tolist()) if index != 1]
    assert batch.index.tolist() == whole.index[keep].tolist()
    assert batch.labels.tolist() == whole.labels[keep].tolist()
    for clip, expected in zip(batch.clips, whole.clips, strict=True):
        assert torch.equal(clip.unflatten(0, (2, -1)), expected.unflatten(0, (3, -1))[keep])


@pytest.mark.parametrize("split", SPLITS)
def test_workers_survive_all_faults_in_one_list(tmp_path, good, split):
    faults = [fault for fault in FAULTS if fault != "no permission" or os.geteuid() != 0]
    paths = [broken(tmp_path / str(i), fault) for i, fault in enumerate(faults)]
    everything = [good[0], *paths, *good][: len(paths) // 2 * 2 + 2]
    batches = load(tmp_path, split, everything, batch_size=2, workers=2)
    failures = {failure.index: failure for batch in batches for failure in batch.failures}
    read = [index for batch in batches for index in batch.index.tolist()]
    assert sorted([*read, *failures]) == list(range(len(everything)))
    says = {i: FAULTS[fault][2] for i, fault in enumerate(faults, start=1) if FAULTS[fault][2]}
    assert failures.keys() == says.keys()
    for index, failure in failures.items():
        check_failure(failure, everything[index], says[index])
