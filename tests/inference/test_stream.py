"""Streams: the rate follows the load, and no window waits in a queue.  Clocks tick as told."""

import av
import numpy as np
import pytest

import slowfast
from helpers.recognizers import write_network
from helpers.videos import cut, read_indices, write_grey_video
from slowfast.datasets import VideoError
from slowfast.inference import NothingFits, stream
from slowfast.inference.predictions import Prediction
from slowfast.inference.stream import LiveFeed, Pace, Window, open_feed, rates_within, watch
from slowfast.models.flexible import Rate

COSTS = (1.0, 2.0, 4.0)


def run(pace, load_of, windows):
    """The rates at which windows ran, if window i at a rate loads `load_of(i, rate)`."""
    ran = []
    for i in range(windows):
        ran.append(pace.index)
        pace.update(load_of(i, pace.index))
    return ran


# ---------------------------------------------------------------------------- which rate


def test_the_dearest_rate_runs_as_long_as_it_keeps_up():
    assert run(Pace(COSTS), lambda i, rate: 0.9, 20) == [2] * 20


def test_falling_behind_goes_down_to_the_rate_that_keeps_up():
    pace = Pace(COSTS)
    assert pace.update(0.95) == 1
    assert Pace(COSTS).update(1.7) == 1  # 0.85 is expected there
    assert Pace(COSTS).update(1.9) == 0
    assert Pace(COSTS).update(99.0) == 0


def test_the_cheapest_rate_is_the_last_resort():
    pace = Pace(COSTS)
    assert run(pace, lambda i, rate: 5.0, 4) == [2, 0, 0, 0]
    assert run(Pace([1.0]), lambda i, rate: 5.0, 3) == [0, 0, 0]


def test_room_for_some_windows_in_a_row_goes_up_one_rate():
    pace = Pace(COSTS)
    pace.update(9.0)
    assert run(pace, lambda i, rate: 0.1 * COSTS[rate], 9) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_room_that_does_not_last_changes_nothing():
    pace = Pace(COSTS)
    pace.update(9.0)
    assert run(pace, lambda i, rate: (0.1, 0.1, 0.5)[i % 3], 30) == [0] * 30


@pytest.mark.parametrize("load", [0.36, 0.5, 0.8, 0.89])
def test_between_room_and_full_the_rate_stays(load):
    pace = Pace(COSTS)
    pace.update(9.0)
    assert run(pace, lambda i, rate: load, 20) == [0] * 20


def test_a_steady_load_leads_to_a_steady_rate():
    """Of every machine, however fast, in proportion to cost or not."""
    for speed in (0.05, 0.2, 0.3, 0.44, 0.6, 0.95, 2.0):
        for loads in (COSTS, (1.0, 1.3, 1.6), (1.0, 1.0, 1.0)):
            ran = run(Pace(COSTS), lambda i, rate: speed * loads[rate], 60)  # noqa: B023
            assert len(set(ran[20:])) == 1, (speed, loads, ran)
            index = ran[-1]
            assert speed * loads[index] <= 0.9 or index == 0


def test_a_rise_that_fails_is_tried_ever_less_often():
    """The next rate looks possible and is not: a load that its cost does not tell."""
    pace = Pace((1.0, 1.05))

    def load(i, rate):
        return (0.6, 1.5)[rate]

    ran = run(pace, load, 200)
    rises = [i for i in range(1, 200) if ran[i] > ran[i - 1]]
    waits = np.diff(rises).tolist()
    assert waits == sorted(waits) and waits[0] < waits[-1] and len(rises) < 9


def test_patience_returns_after_a_rise_that_lasts():
    pace = Pace((1.0, 1.05))
    run(pace, lambda i, rate: (0.6, 1.5)[rate], 30)
    assert pace.patience > 3
    run(pace, lambda i, rate: 0.3, 60)
    assert (pace.index, pace.patience) == (1, 3)


def test_what_a_rate_loaded_next_to_another_is_remembered():
    """A rate that costs twice as much, by its frames, took hardly longer."""
    pace = Pace((1.0, 2.0))
    assert pace.update(0.95) == 0
    pace.update(0.89)
    assert run(pace, lambda i, rate: 0.6, 5) == [0, 0, 0, 1, 1]  # 1.2 would be expected by cost


def test_work_that_is_the_same_at_every_rate_is_not_multiplied():
    pace = Pace(COSTS)
    pace.update(9.0)
    for _ in range(3):
        pace.update(0.05, other=0.55)  # 0.65 is expected at the next rate, not 1.2
    assert pace.index == 1
    assert pace.update(0.1, other=0.85) == 0


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="room=0.9 must be above 0 and below full=0.9"):
        Pace(COSTS, full=0.9, room=0.9)


# ---------------------------------------------------------------------------- windows


class FakeFeed:
    """Ten pictures per second for `length` seconds, on a clock that only waiting and work turn."""

    def __init__(self, length, seconds=2.0):
        self.length, self.seconds, self.time = length, seconds, 0.0

    def now(self):
        return self.time

    def wait(self, until):
        self.time = max(self.time, min(until, self.length))
        return until <= self.length

    def window(self):
        end = min(self.time, self.length)
        count = round(10 * min(self.seconds, end)) + 1
        times = [end - i / 10 for i in reversed(range(count))] if end else []
        return Window(times, [np.zeros((4, 4, 3), np.uint8)] * len(times))


class FakeModel:
    """A prediction at T frames lasts T times `second_per_frame`."""

    def __init__(self, feed, second_per_frame):
        self.feed, self.cost = feed, second_per_frame

    def gflops(self, num_frames, size=0):
        return float(num_frames)

    def predict(self, video, frames, *, size, topk):
        self.feed.time += frames * self.cost
        rate = Rate(frames, size or 0)
        return Prediction(video.path, rate, frames, 4, (), ("a",), (1.0,), (0,), 1.0, 1.0, 1.0)


RATES = [Rate(2), Rate(4), Rate(8)]


def seen(length, cost, hop=0.5, rates=RATES, caller=0.0):
    feed = FakeFeed(length)
    found = []
    for window in watch(FakeModel(feed, cost), feed, hop, rates):
        feed.time += caller
        found.append(window)
    return found


def ends(found):
    return [round(one.window.times[-1], 3) for one in found]


def test_windows_end_a_hop_apart_while_the_machine_keeps_up():
    found = seen(4.0, cost=0.01)
    assert ends(found) == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert {one.prediction.num_frames for one in found} == {8}
    assert {one.missed for one in found} == {0}
    assert found[0].load == pytest.approx(0.16)
    assert found[1].prediction.name == "0.5-2.5 s"
    assert found[1].window.video.fps == pytest.approx(10)


def test_a_slow_machine_goes_down_and_then_misses_nothing():
    found = seen(12.0, cost=0.1)  # 0.8 s at 8 frames, 0.4 s at 4
    assert [one.prediction.num_frames for one in found[:4]] == [8, 4, 4, 4]
    assert ends(found)[:4] == [2.0, 2.8, 3.2, 3.6]
    assert ends(found)[-3:] == [11.0, 11.5, 12.0]
    assert sum(one.missed for one in found) == 0


def test_windows_that_came_during_long_work_are_left_out():
    found = seen(20.0, cost=0.8, rates=[Rate(2)])  # 1.6 s each: three hops
    assert ends(found)[:3] == [2.0, 3.6, 5.2]
    assert [one.missed for one in found][:3] == [0, 2, 2]
    lags = [one.window.times[-1] - (2.0 + 1.6 * i) for i, one in enumerate(found)]
    assert max(lags) < 0.01  # always the newest


def test_what_the_caller_does_between_windows_counts_too():
    quick = seen(12.0, cost=0.01)
    slow = seen(12.0, cost=0.01, caller=0.47)
    assert {one.prediction.num_frames for one in quick} == {8}
    assert {one.prediction.num_frames for one in slow[3:]} <= {2, 4}
    assert slow[0].load == quick[0].load


def test_a_video_shorter_than_a_window_is_seen_once():
    found = seen(1.0, cost=0.01)
    assert ends(found) == [1.0]
    assert seen(0.0, cost=0.01) == []


def test_no_time_between_windows_and_no_time_in_them_are_refused():
    with pytest.raises(ValueError, match="hop=0 and a window of 2.0 seconds must be above 0"):
        seen(4.0, cost=0.01, hop=0)
    with pytest.raises(ValueError, match="must be above 0"):
        next(watch(FakeModel(None, 0.1), FakeFeed(4.0, seconds=-1), 0.5, RATES))


# ---------------------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path, "FFN.SIZES", [8, 16])
    return slowfast.load(path)


def test_rates_of_a_stream_are_those_within_the_budget(model):
    assert rates_within(model) == list(model.rates)
    assert rates_within(model, frames=3) == [Rate(3, 16)]
    assert rates_within(model, size=8) == [Rate(2, 8), Rate(4, 8)]
    assert rates_within(model, size=11) == [Rate(2, 11), Rate(4, 11)]
    assert rates_within(model, budget_gflops=model.gflops(4, 8)) == [Rate(2, 8), Rate(4, 8)]
    with pytest.raises(NothingFits):
        rates_within(model, budget_gflops=1e-9)


def unpaced(path, seconds):
    return LiveFeed(av.open(str(path)), seconds, paced=False)


def test_a_feed_holds_the_newest_seconds_and_ends(tmp_path):
    path = write_grey_video(tmp_path / "grey.mp4", 20)  # a second
    with unpaced(path, 0.3) as feed:
        assert feed.fps == 20 and feed.wait(0.95) and not feed.wait(1.2)
        window = feed.window()
    assert window.times == pytest.approx([0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
    video = window.video
    assert read_indices(video.frames(range(7))) == list(range(13, 20))
    assert (round(video.fps, 3), video.path) == (20, "0.7-0.9 s")


def test_a_file_is_played_at_its_own_pace(tmp_path, monkeypatch):
    slept = []

    class Stop:
        def wait(self, seconds):
            slept.append(seconds)

        def set(self):
            pass

    monkeypatch.setattr(stream.time, "monotonic", lambda: 100.0)
    path = write_grey_video(tmp_path / "grey.mp4", 5)
    for feed, expected in {
        open_feed(path, 1.0): [0, 0.05, 0.1, 0.15, 0.2],
        unpaced(path, 1.0): [0] * 5,
    }.items():
        slept.clear()
        feed._stop = Stop()
        with feed:
            feed.wait(99)
        assert slept == pytest.approx(expected)


def test_a_stream_of_a_file_is_predicted_window_by_window(model, tmp_path):
    path = write_grey_video(tmp_path / "grey.mp4", 20)
    with unpaced(path, 0.4) as feed:
        found = list(watch(model, feed, 0.25, list(model.rates), topk=2))
    assert found and found[0].prediction.rate == Rate(4, 16)
    assert len(found[0].prediction.labels) == 2


def test_trouble_in_the_middle_of_a_stream_comes_up_at_its_end(tmp_path):
    whole = write_grey_video(tmp_path / "grey.mkv", 40)
    with pytest.raises(VideoError, match="torn.mkv"), open_feed(tmp_path / "torn.mkv", 1.0):
        pass
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    with pytest.raises(VideoError, match="junk.mp4 is not a video file"):
        open_feed(tmp_path / "junk.mp4", 1.0)
    with unpaced(cut(whole, tmp_path / "torn.mkv", 0.7), 1.0) as feed:
        assert not feed.wait(99)
