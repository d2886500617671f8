"""Samples: the right frames at every rate from one decode, random only by seed, epoch and index."""

from functools import partial

import av
import pytest
import torch

from helpers.videos import STEP, grey, textured_frames, write_grey_video, write_video
from slowfast.datasets.batch import Failure, Sample
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.lists import Records
from slowfast.datasets.sampling import DenseSampling, SegmentSampling
from slowfast.datasets.transforms import Normalize, RandomCrop, UniformCrops
from slowfast.datasets.video import open_video
from slowfast.datasets.video.pyav import PyAVVideo

COUNTS = (4, 8, 16)
IDENTITY = Normalize([0.0] * 3, [1 / 255] * 3)  # leaves pixel values 0 .. 255


@pytest.fixture
def records(tmp_path):
    lengths = [40, 23, 55]
    for i, length in enumerate(lengths):
        write_grey_video(tmp_path / f"{i}.mp4", length)
    return Records([f"{i}.mp4" for i in range(3)], [5, 6, 7], tmp_path)


@pytest.fixture
def opened(monkeypatch):
    """What the data set does to its videos: ("open",) and ("frames", indices)."""
    events = []

    class Recorded(PyAVVideo):
        def __init__(self, *args):
            events.append(("open",))
            super().__init__(*args)

        def frames(self, indices):
            events.append(("frames", list(map(int, indices))))
            return super().frames(indices)

    monkeypatch.setitem(VideoDataset.__init__.__kwdefaults__, "opener", Recorded)
    return events


def training(records, sampling=None, **how) -> VideoDataset:
    sampling = sampling or SegmentSampling(COUNTS)
    return VideoDataset(records, sampling, RandomCrop(32, (36, 44)), IDENTITY, random=True, **how)


def shown(clip: torch.Tensor) -> list[int]:
    """Frame indices that a `(3, T, H, W)` clip shows, from its brightness."""
    levels = clip.double().mean(dim=(0, 2, 3))
    return [round(level) for level in ((levels - grey(0)) / STEP).tolist()]


def test_every_rate_shows_the_frames_that_sampling_chose(records):
    dataset = VideoDataset(records, SegmentSampling(COUNTS), UniformCrops(32), IDENTITY)
    for index, length in enumerate([40, 23, 55]):
        sample = dataset[index]
        for clip, count in zip(sample.clips, COUNTS, strict=True):
            assert clip.shape == (1, 3, count, 32, 32)
            assert shown(clip[0]) == [(2 * i + 1) * length // (2 * count) for i in range(count)]


def test_a_sample_carries_label_row_and_path(records, tmp_path):
    sample = training(records)[1]
    assert (sample.label, sample.index, sample.path) == (6, 1, str(tmp_path / "1.mp4"))


@pytest.mark.parametrize("nested", [False, True])
def test_all_rates_come_from_one_open_and_one_pass(records, opened, nested):
    sample = training(records, SegmentSampling(COUNTS, nested=nested))[(3, 0)]
    assert [event for event, *_ in opened] == ["open", "frames"]
    union = sorted({i for clip in sample.clips for i in shown(clip[0])})
    assert opened[1][1] == union
    assert len(union) == 16 if nested else len(union) > 16


def test_all_test_views_come_from_one_open_and_one_pass(records, opened):
    sampling = DenseSampling(COUNTS, span=20, target_fps=20, num_clips=5)
    sample = VideoDataset(records, sampling, UniformCrops(32, 3), IDENTITY)[0]
    assert [event for event, *_ in opened] == ["open", "frames"]
    assert len(set(opened[1][1])) == len(opened[1][1])
    assert [clip.shape[0] for clip in sample.clips] == [15, 15, 15]


def test_test_views_are_ordered_by_clip_and_then_by_crop(tmp_path):
    frames = textured_frames(30, 32, 64)
    write_video(tmp_path / "v.mp4", frames)
    dataset = VideoDataset(
        Records(["v.mp4"], [0], tmp_path),
        SegmentSampling((4,), num_clips=2),
        UniformCrops(32, 3),
        IDENTITY,
    )
    with open_video(tmp_path / "v.mp4") as video:
        stored = video.frames(range(30)).float()
    (views,) = dataset[0].clips
    indices = [[1, 9, 16, 24], [5, 13, 20, 28]]  # a quarter and three quarters of each segment
    for view, clip in enumerate(views):
        left = (0, 16, 32)[view % 3]
        expected = stored[indices[view // 3]][:, :, left : left + 32].permute(3, 0, 1, 2)
        torch.testing.assert_close(clip, expected)


def test_all_rates_of_a_sample_share_one_crop(tmp_path):
    still = textured_frames(1, 48, 64) * 24
    write_video(tmp_path / "v.mp4", still, options={"qp": "0"})
    records = Records(["v.mp4"], [0], tmp_path)
    crops = RandomCrop(32, (36, 44), flip=True)
    dataset = VideoDataset(records, SegmentSampling(COUNTS), crops, IDENTITY, random=True)
    for epoch in range(5):
        low, *others = dataset[(epoch, 0)].clips
        first = low[:, :, :1]
        assert all(torch.equal(clip, first.expand_as(clip)) for clip in (low, *others))


def test_epochs_differ_and_a_repeated_epoch_is_equal(records):
    dataset = training(records)
    first, again, later = (dataset[(epoch, 0)].clips[2] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert shown(first[0]) != shown(later[0])


def test_a_plain_index_is_epoch_zero(records):
    dataset = training(records)
    assert torch.equal(dataset[2].clips[0], dataset[(0, 2)].clips[0])


def test_the_seed_chooses_the_samples(records):
    one, two = (training(records, seed=seed)[0].clips[2][0] for seed in (1, 2))
    assert shown(one) != shown(two)


def test_samples_do_not_touch_the_global_random_state(records):
    before = torch.get_rng_state()
    training(records)[0]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cached_video_gives_the_same_samples_without_reading_again(records, opened):
    plain, cached = training(records), training(records, cache_bytes=10**9)
    cached[(0, 0)]
    expected = plain[(1, 0)].clips
    opened.clear()
    assert all(map(torch.equal, cached[(1, 0)].clips, expected))
    assert opened == []


def test_the_cache_stops_at_its_size(records, opened):
    dataset = training(records, cache_bytes=45 * 48 * 64 * 3)  # room for video 0 (40 frames) only
    for index in (0, 1, 2, 0, 1, 2):
        dataset[index]
    assert sum(event == "open" for event, *_ in opened) == 5


def test_a_cache_leaves_out_no_sample_of_a_damaged_video(records, tmp_path):
    path = tmp_path / "0.mp4"
    write_video(path, textured_frames(40, 48, 64), options={"x264-params": "keyint=20:bframes=0"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[25:28]:  # in the second of two groups of 20
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(data)
    sampling = DenseSampling((4,), span=12, target_fps=20)
    plain, cached = (training(records, sampling, cache_bytes=n) for n in (0, 10**9))
    found = [(plain[(epoch, 0)], cached[(epoch, 0)]) for epoch in range(12)]
    assert {type(without) for without, _ in found} == {Sample, Failure}
    assert all(type(a) is type(b) for a, b in found)


def test_frames_are_shrunk_while_decoding(records):
    opener = partial(open_video, short_side=24)
    dataset = training(records, opener=opener, cache_bytes=10**9)
    dataset[0]
    assert dataset.cache.get(0).frames(torch.tensor([0])).shape == (1, 24, 32, 3)


def test_an_unreadable_video_is_a_failure_and_never_another_video(records, tmp_path):
    (tmp_path / "1.mp4").write_bytes(b"broken")
    for dataset in (training(records), training(records, cache_bytes=10**9)):
        failure = dataset[(4, 1)]
        assert isinstance(failure, Failure)
        assert (failure.index, failure.path) == (1, str(tmp_path / "1.mp4"))
        assert "is not a video file" in failure.error
