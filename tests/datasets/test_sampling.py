"""Frame indices, against the same rules written in NumPy and against PySlowFast's own numbers."""

import numpy as np
import pytest
import torch

from helpers.fixture_weights import read_fixture
from slowfast.datasets.sampling import (
    ClipsSampling,
    DenseSampling,
    FixedViews,
    SegmentSampling,
    dense_indices,
    segment_indices,
    union,
)

LENGTHS = [1, 2, 3, 7, 16, 17, 40, 301]
COUNTS = (4, 8, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nine_frames_in_three_segments_give_the_centres_of_the_docstring():
    assert segment_indices(9, 3).tolist() == [1, 4, 7]


@pytest.mark.parametrize("num_frames", LENGTHS)
@pytest.mark.parametrize("num_segments", [1, 4, 16, 64])
def test_segment_centres_equal_integer_arithmetic(num_frames, num_segments):
    expected = [(2 * i + 1) * num_frames // (2 * num_segments) for i in range(num_segments)]
    assert segment_indices(num_frames, num_segments).tolist() == expected


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_random_segment_indices_lie_in_their_segments(num_frames):
    bounds = np.arange(9) * num_frames / 8
    for seed in range(50):
        indices = segment_indices(num_frames, 8, generator(seed)).numpy()
        assert (indices >= np.floor(bounds[:-1])).all()
        assert (indices < bounds[1:]).all()


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_random_segments_reach_every_frame_and_the_last_one(num_frames):
    rng = generator()
    seen = torch.cat([segment_indices(num_frames, 8, rng) for _ in range(40 * num_frames)])
    assert sorted(set(seen.tolist())) == list(range(num_frames))


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_all_indices_are_inside_the_video_and_non_decreasing(num_frames):
    segments = SegmentSampling(COUNTS, num_clips=3)
    dense = DenseSampling(COUNTS, span=64, num_clips=3)
    for sampling in (segments, dense):
        random = [sampling.clips(num_frames, 25.0, generator(seed))[0] for seed in range(20)]
        for clip in [*sampling.clips(num_frames, 25.0), *random]:
            for indices, count in zip(clip, COUNTS, strict=True):
                assert len(indices) == count
                assert 0 <= indices[0] and indices[-1] < num_frames
                assert (indices.diff() >= 0).all()


@pytest.mark.parametrize("sample", [segment_indices, lambda n, t: dense_indices(n, t, 0, 8)])
def test_a_video_without_frames_cannot_be_sampled(sample):
    with pytest.raises(ValueError, match="0 frames"):
        sample(0, 4)


def test_dense_indices_equal_those_of_pyslowfast():
    cases = read_fixture("pyslowfast_sampling")["views"]["cases"]
    for length, fps, count, stride, _view, _views, _offset, start, indices in cases:
        span = count * stride / 30 * fps
        assert dense_indices(length, count, start, span).tolist() == indices


def test_one_sample_of_a_span_is_its_centre():
    assert dense_indices(100, 1, start=2, span=8).tolist() == [5]


def test_dense_rates_share_the_ends_of_their_span():
    for seed in range(20):
        (clip,) = DenseSampling(COUNTS, span=64).clips(300, 30.0, generator(seed))
        assert len({(int(rate[0]), int(rate[-1])) for rate in clip}) == 1


def test_dense_views_reach_the_first_and_the_last_frame():
    views = DenseSampling((8,), span=64, num_clips=10).clips(300, 30.0)
    assert views[0][0][0] == 0
    assert views[-1][0][-1] == 299


def test_a_single_dense_view_is_centred():
    ((indices,),) = DenseSampling((8,), span=64).clips(300, 30.0)
    assert indices[0] + indices[-1] == 299


def test_a_dense_span_lasts_as_long_at_any_frame_rate():
    seconds = []
    for fps in (15.0, 30.0, 60.0):
        ((indices,),) = DenseSampling((8,), span=60, target_fps=30).clips(round(fps * 10), fps)
        seconds.append((indices[-1] + 1 - indices[0]).item() / fps)
    assert seconds == pytest.approx([2, 2, 2], abs=0.07)


def test_a_video_shorter_than_the_span_repeats_its_last_frame():
    ((indices,),) = DenseSampling((8,), span=64).clips(20, 30.0)
    assert indices.tolist() == [0, 9, 18, 19, 19, 19, 19, 19]


def test_random_dense_clips_reach_both_ends():
    rng = generator()
    starts = {DenseSampling((2,), span=10).clips(12, 30.0, rng)[0][0][0].item() for _ in range(99)}
    assert starts == {0, 1}  # start is uniform in [0, 2)


def test_segment_views_shift_inside_the_segments():
    views = SegmentSampling((4,), num_clips=2).clips(40, 30.0)
    assert [view[0].tolist() for view in views] == [[2, 12, 22, 32], [7, 17, 27, 37]]


@pytest.mark.parametrize("kind", ["segment", "dense"])
@pytest.mark.parametrize("counts", [(4, 8, 16), (3, 5, 11), (2, 4, 8, 12)])
def test_nested_rates_are_subsets_of_the_next_higher(kind, counts):
    sampling = (
        SegmentSampling(counts, nested=True)
        if kind == "segment"
        else DenseSampling(counts, span=64, nested=True)
    )
    for seed in range(30):
        (clip,) = sampling.clips(100, 30.0, generator(seed))
        for lower, higher in zip(clip, clip[1:], strict=False):
            assert set(lower.tolist()) < set(higher.tolist())


def test_nested_segments_decode_no_more_than_the_highest_rate():
    (clip,) = SegmentSampling(COUNTS, nested=True).clips(100, 30.0, generator())
    assert len(union([clip])[0]) == COUNTS[-1]


def test_nested_rates_differ_from_one_epoch_to_the_next():
    sampling = SegmentSampling(COUNTS, nested=True)
    lowest = {tuple(sampling.clips(100, 30.0, generator(s))[0][0].tolist()) for s in range(9)}
    assert len(lowest) == 9


def test_independent_rates_are_drawn_anew():
    (clip,) = SegmentSampling((8, 8)).clips(1000, 30.0, generator())
    assert clip[0].tolist() != clip[1].tolist()


def test_the_fixed_views_do_not_depend_on_nesting():
    plain, nested = (SegmentSampling(COUNTS, nested=nested).clips(99, 30.0) for nested in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(plain[0], nested[0], strict=True))


def test_fixed_views_stay_where_other_parts_of_a_sample_are_random():
    sampling = SegmentSampling(COUNTS)
    fixed = FixedViews(sampling)
    assert (fixed.num_frames, fixed.num_clips) == (COUNTS, 1)
    for expected, indices in zip(
        sampling.clips(99, 30.0)[0], fixed.clips(99, 30.0, generator())[0], strict=True
    ):
        assert torch.equal(expected, indices)


# ---------------------------------------------------------------------------- short clips


def test_clips_stand_around_the_middles_of_equal_parts_as_in_the_docstring():
    ((indices,),) = ClipsSampling((6,), length=3, span=3).clips(12, 30)
    assert indices.tolist() == [1, 2, 3, 7, 8, 9]


def test_each_clip_lasts_as_long_at_any_frame_rate():
    sampling = ClipsSampling((26,), length=13, span=13 * 6, target_fps=30)
    for fps in (15, 30, 60):
        ((indices,),) = sampling.clips(40 * fps, fps)
        for clip in indices.split(13):
            assert (clip[-1] - clip[0]) / fps == pytest.approx(12 * 6 / 30, abs=0.25)
            assert (clip.diff() > 0).all()


def test_random_clips_lie_in_their_parts_and_inside_the_video():
    sampling = ClipsSampling((8,), length=2, span=2)
    starts = []
    for seed in range(300):
        ((indices,),) = sampling.clips(40, 30, torch.Generator().manual_seed(seed))
        assert indices.min() >= 0 and indices.max() <= 39
        starts.append(indices[::2])
    starts = torch.stack(starts)
    for part, column in enumerate(starts.unbind(1)):
        assert column.min() in (10 * part - 1, 10 * part)
        assert column.max() in (10 * part + 8, 10 * part + 9)


def test_views_of_clips_shift_inside_the_parts():
    views = ClipsSampling((4,), length=2, span=2, num_clips=2).clips(40, 30)
    assert [indices.tolist() for (indices,) in views] == [[4, 5, 24, 25], [14, 15, 34, 35]]


def test_clips_of_a_short_video_overlap_and_repeat_its_last_frame():
    ((indices,),) = ClipsSampling((6,), length=3, span=12).clips(5, 30)
    assert indices.tolist() == [0, 4, 4, 0, 4, 4]


def test_frames_that_are_no_whole_number_of_clips_are_refused():
    with pytest.raises(ValueError, match="7 frames are no whole number of clips .*CLIP_LENGTH=3"):
        ClipsSampling((6, 7), length=3, span=3)


def test_union_lists_every_frame_once_and_finds_it_again():
    clips = [(torch.tensor([3, 7]), torch.tensor([1, 3, 5, 7])), (torch.tensor([5, 5, 9]),)]
    wanted, positions = union(clips)
    assert wanted.tolist() == [1, 3, 5, 7, 9]
    for clip, places in zip(clips, positions, strict=True):
        for indices, where in zip(clip, places, strict=True):
            assert torch.equal(wanted[where], indices)
