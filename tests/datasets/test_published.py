"""The published rules, against the numbers of the originals with the originals' random draws."""

import random

import numpy as np
import pytest
import torch

from helpers.fixture_weights import read_fixture
from slowfast.config import get_cfg
from slowfast.config.validate import _CHOICES
from slowfast.datasets.draws import TorchDraws
from slowfast.datasets.published import (
    NAMES,
    charades_indices,
    frameexit_indices,
    mmaction_dense_indices,
    mmaction_segment_indices,
    mmaction_starts,
    mmaction_views,
    published_sampling,
    pyslowfast_ssv2_indices,
    pyslowfast_start,
    sth_ffn_indices,
    trimmed_indices,
    tsn_indices,
)
from slowfast.datasets.sampling import dense_indices

COUNTS = (4, 8, 16)
LENGTHS = [1, 2, 3, 7, 15, 16, 17, 40, 301]


def cases(fixture: str, table: str | None = None) -> list[dict]:
    """The rows of a table of `fixture` by field name."""
    record = read_fixture(fixture)
    record = record[table] if table else record
    return [dict(zip(record["fields"], case, strict=True)) for case in record["cases"]]


class NumpyDraws:
    """NumPy's global generator, seeded, as the originals use it."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.random.randint(low, high + 1))


class PythonDraws:
    """Python's generator, seeded."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)


class Extreme:
    """Always the lowest (0) or the highest (1) number, and it keeps the ranges asked for."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.ranges: list[tuple[float, float]] = []

    def integer(self, low: int, high: int) -> int:
        assert low <= high
        self.ranges.append((low, high))
        return (low, high)[self.end]

    uniform = integer


def both_ends(rule, *args) -> tuple[list[int], list[int]]:
    """The lowest and the highest index that a random clip of `rule` can have at each place."""
    low, high = (rule(*args, Extreme(end)).tolist() for end in (0, 1))
    return low, high


# ---------------------------------------------------------------------------- pyslowfast


def pyslowfast_span(case: dict) -> float:
    return max(1.0, case["T"] * case["rate"] / 30 * case["fps"])


def test_kinetics_views_equal_those_of_pyslowfast():
    table = cases("pyslowfast_sampling", "views")
    assert len(table) == 1120
    for case in table:
        where = case["view"], case["num_views"], case["offset"]
        start = pyslowfast_start(case["length"], pyslowfast_span(case), None, *where)
        assert start == pytest.approx(case["start"], abs=1e-9)
        sampling = published_sampling(
            "pyslowfast",
            (case["T"],),
            case["num_views"],
            most=case["T"],
            stride=case["rate"],
            offset=case["offset"],
        )
        views = sampling.clips(case["length"], case["fps"])
        assert views[case["view"]][0].tolist() == case["indices"]


@pytest.mark.parametrize("case", cases("pyslowfast_sampling", "random"))
def test_random_kinetics_clips_equal_those_of_pyslowfast_with_its_draws(case):
    span = pyslowfast_span(case)
    start = pyslowfast_start(case["length"], span, PythonDraws(case["seed"]))
    assert start == pytest.approx(case["start"], abs=1e-9)
    assert dense_indices(case["length"], case["T"], start, span).tolist() == case["indices"]


@pytest.mark.parametrize("case", cases("pyslowfast_sampling", "trimmed"))
def test_a_clip_of_a_trimmed_decode_equals_that_of_pyslowfast(case):
    span, decoded = case["clip_size"], case["decoded"]
    assert dense_indices(decoded, case["T"], 0, span).tolist() == case["indices"]


@pytest.mark.parametrize("case", cases("pyslowfast_sampling", "pts"))
def test_a_trimmed_decode_holds_the_frames_within_the_time_stamps_of_pyslowfast(case):
    length, span = round(10 * case["fps"]), pyslowfast_span(case)
    start = pyslowfast_start(length, span, None, case["view"], case["num_views"])
    ticks = round(case["ticks"] / case["fps"])
    stamps = range(0, length * ticks, ticks)
    inside = [i for i, t in enumerate(stamps) if case["start_pts"] <= t <= case["end_pts"]]
    expected = [inside[i] for i in dense_indices(len(inside), case["T"], 0, span).tolist()]
    assert trimmed_indices(length, case["T"], start, span).tolist() == expected


def test_a_trimmed_decode_of_a_span_between_two_frames_is_the_next_one():
    """Eight frames of 30 per second in a video of 5: a span of 1.33 frames may hold none."""
    assert trimmed_indices(100, 3, start=6.5, span=8 / 30 * 5).tolist() == [7, 7, 7]
    assert trimmed_indices(100, 3, start=98.5, span=1.0).tolist() == [99, 99, 99]


def test_the_last_kinetics_view_of_pyslowfast_does_not_reach_the_end_but_with_offsets():
    options = {"most": 8, "stride": 8}
    plain = published_sampling("pyslowfast", (8,), 10, **options).clips(300, 30.0)
    offset = published_sampling("pyslowfast", (8,), 10, offset=True, **options).clips(300, 30.0)
    assert plain[-1][0][-1] == 275
    assert offset[-1][0][-1] == 297


def test_rates_share_the_span_of_pyslowfast():
    sampling = published_sampling("pyslowfast", COUNTS, most=16, stride=4)
    (clip,) = sampling.clips(300, 30.0, torch.Generator().manual_seed(0))
    assert len({(int(rate[0]), int(rate[-1])) for rate in clip}) == 1


@pytest.mark.parametrize("case", cases("pyslowfast_sampling", "ssv2"), ids=lambda c: str(c["T"]))
def test_ssv2_segments_equal_those_of_pyslowfast(case):
    length, count = case["length"], case["T"]
    assert pyslowfast_ssv2_indices(length, count).tolist() == case["fixed"]
    assert pyslowfast_ssv2_indices(length, count, None, 2, 3).tolist() == case["fixed"]
    for rule in (pyslowfast_ssv2_indices, sth_ffn_indices):
        assert list(zip(*both_ends(rule, length, count), strict=True)) == [
            tuple(bounds) for bounds in case["ranges"]
        ]


@pytest.mark.parametrize("case", cases("pyslowfast_sampling", "charades"))
def test_charades_views_equal_those_of_pyslowfast(case):
    view = case["view"], case["num_views"]
    indices = charades_indices(case["length"], case["T"], case["rate"], None, *view)
    assert indices.tolist() == case["indices"]


def test_random_charades_clips_start_anywhere_also_before_a_short_video():
    low, high = both_ends(charades_indices, 100, 8, 4)  # 29 frames
    assert (low[0], high[-1]) == (0, 99)
    low, high = both_ends(charades_indices, 10, 8, 4)
    assert (low, high) == ([0, 0, 0, 0, 0, 1, 5, 9], [0, 4, 8, 9, 9, 9, 9, 9])


def test_a_single_view_of_charades_is_the_centre():
    ((indices,),) = published_sampling("charades", (8,), 1, most=8, stride=4).clips(100, 30.0)
    assert (indices[0], 99 - indices[-1]) == (35, 36)


# ---------------------------------------------------------------------------- ffn


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("num_views", [1, 2, 3])
def test_sth_ffn_views_are_rounded_bounds_and_a_truncated_shift(length, num_views):
    size = (length - 1) / 8
    for view in range(num_views):
        shift = int(size / (num_views + 1) * (view + 1))
        expected = [int(np.round(size * i)) + shift for i in range(8)]
        assert sth_ffn_indices(length, 8, None, view, num_views).tolist() == expected


def test_tsn_never_draws_the_remainder_at_the_end():
    low, high = both_ends(tsn_indices, 30, 8)
    assert low == [0, 3, 6, 9, 12, 15, 18, 21]
    assert high == [2, 5, 8, 11, 14, 17, 20, 23]


def test_tsn_freezes_short_videos_at_their_first_frame():
    assert both_ends(tsn_indices, 15, 16) == ([0] * 16, [0] * 16)
    assert tsn_indices(16, 16).tolist() == [0] * 16  # fixed views also at length == count
    assert both_ends(tsn_indices, 16, 16)[0] == list(range(16))


def test_tsn_views_are_centres_and_then_the_starts_of_segments():
    assert tsn_indices(30, 4).tolist() == [3, 11, 18, 26]
    assert tsn_indices(30, 4, None, 0, 2).tolist() == [3, 11, 18, 26]
    assert tsn_indices(30, 4, None, 1, 2).tolist() == [0, 7, 15, 22]


@pytest.mark.parametrize("name", ["tsn", "mmaction_segment"])
def test_a_third_view_of_twice_sample_is_refused(name):
    with pytest.raises(ValueError, match="one or two views; got TEST.NUM_ENSEMBLE_VIEWS=3"):
        published_sampling(name, (8,), 3, most=8, stride=1).clips(100, 30.0)


@pytest.mark.parametrize("name", ["tsn", "sth_ffn", "pyslowfast_ssv2", "mmaction_segment"])
def test_each_rate_is_drawn_by_itself_from_the_same_rule(name):
    (clip,) = published_sampling(name, (8, 8), most=8, stride=1).clips(
        1000, 30.0, torch.Generator().manual_seed(0)
    )
    assert clip[0].tolist() != clip[1].tolist()


# ---------------------------------------------------------------------------- mmaction


def test_mmaction_clips_equal_those_of_sample_frames():
    table = cases("mmaction_sampling")
    assert len(table) == 88
    for case in table:
        length, num_clips, span = case["length"], case["num_clips"], case["clip_len"]
        span *= case["interval"]
        if case["test"]:
            starts = mmaction_views(length, num_clips, span)
            if case["twice"]:
                starts += mmaction_views(length, num_clips, span, shifted=False)
        else:
            starts = mmaction_starts(length, num_clips, span, NumpyDraws(0))
        within = np.arange(case["clip_len"]) * case["interval"]
        frames = (np.array(starts)[:, None] + within).ravel() % length
        assert frames.tolist() == case["indices"]


@pytest.mark.parametrize("case", [c for c in cases("mmaction_sampling") if c["clip_len"] == 1])
def test_mmaction_segments_are_its_clips_of_one_frame(case):
    length, count = case["length"], case["num_clips"]
    if not case["test"]:
        indices = mmaction_segment_indices(length, count, NumpyDraws(0)).tolist()
    else:
        views = range(1 + case["twice"])
        indices = [
            i
            for view in views
            for i in mmaction_segment_indices(length, count, None, view, len(views)).tolist()
        ]
    assert indices == case["indices"]


@pytest.mark.parametrize(
    "case",  # training draws one clip here
    [
        c
        for c in cases("mmaction_sampling")
        if c["clip_len"] > 1 and (c["test"] or c["num_clips"] == 1)
    ],
)
def test_mmaction_dense_views_are_its_clips(case):
    length, count, stride = case["length"], case["clip_len"], case["interval"]
    if case["test"]:
        sampling = published_sampling(
            "mmaction_dense", (count,), case["num_clips"], most=count, stride=stride
        )
        indices = torch.cat([clip[0] for clip in sampling.clips(length, 30.0)])
    else:
        indices = mmaction_dense_indices(length, count, stride, NumpyDraws(0))
    assert indices.tolist() == case["indices"]


# ---------------------------------------------------------------------------- frameexit


@pytest.mark.parametrize("case", cases("frameexit_frames", "sampling"))
def test_frameexit_frames_are_even_with_a_clipped_end(case):
    assert frameexit_indices(case["length"], case["T"]).tolist() == case["indices"]


# ---------------------------------------------------------------------------- by name


def test_the_configuration_knows_every_name():
    assert set(_CHOICES["DATA.SAMPLING"]) == {"auto", "dense", "segment", "clips", *NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_rule_stays_inside_the_video(name, length):
    sampling = published_sampling(name, COUNTS, 2, most=16, stride=4)
    random_clips = [
        sampling.clips(length, 25.0, torch.Generator().manual_seed(seed))[0] for seed in range(20)
    ]
    assert len(sampling.clips(length, 25.0)) == 2
    for clip in [*sampling.clips(length, 25.0), *random_clips]:
        for indices, count in zip(clip, COUNTS, strict=True):
            assert indices.dtype == torch.int64 and len(indices) == count
            assert 0 <= indices.min() and indices.max() < length


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_takes_a_video_without_frames(name):
    with pytest.raises(ValueError, match="0 frames"):
        published_sampling(name, COUNTS, 2, most=16, stride=4).clips(0, 25.0)


@pytest.mark.parametrize("name", ["charades", "mmaction_dense"])
def test_lower_rates_of_strided_clips_are_every_second_frame_of_the_next(name):
    sampling = published_sampling(name, COUNTS, most=16, stride=4)
    (clip,) = sampling.clips(300, 25.0, torch.Generator().manual_seed(1))
    assert clip[0].tolist() == clip[1][::2].tolist()
    assert clip[1].tolist() == clip[2][::2].tolist()


def test_draws_of_torch_reach_both_ends_and_repeat_with_the_seed():
    draws, again = (TorchDraws(torch.Generator().manual_seed(3)) for _ in range(2))
    values = [draws.integer(2, 4) for _ in range(99)]
    assert set(values) == {2, 3, 4}
    assert values == [again.integer(2, 4) for _ in range(99)]
    assert all(-1 <= draws.uniform(-1, 2) < 2 for _ in range(99))


def test_the_default_is_the_corrected_rule():
    assert get_cfg().DATA.SAMPLING == "auto"
