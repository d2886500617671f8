"""Videos that cannot be read: each says in one sentence what is wrong, none gives wrong frames."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from helpers.videos import (
    cut,
    decode_all,
    textured_frames,
    write_audio,
    write_grey_video,
    write_video,
)
from slowfast.datasets.video import VideoError, open_video

FASTSTART = {"movflags": "faststart"}


def textured(path: Path, **how) -> Path:
    return write_video(path, textured_frames(60, 64, 80), **how)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"none\.mp4 does not exist"):
        open_video(tmp_path / "none.mp4")


def test_an_empty_file_is_told(tmp_path):
    (tmp_path / "v.mp4").touch()
    with pytest.raises(VideoError, match=r"v\.mp4 is empty"):
        open_video(tmp_path / "v.mp4")


def test_a_text_file_is_no_video(tmp_path):
    (tmp_path / "v.mp4").write_text("not a video\n" * 20)
    with pytest.raises(VideoError, match=r"v\.mp4 is not a video file"):
        open_video(tmp_path / "v.mp4")


def test_a_file_with_sound_only_is_told(tmp_path):
    with pytest.raises(VideoError, match="has no video stream"):
        open_video(write_audio(tmp_path / "v.mp4"))


def test_a_song_with_a_cover_picture_is_no_video(tmp_path):
    with pytest.raises(VideoError, match="has no video stream"):
        open_video(write_audio(tmp_path / "v.mp4", cover=True))


def test_a_truncated_mp4_without_its_index_is_told(tmp_path):
    textured(tmp_path / "whole.mp4")
    with pytest.raises(VideoError, match="truncated: 0 frames can be read"):
        open_video(cut(tmp_path / "whole.mp4", tmp_path / "v.mp4", 0.5))


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_faststart_mp4_says_how_many_frames_are_left(tmp_path, part):
    textured(tmp_path / "whole.mp4", container_options=FASTSTART)
    with pytest.raises(VideoError, match=r"truncated: \d+ of 60 frames can be read"):
        open_video(cut(tmp_path / "whole.mp4", tmp_path / "v.mp4", part))


@pytest.mark.parametrize("name", ["v.avi", "v.mkv", "v.webm"])
def test_other_truncated_containers_are_told(tmp_path, name):
    codec = {"v.avi": "mpeg4", "v.mkv": "libx264", "v.webm": "libvpx"}[name]
    textured(tmp_path / f"whole_{name}", codec=codec)
    with pytest.raises(VideoError, match=r"truncated: \d+ of 60 frames can be read"):
        open_video(cut(tmp_path / f"whole_{name}", tmp_path / name, 0.6))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_video_fails_instead_of_giving_patched_up_frames(tmp_path, seed):
    path = textured(tmp_path / "v.mp4", options={"x264-params": "keyint=250"})
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(len(data) // 4, len(data) // 2, 300):
        data[position] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    with open_video(path) as video, pytest.raises(VideoError, match=r"v\.mp4 is damaged at packet"):
        video.frames(range(60))


def test_damage_is_told_with_the_number_of_frames_that_can_be_read(tmp_path):
    groups = {"options": {"x264-params": "keyint=20:scenecut=0:bframes=0"}}
    path = textured(tmp_path / "v.mp4", **groups)
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    data = bytearray(path.read_bytes())
    for packet in packets[25:28]:  # in the second of three groups of 20
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(data)
    with open_video(path) as video:
        with pytest.raises(VideoError, match="damaged at packet 25 of 60 .*; 45 frames can be"):
            video.frames([30])
        assert video.frames([24, 40, 59]).shape == (3, 64, 80, 3)


def test_frames_before_the_damage_still_read(tmp_path):
    path = textured(tmp_path / "v.mp4", options={"x264-params": "keyint=250"})
    expected = decode_all(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with open_video(path) as video:
        assert (video.frames([0, 4, 9]).numpy() == [expected[i] for i in (0, 4, 9)]).all()


def test_every_error_is_one_sentence_that_names_the_file(tmp_path):
    textured(tmp_path / "whole.mp4", container_options=FASTSTART)
    bad = [
        tmp_path / name for name in ("none.mp4", "empty.mp4", "text.mp4", "audio.mp4", "cut.mp4")
    ]
    bad[1].touch()
    bad[2].write_text("hello")
    write_audio(bad[3])
    cut(tmp_path / "whole.mp4", bad[4], 0.5)
    for path in bad:
        with pytest.raises(VideoError) as caught:
            open_video(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_files_are_closed_after_use_and_after_failure(tmp_path):
    good = write_grey_video(tmp_path / "good.mp4")
    textured(tmp_path / "whole.mp4", container_options=FASTSTART)
    bad = cut(tmp_path / "whole.mp4", tmp_path / "bad.mp4", 0.5)
    before = open_files()
    for _ in range(5):
        with open_video(good) as video:
            video.frames([3])
        with pytest.raises(VideoError):
            open_video(bad)
    assert open_files() == before


@pytest.mark.slow
def test_two_thousand_opens_leak_nothing(tmp_path):
    good = write_grey_video(tmp_path / "good.mp4")
    textured(tmp_path / "whole.mp4", container_options=FASTSTART)
    bad = cut(tmp_path / "whole.mp4", tmp_path / "bad.mp4", 0.5)

    def open_often(times: int) -> float:
        for i in range(times):
            with open_video(good, short_side=24) as video:
                video.frames([i % 40, 39])
            with pytest.raises(VideoError):
                open_video(bad)
        return resident_mb()

    files, before = open_files(), open_often(100)
    assert open_often(2000) < before * 1.02
    assert open_files() == files
