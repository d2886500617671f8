"""Budgets: the dearest rate that fits, from what was measured where the network runs.

No test measures time: clocks tick as the tests say.
"""

import json
import logging
from itertools import count

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import slowfast
from helpers.recognizers import write_network
from slowfast.inference import Cost, Costs, NothingFits, budget
from slowfast.inference.budget import (
    Place,
    bound,
    check_budget,
    percentile_95,
    place,
    rising,
    timed_blocks,
)
from slowfast.models.flexible import Rate
from slowfast.weights import load, read_header, save, store_costs
from tools import measure

TABLE = Costs(
    {Rate(4): Cost(1.0, 10.0), Rate(8): Cost(2.0, 30.0), Rate(16): Cost(4.0, 20.0)},
    Place("a processor", 1, "2.0"),
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, milliseconds):
        """Something to run that lasts so long, one after the other."""
        left = iter(milliseconds)

        def run(*_):
            self.now += next(left) / 1e3

        return run


@pytest.fixture(autouse=True)
def no_memory_goes_through_the_caches(monkeypatch):
    monkeypatch.setattr(budget, "OTHER_MEMORY", 1)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "best.safetensors"
    write_network(path)
    return path


@pytest.fixture
def model(path):
    return slowfast.load(path)


def video(count=8):
    return torch.zeros(count, 16, 16, 3, dtype=torch.uint8)


# ---------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(
    ("gflops", "ms", "chosen"),
    [
        (1.0, None, 4),
        (3.9, None, 8),
        (99, None, 16),
        (None, 10, 4),
        (None, 20, 16),  # the dearest in GFLOPs, though another one takes longer
        (3, 25, 4),
        (3, 30, 8),
    ],
)
def test_the_dearest_rate_that_fits_all_budgets_is_chosen(gflops, ms, chosen):
    assert TABLE.choose(gflops, ms) == Rate(chosen)


@pytest.mark.parametrize(
    ("gflops", "ms", "words"),
    [
        (0.5, None, "nothing fits 0.5 GFLOPs: the cheapest rate, 4, takes 1 GFLOPs$"),
        (None, 9, "nothing fits 9 ms: .* 4, takes 1 GFLOPs and 10 ms .a processor, 1 thread, tor"),
        (0.5, 99, "nothing fits 0.5 GFLOPs and 99 ms: the cheapest rate, 4"),
    ],
)
def test_nothing_that_fits_is_said_with_the_cheapest_rate_and_its_cost(gflops, ms, words):
    with pytest.raises(NothingFits, match=words):
        TABLE.choose(gflops, ms)


@pytest.fixture
def sized(tmp_path):
    write_network(tmp_path / "best.safetensors", "FFN.SIZES", [8, 16])
    return slowfast.load(tmp_path / "best.safetensors")


def test_sizes_are_chosen_along_with_frames(sized):
    by_size = sized.gflops(4, 8), sized.gflops(2, 16), sized.gflops(4, 16)
    assert sized.choose(budget_gflops=by_size[0]) == Rate(4, 8)
    assert sized.choose(budget_gflops=by_size[1]) == Rate(2, 16)
    assert sized.choose(budget_gflops=by_size[2]) == Rate(4, 16)
    assert sized.choose(budget_gflops=by_size[2], frames=2) == Rate(2, 16)
    assert sized.choose(budget_gflops=by_size[2], size=8) == Rate(4, 8)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"size": 9}, "frames of 9 pixels; leave out size"),
        ({"frames": 3}, "3 frames; leave out frames"),
        ({"frames": 1, "size": 9}, "1 frame of 9 pixels; leave out frames or size"),
    ],
)
def test_a_budget_tells_what_no_trained_rate_has(sized, asked, told):
    rates = ", ".join(map(str, sized.rates))
    with pytest.raises(ValueError) as error:
        sized.choose(budget_gflops=1, **asked)
    said = f"a budget chooses among the trained rates, {rates}, and none has {told}"
    assert str(error.value) == said


def test_gflops_need_no_measuring(model, monkeypatch):
    monkeypatch.setattr(type(model), "measure", None)
    found = model.predict(video(), budget_gflops=model.gflops(2))
    assert (found.rate, found.num_frames) == (Rate(2), 2)
    with pytest.raises(NothingFits, match="the cheapest rate, 2, takes"):
        model.predict(video(), budget_gflops=0.9 * model.gflops(2))


# ---------------------------------------------------------------------------- measuring


def test_of_fifty_times_the_third_largest_is_the_95th_percentile():
    assert percentile_95(range(50)) == 47
    assert percentile_95([3, 1, 2]) == 3
    assert percentile_95(range(1, 101)) == 95


def test_a_bound_is_above_the_worst_block_by_as_much_as_blocks_differ():
    calm = [[10.0] * 50] * 5
    assert bound(calm) == pytest.approx(12.5)
    uneven = [[10.0] * 50, [10.0] * 50, [14.0] * 50]
    assert bound(uneven) == pytest.approx(14 * 1.4)
    two_outliers = [[10.0] * 48 + [99.0] * 2]
    assert bound(two_outliers) == pytest.approx(12.5)


def test_a_dearer_rate_is_not_taken_to_be_faster():
    bounds = {Rate(4): 3.0, Rate(8): 2.0, Rate(16): 5.0}
    assert rising(bounds) == {Rate(4): 3.0, Rate(8): 3.0, Rate(16): 5.0}


def test_rates_take_turns_and_the_first_three_are_not_counted():
    clock, order = Clock(), []

    def named(name):
        tick = clock.takes([500, 500] + [1.0] * 251)
        return lambda: (order.append(name), tick())

    blocks = timed_blocks({Rate(1): named("a"), Rate(2): named("b")}, clock, 10.0)
    assert order == ["a", "b"] * (3 + 5 * 50)
    assert max(ms for rate in blocks.values() for block in rate for ms in block) < 2


def test_a_slow_network_is_measured_fewer_times():
    clock = Clock()
    blocks = timed_blocks({Rate(1): clock.takes([1000.0] * 103)}, clock, seconds=100)
    assert [len(block) for block in blocks[Rate(1)]] == [20] * 5
    blocks = timed_blocks({Rate(1): clock.takes([1000.0] * 53)}, clock, seconds=1)
    assert [len(block) for block in blocks[Rate(1)]] == [10] * 5
    blocks = timed_blocks({Rate(1): clock.takes([1.0] * 253)}, clock, seconds=9)
    assert blocks == {Rate(1): [[pytest.approx(1.0)] * 50] * 5}


def slow(model, monkeypatch, ms, unrest=1.0):
    """Lets the step from pixels to scores last `ms` by frame count, from the 27th on `unrest` x."""
    clock, run, number = Clock(), model.run, count(1)

    def fake(pixels, size=0):
        clock.now += ms[len(pixels)] / 1e3 * (unrest if next(number) > 26 else 1)
        return run(pixels, size)

    monkeypatch.setattr(model, "clock", clock)
    monkeypatch.setattr(model, "run", fake)


def test_a_budget_in_ms_is_measured_once_and_says_how_to_keep_it(model, monkeypatch, caplog):
    slow(model, monkeypatch, {2: 10.0, 4: 20.0})
    monkeypatch.setattr(budget, "TURNS", 10)
    assert model.costs is None
    found = model.predict(video(), budget_ms=15)
    assert found.rate == Rate(2) and found.network_ms == pytest.approx(10)
    assert {rate: round(cost.ms, 6) for rate, cost in model.costs.rows.items()} == {
        Rate(2): 12.5,
        Rate(4): 25.0,
    }
    assert model.predict(video(), budget_ms=25.1).rate == Rate(4)
    with pytest.raises(NothingFits, match="nothing fits 9 ms: the cheapest rate, 2, .* 12.5 ms"):
        model.predict(video(), budget_ms=9)
    assert caplog.text.count("python tools/measure.py FILE") == 1


def test_a_prediction_that_takes_longer_than_its_budget_is_told(model, monkeypatch, caplog):
    model.tables = [costs_here(model, 1.0)]
    slow(model, monkeypatch, {2: 1.0, 4: 7.0})
    with caplog.at_level(logging.WARNING):
        found = model.predict(video(), budget_ms=5)
        model.predict(video(), budget_ms=5)
    assert found.network_ms == pytest.approx(7)
    assert caplog.text.count("took 7.0 ms, more than the budget of 5 ms") == 1


@pytest.mark.parametrize(("unrest", "told"), [(1.2, False), (1.5, True)])
def test_measuring_on_a_busy_machine_is_told(model, monkeypatch, caplog, unrest, told):
    # Two rates, three times to warm up and ten in a block: those after the first are faster.
    slow(model, monkeypatch, {2: 10.0, 4: 20.0}, 1 / unrest)
    monkeypatch.setattr(budget, "TURNS", 10)
    model.measure(10)
    assert (f"differed by up to {100 * (unrest - 1):.0f} %" in caplog.text) == told


def costs_here(model, ms, **changes):
    rows = {rate: Cost(model.gflops(*rate), ms) for rate in model.rates}
    return Costs(rows, place()._replace(**changes))


def test_a_table_of_another_place_or_other_rates_is_none(model):
    assert costs_here(model, 1.0).place == place()
    model.tables = [
        costs_here(model, 1.0, device="another"),
        costs_here(model, 1.0, threads=99),
        costs_here(model, 1.0, torch="0.1"),
        Costs({Rate(2): Cost(1.0, 1.0)}, place()),
    ]
    assert model.costs is None
    model.tables.append(costs_here(model, 2.0))
    assert model.costs == model.tables[-1]


# ---------------------------------------------------------------------------- in the file


def test_a_table_is_kept_in_the_file_and_nothing_else_changes(path, model):
    before, weights = read_header(path), load(path).state_dict()
    assert before.costs == ()
    store_costs(path, [TABLE.to_dict(), costs_here(model, 3.0).to_dict()])
    after = read_header(path)
    assert (after.cfg, after.labels, after.architecture) == (before.cfg, (), "R2Plus1D")
    again = slowfast.load(path)
    assert again.tables == [TABLE, costs_here(model, 3.0)] and again.costs.rows[Rate(2)].ms == 3
    state = again.net.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items())


def test_costs_are_saved_along_with_a_network(tmp_path, model):
    path = tmp_path / "other.safetensors"
    save(model.net, model.cfg, path, costs=[TABLE.to_dict()])
    assert slowfast.load(path).tables == [TABLE]


@pytest.mark.parametrize("costs", [3, [3], {"rates": []}])
def test_costs_of_another_type_are_a_damaged_description(path, costs):
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()["slowfast"]) | {"costs": costs}
    save_file(load_file(path), path, metadata={"slowfast": json.dumps(described)})
    with pytest.raises(ValueError, match="its description of the network is damaged"):
        slowfast.load(path)


def test_a_table_survives_json_and_a_damaged_one_is_refused():
    stored = json.loads(json.dumps(TABLE.to_dict()))
    assert Costs.from_dict(stored) == TABLE
    untimed = Costs({Rate(4, 112): Cost(1.5)})
    assert Costs.from_dict(untimed.to_dict()) == untimed
    with pytest.raises(ValueError, match="budget_ms needs times: .*tools/measure.py"):
        untimed.choose(budget_ms=3)
    for damaged in ({}, stored | {"rates": [{}]}, stored | {"rates": 3}, stored | {"threads": "x"}):
        with pytest.raises(ValueError, match="table of costs is damaged .*tools/measure.py"):
            Costs.from_dict(damaged)


# ---------------------------------------------------------------------------- the command


def test_the_command_measures_keeps_and_checks(path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "TURNS", 1)
    monkeypatch.setattr(budget, "FEWEST_TURNS", 1)
    assert measure.main([str(path), "--seconds", "0.1", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "GFLOPs" in out and f"kept in {path}" in out and str(place()) in out
    store_costs(path, [costs_here(slowfast.load(path), 60e3).to_dict()])  # one that is kept
    assert measure.main([str(path), "--check", "--clips", "2", "--device", "cpu"]) == 0
    *_, none, two, _four = capsys.readouterr().out.splitlines()
    assert "nothing fits 54000 ms: the cheapest rate, 2" in none
    assert two.split()[0] == "6e+04" and two.endswith("kept")


def test_a_budget_that_is_exceeded_ends_in_exit_code_1(path, capsys):
    store_costs(path, [costs_here(slowfast.load(path), 1e-6).to_dict()])
    videos = str(path.parent / "1.png")
    Image.new("RGB", (16, 16)).save(videos)
    argv = [str(path), "--check", "--clips", "2", "--device", "cpu", "--budgets", "1e-5"]
    assert measure.main([*argv, "--videos", videos]) == 1
    assert "EXCEEDED" in capsys.readouterr().out


def test_checking_without_a_table_says_to_measure(path, capsys):
    assert measure.main([str(path), "--check", "--device", "cpu"]) == 2
    assert "no table of this place; measure it first" in capsys.readouterr().err


def test_a_check_reports_the_median_and_the_95th_percentile():
    class Found:
        rate = Rate(4)

        def __init__(self, ms):
            self.network_ms = ms

    kept = check_budget(lambda ms, budget_ms: Found(ms), 47.0, range(50))
    assert (kept.median, kept.p95, kept.holds) == (24.5, 47, True)
    assert not check_budget(lambda ms, budget_ms: Found(ms), 46.9, range(50)).holds
