"""Frames of lower rates serve the higher ones, and nothing is decoded that is not asked for."""

import pytest
import torch

from helpers.videos import write_grey_video
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.lists import Records
from slowfast.datasets.on_demand import GrowingBatch, GrowingClips
from slowfast.datasets.sampling import (
    DenseSampling,
    NestedViews,
    SegmentSampling,
    nested_positions,
)
from slowfast.datasets.transforms import Normalize, UniformCrops
from slowfast.datasets.video import VideoError, open_video
from slowfast.datasets.video.pyav import PyAVVideo

COUNTS = (2, 4, 8)


@pytest.fixture
def records(tmp_path):
    for i, length in enumerate((40, 23)):
        write_grey_video(tmp_path / f"{i}.mp4", length)
    return Records(["0.mp4", "1.mp4"], [0, 1], tmp_path)


@pytest.fixture
def decoded(monkeypatch):
    """The stored frames that came out of the decoder, in the order in which they were asked for."""
    ranks = []
    read = PyAVVideo._read

    def recorded(video, wanted):
        ranks.extend(wanted.tolist())
        return read(video, wanted)

    monkeypatch.setattr(PyAVVideo, "_read", recorded)
    return ranks


def dataset_of(records, sampling=None, crops=1) -> VideoDataset:
    sampling = sampling or NestedViews(SegmentSampling(COUNTS))
    return VideoDataset(records, sampling, UniformCrops(16, crops), Normalize([0.45] * 3, [1] * 3))


def test_eight_frames_are_divided_as_in_the_docstring():
    low, mid, high = nested_positions(COUNTS)
    assert (low.tolist(), mid.tolist(), high.tolist()) == ([1, 5], [1, 3, 5, 7], list(range(8)))


@pytest.mark.parametrize("counts", [(4, 8, 16), (2, 3, 5, 16), (1, 16, 64), (3, 9), (6, 8)])
def test_each_rate_takes_frames_of_the_next_from_every_part_of_the_clip(counts):
    positions = nested_positions(counts)
    for lower, higher, count in zip(positions, positions[1:], counts, strict=False):
        assert set(lower.tolist()) < set(higher.tolist())
        part = counts[-1] / count
        middles = [(i + 0.5) * part - 0.5 for i in range(count)]
        assert all(abs(p - m) <= part / 2 for p, m in zip(lower.tolist(), middles, strict=True))


@pytest.mark.parametrize("sampling", [SegmentSampling((4, 8, 16), 2), DenseSampling((4, 16), 32)])
def test_the_highest_rate_is_that_of_the_sampling_itself(sampling):
    for view, own in zip(NestedViews(sampling).clips(50, 25), sampling.clips(50, 25), strict=True):
        assert view[-1].tolist() == own[-1].tolist()
        assert all(set(low.tolist()) <= set(own[-1].tolist()) for low in view)


def test_only_what_the_next_rate_adds_is_decoded(records, decoded):
    dataset = dataset_of(records)
    with dataset.open(0) as video:
        clips = GrowingClips(dataset, video)
        counts = []
        for rate in range(3):
            clips.clip(rate)
            counts.append((clips.decoded, len(decoded)))
    assert counts == [(2, 2), (4, 4), (8, 8)]
    assert len(set(decoded)) == 8


def test_clips_read_rate_by_rate_are_those_of_the_data_set(records):
    sampling = NestedViews(SegmentSampling(COUNTS, num_clips=2))
    dataset = dataset_of(records, sampling, crops=3)
    expected = dataset[1].clips
    with dataset.open(1) as video:
        clips = GrowingClips(dataset, video)
        for rate in (0, 2, 1):
            assert torch.equal(clips.clip(rate), expected[rate])


def test_rates_that_are_not_nested_are_read_rate_by_rate_too(records, decoded):
    dataset = dataset_of(records, SegmentSampling(COUNTS))
    expected = dataset[0].clips
    decoded.clear()
    with dataset.open(0) as video:
        clips = GrowingClips(dataset, video)
        assert all(torch.equal(clips.clip(rate), expected[rate]) for rate in range(3))
    assert len(decoded) == len(set(decoded)) == clips.decoded > 8


def test_a_batch_decodes_more_only_of_the_videos_that_are_asked_for(records, decoded):
    dataset = dataset_of(records)
    expected = [dataset[i].clips for i in range(2)]
    decoded.clear()
    with GrowingBatch(dataset, [0, 1]) as batch:
        assert torch.equal(
            batch.read(0, torch.tensor([0, 1])), torch.cat([clips[0] for clips in expected])
        )
        assert torch.equal(batch.read(2, torch.tensor([1])), expected[1][2])
        assert batch.decoded == [2, 8] and len(decoded) == 10


def test_videos_are_closed_when_another_one_cannot_be_opened(records, tmp_path):
    records = Records(["0.mp4", "missing.mp4"], [0, 1], tmp_path)
    opened = []
    dataset = dataset_of(records)
    dataset.opener = lambda path: opened.append(open_video(path)) or opened[-1]
    with pytest.raises(VideoError, match="does not exist"), GrowingBatch(dataset, [0, 1]):
        pass
    assert opened[0]._packets == []


def test_a_data_set_of_random_clips_is_refused(records):
    dataset = dataset_of(records)
    dataset.random = True
    with dataset.open(0) as video, pytest.raises(ValueError, match="no fixed ones"):
        GrowingClips(dataset, video)
