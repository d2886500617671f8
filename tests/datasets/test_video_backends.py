"""The same indices give the same pictures whatever holds and decodes them."""

import logging
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from helpers.videos import (
    ENCODINGS,
    REAL,
    grey_frames,
    hide_first_frames,
    read_indices,
    textured_frames,
    write_grey_video,
    write_video,
)
from slowfast.config import get_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.video import check_backend, open_video
from slowfast.datasets.video.torchcodec import TorchCodecVideo


def is_installed() -> bool:
    try:
        check_backend("torchcodec")
    except ValueError:
        return False
    return True


needs_torchcodec = pytest.mark.skipif(not is_installed(), reason="TorchCodec does not import")

# Colour between the stored samples of fields and of 10 bits is repeated by some versions of FFmpeg
# and interpolated by others; means of 4 x 4 pixels agree.
BY_BLOCKS = ("h264_10bits.mp4", "10bit.mp4", "interlaced.mp4")


def write_frames(folder, source, suffix, start=1, **how):
    """The frames of a video as images in `folder`."""
    folder.mkdir()
    with open_video(source) as video:
        for i, frame in enumerate(video.frames(range(video.num_frames)).numpy(), start=start):
            Image.fromarray(frame).save(folder / f"img_{i:05d}{suffix}", **how)
    return folder


def some_indices(num_frames: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, num_frames, size) for size in (1, 3, 9)]


def check_same(path, rounding=0, **how) -> None:
    """Both back ends have the same timeline and pictures."""
    with (
        open_video(path, **how) as expected,
        open_video(path, backend="torchcodec", **how) as video,
    ):
        assert (video.num_frames, video.fps) == (expected.num_frames, expected.fps)
        assert (video.timestamps == expected.timestamps).all()
        assert (video.size, video.num_bytes) == (expected.size, expected.num_bytes)
        for indices in some_indices(video.num_frames):
            pictures, others = video.frames(indices).double(), expected.frames(indices).double()
            if path.name in BY_BLOCKS:
                pictures, others = blocks(pictures), blocks(others)
            assert (pictures - others).abs().mean() <= (3 if path.name in BY_BLOCKS else rounding)


def blocks(frames):
    """Means of 4 x 4 pixels of `(n, H, W, 3)`."""
    return avg_pool2d(frames.permute(0, 3, 1, 2), 4)


# ---------------------------------------------------------------------------- torchcodec


@needs_torchcodec
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_torchcodec_gives_the_same_pictures_of_a_real_file(path):
    check_same(path)


@needs_torchcodec
@pytest.mark.parametrize("name", ENCODINGS)
def test_torchcodec_gives_the_same_pictures_of_any_encoding(tmp_path, name):
    check_same(write_video(tmp_path / name, textured_frames(70, 64, 80), **ENCODINGS[name]))


@needs_torchcodec
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_torchcodec_turns_and_shrinks_alike(tmp_path, rotation):
    path = write_video(tmp_path / "v.mp4", textured_frames(9, 48, 64), rotation=rotation)
    check_same(path)
    check_same(path, rounding=0.5, short_side=24)


@needs_torchcodec
@pytest.mark.parametrize("size", [(47, 63), (33, 64), (64, 33)])
def test_torchcodec_reads_odd_sizes_alike(tmp_path, size):
    check_same(write_grey_video(tmp_path / "v.mp4", 5, size, pix_fmt="yuv444p"))


@needs_torchcodec
@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
def test_torchcodec_samples_a_variable_rate_alike(tmp_path, name):
    times = [*range(0, 1000, 50), 1000, 1250, 1500, 1750]
    check_same(write_video(tmp_path / name, grey_frames(24, 48, 64), times_ms=times))


@needs_torchcodec
def test_torchcodec_respects_edit_lists(tmp_path):
    whole = write_grey_video(tmp_path / "whole.mp4", 40, fps=20)
    check_same(hide_first_frames(whole, tmp_path / "v.mp4", 7 / 20))


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(TorchCodecVideo, "_told", False)
    with caplog.at_level(logging.WARNING, "slowfast.datasets"):
        yield caplog


@needs_torchcodec
@pytest.mark.parametrize("name", ["h264.avi", "transport.ts", "raw.h264"])
def test_where_torchcodec_misses_frames_pyav_decodes_and_that_is_told_once(tmp_path, told, name):
    path = write_video(tmp_path / name, textured_frames(70, 64, 80), **ENCODINGS[name])
    with open_video(path) as expected, open_video(path, backend="torchcodec") as video:
        for i in range(70):
            assert torch.equal(video.frames([i]), expected.frames([i]))
    assert len(told.messages) == 1
    assert f"PyAV decodes {path}, and others like it: TorchCodec" in told.messages[0]


@needs_torchcodec
def test_frames_of_another_time_are_never_taken(tmp_path, told):
    with TorchCodecVideo(write_grey_video(tmp_path / "v.mp4")) as video:
        video.timestamps = video.timestamps + 1 / video.fps
        assert read_indices(video.frames([8])) == [7]  # the last one before the middle of the slot
    assert "gives frames of another time" in told.messages[0]


@needs_torchcodec
def test_what_torchcodec_does_not_decode_is_read_or_named_by_pyav(tmp_path, told):
    path = write_grey_video(tmp_path / "v.mp4")
    with open_video(path, backend="torchcodec") as video:
        path.write_bytes(b"gone")  # PyAV has its packets in memory
        assert read_indices(video.frames([3])) == [3]
    assert len(told.messages) == 1


@needs_torchcodec
def test_a_loader_takes_the_configured_back_end(tmp_path):
    write_grey_video(tmp_path / "v.mp4")
    (tmp_path / "val.csv").write_text("v.mp4 0\n")
    loader = build_loader(loader_cfg(tmp_path, "torchcodec"), "val")
    assert isinstance(loader.dataset.opener(tmp_path / "v.mp4"), TorchCodecVideo)
    assert len(next(iter(loader))) == 1


def loader_cfg(folder, backend):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(folder), "DATA.DECODING_BACKEND", backend]
        + ["MODEL.NUM_CLASSES", 1, "DATA_LOADER.NUM_WORKERS", 0, "DATA.TEST_CROP_SIZE", 32]
    )
    return cfg


@pytest.mark.parametrize("error", ["ImportError('no')", "RuntimeError('no libavutil.so')"])
def test_a_torchcodec_that_does_not_import_is_told_with_the_way_to_install_it(
    tmp_path, monkeypatch, error
):
    (tmp_path / "torchcodec").mkdir()
    (tmp_path / "torchcodec/__init__.py").write_text(f"raise {error}\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    check_backend.cache_clear()
    write_grey_video(tmp_path / "v.mp4")
    (tmp_path / "val.csv").write_text("v.mp4 0\n")
    with pytest.raises(
        ValueError, match=r"pip install torchcodec==.* set DATA\.DECODING_BACKEND pyav"
    ):
        build_loader(loader_cfg(tmp_path, "torchcodec"), "val")


def test_an_unknown_back_end_names_the_others(tmp_path):
    with pytest.raises(ValueError, match="no decoding back end 'decord'; choose one of pyav, tor"):
        open_video(tmp_path / "v.mp4", backend="decord")


# ---------------------------------------------------------------------------- folders of images


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_png_frames_of_a_real_file_are_its_frames(tmp_path, path):
    with open_video(path) as video:
        num_frames = min(video.num_frames, 12)
        expected = video.frames(range(num_frames))
    for i, frame in enumerate(expected.numpy()):
        Image.fromarray(frame).save(tmp_path / f"{i:05d}.png", compress_level=1)
    with open_video(tmp_path) as video:
        assert video.num_frames == num_frames
        for indices in some_indices(num_frames):
            assert torch.equal(video.frames(indices), expected[torch.from_numpy(indices)])


@pytest.mark.parametrize("start", [0, 1])
def test_jpeg_frames_are_the_videos_but_for_rounding(tmp_path, start):
    source = REAL[0]
    folder = write_frames(tmp_path / "frames", source, ".jpg", start, quality=95)
    with open_video(source) as expected, open_video(folder, fps=expected.fps) as video:
        assert (video.num_frames, video.size) == (expected.num_frames, expected.size)
        assert video.timestamps == pytest.approx(expected.timestamps)
        difference = video.frames([0, 9, 99]).int() - expected.frames([0, 9, 99]).int()
        assert difference.abs().double().mean() < 2


def test_frames_shrink_like_the_video(tmp_path):
    source = write_video(tmp_path / "v.mp4", textured_frames(6, 96, 128))
    folder = write_frames(tmp_path / "frames", source, ".png")
    with open_video(source, short_side=40) as expected, open_video(folder, short_side=40) as video:
        assert video.size == expected.size == (40, 53)
        assert video.num_bytes == expected.num_bytes
        assert torch.equal(video.frames(range(6)), expected.frames(range(6)))
