"""Frames of good videos: the right ones, the right way up, and no more work than needed."""

import av
import numpy as np
import pytest

from helpers.videos import (
    ENCODINGS,
    REAL,
    decode_all,
    grey_frames,
    hide_first_frames,
    read_indices,
    textured_frames,
    write_grey_video,
    write_video,
)
from slowfast.datasets.video import open_video
from slowfast.datasets.video.file import is_shown


class CountingDecoder:
    """Stands before a decoder and counts what is fed."""

    def __init__(self, decoder):
        self.__dict__.update(decoder=decoder, packets=0, flushes=0)

    def __getattr__(self, name):
        return getattr(self.decoder, name)

    def __setattr__(self, name, value):
        setattr(self.__dict__["decoder"], name, value)

    def decode(self, packet):
        self.__dict__["packets"] += packet is not None
        return self.decoder.decode(packet)

    def flush_buffers(self):
        self.__dict__["flushes"] += 1
        self.decoder.flush_buffers()


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_file_gives_the_pixels_of_a_plain_decode(path):
    expected = decode_all(path)
    with open_video(path) as video:
        assert video.num_frames == len(expected)
        rng = np.random.default_rng(0)
        for size in (1, 3, 8):
            indices = rng.integers(0, video.num_frames, size)
            assert (video.frames(indices).numpy() == [expected[i] for i in indices]).all()


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_subset_of_any_encoding_has_the_pixels_of_a_plain_decode(tmp_path, name):
    path = write_video(tmp_path / name, textured_frames(70, 64, 80), **ENCODINGS[name])
    expected = decode_all(path)
    with open_video(path) as video:
        assert video.num_frames == len(expected) == 70
        rng = np.random.default_rng(0)
        for _ in range(12):
            indices = rng.integers(0, 70, rng.integers(1, 7))
            assert (video.frames(indices).numpy() == [expected[i] for i in indices]).all()


def test_sampled_indices_can_be_read_back_from_brightness(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 40)) as video:
        assert read_indices(video.frames([0, 7, 8, 21, 39])) == [0, 7, 8, 21, 39]


def test_indices_may_repeat_and_come_in_any_order(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 40)) as video:
        assert read_indices(video.frames([30, 2, 2, 39, 0])) == [30, 2, 2, 39, 0]


def test_no_frames_and_frames_beyond_the_end_are_refused(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 40)) as video:
        with pytest.raises(ValueError, match="no frames asked for"):
            video.frames([])
        with pytest.raises(IndexError, match="40"):
            video.frames([3, 40])


def test_a_video_can_be_read_again_and_again(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 40)) as video:
        for indices in ([39], [0], [38, 39], [5]):
            assert read_indices(video.frames(indices)) == indices


def test_a_video_of_one_frame_reads(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 1)) as video:
        assert video.num_frames == 1
        assert read_indices(video.frames([0, 0])) == [0, 0]


@pytest.mark.parametrize("size", [(47, 63), (33, 64), (64, 33)])
def test_odd_sizes_read(tmp_path, size):
    path = write_grey_video(tmp_path / "v.mp4", 5, size, pix_fmt="yuv444p")
    with open_video(path) as video:
        assert video.size == size
        assert read_indices(video.frames(range(5))) == list(range(5))


def test_frame_rate_and_time_stamps_are_those_of_the_file(tmp_path):
    for name in ("v.mp4", "v.mkv", "v.avi"):
        with open_video(write_grey_video(tmp_path / name, 40, fps=25)) as video:
            assert video.fps == 25
            assert video.timestamps == pytest.approx(np.arange(40) / 25, abs=1e-3)


def test_frames_before_the_start_of_an_edit_list_do_not_count(tmp_path):
    whole = write_grey_video(tmp_path / "whole.mp4", 40, fps=20)
    with open_video(hide_first_frames(whole, tmp_path / "v.mp4", 7 / 20)) as video:
        assert read_indices(video.frames(range(video.num_frames))) == list(range(7, 40))


def test_variable_frame_rate_is_sampled_by_time(tmp_path):
    # Twenty frames in the first second, then four in the next one: 24 slots of 1/12 second.
    times = [*range(0, 1000, 50), 1000, 1250, 1500, 1750]
    path = write_video(tmp_path / "v.mkv", grey_frames(24, 48, 64), times_ms=times)
    with open_video(path) as video:
        fps, shown = video.fps, read_indices(video.frames(range(24)))
    assert fps == pytest.approx(24 / 2, rel=0.15)
    middles = [(i + 0.5) / fps * 1000 for i in range(24)]
    assert shown == [max(k for k in range(24) if times[k] <= middle) for middle in middles]


def test_a_pause_in_a_variable_rate_video_lasts(tmp_path):
    times = [0, 50, 100, 1500, 1550, 1600]
    path = write_video(tmp_path / "v.mp4", grey_frames(6, 48, 64), times_ms=times)
    with open_video(path) as video:
        assert read_indices(video.frames(range(6))).count(2) >= 4


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_videos_come_upright(tmp_path, rotation):
    upright = np.full((48, 64, 3), 30, np.uint8)
    upright[:16, :16] = 220  # a bright corner, top left
    turns = rotation // 90
    stored = np.ascontiguousarray(np.rot90(upright, -turns))
    path = write_video(tmp_path / "v.mp4", [stored] * 3, rotation=rotation)
    with open_video(path) as video:
        (frame,) = video.frames([1]).numpy()
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 4


def test_the_best_of_several_streams_is_read():
    path = next(path for path in REAL if path.name == "nasa_13013.mp4")
    with open_video(path) as video:
        assert video.size == (270, 480)


@pytest.mark.parametrize(("size", "expected"), [((48, 64), (24, 32)), ((64, 48), (32, 24))])
def test_short_side_shrinks_while_decoding(tmp_path, size, expected):
    with open_video(write_grey_video(tmp_path / "v.mp4", 5, size), short_side=24) as video:
        frames = video.frames([1, 4])
        assert tuple(frames.shape[1:3]) == video.size == expected
        assert read_indices(frames) == [1, 4]
        assert video.num_bytes == 5 * 24 * 32 * 3


def test_short_side_never_enlarges(tmp_path):
    with open_video(write_grey_video(tmp_path / "v.mp4", 5, (48, 64)), short_side=96) as video:
        assert video.size == (48, 64)


def test_decoding_stops_soon_after_the_last_wanted_frame(tmp_path):
    path = write_grey_video(tmp_path / "v.mp4", 50, options={"x264-params": "keyint=250"})
    with open_video(path) as video:
        counter = video._decoder = CountingDecoder(video._decoder)
        video.frames([0, 5, 10])
    assert counter.packets < 20


def test_a_far_frame_is_reached_from_its_key_frame(tmp_path):
    frames = textured_frames(60, 48, 64)
    path = write_video(tmp_path / "v.mp4", frames, options={"x264-params": "keyint=10"})
    with open_video(path) as video:
        counter = video._decoder = CountingDecoder(video._decoder)
        video.frames([2, 55])
    assert counter.flushes == 2
    assert counter.packets < 30


def test_one_pass_gives_all_frames_of_one_group(tmp_path):
    path = write_grey_video(tmp_path / "v.mp4", 50, options={"x264-params": "keyint=250"})
    with open_video(path) as video:
        counter = video._decoder = CountingDecoder(video._decoder)
        video.frames([49, 3, 17, 3])
    assert counter.flushes == 1
    assert counter.packets <= 50


def test_hidden_reference_frames_of_vp8_are_not_counted():
    hidden, shown = av.Packet(bytes([0x00, 1, 2])), av.Packet(bytes([0x10, 1, 2]))
    assert [is_shown(packet, "vp8") for packet in (hidden, shown)] == [False, True]
