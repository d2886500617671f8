"""Thresholds from scores alone; expected values from a search over everything."""

from itertools import product

import pytest
import torch

from slowfast.engine.exits.calibrate import ExitTable, calibrate, front, sweep, tried
from slowfast.models.exits import NEVER
from slowfast.report.exit_cost import ExitCosts

# Rates of 1, 2 and 4 frames: a lower rate is asked, the last only answers.
RATES = ExitCosts((0.0, 0.0, 0.0), (1.0, 2.0, 0.0), (0.0, 0.0, 4.0))


def table_of(num_videos=60, costs=RATES, metric="top1", seed=0) -> ExitTable:
    """Exits that grow more accurate, with a confidence that says something of it."""
    generator = torch.Generator().manual_seed(seed)
    num_exits, num_classes = len(costs.step), 4
    labels = torch.randint(num_classes, (num_videos,), generator=generator)
    logits = torch.randn(num_videos, num_exits, num_classes, generator=generator)
    for exit in range(num_exits):
        logits[torch.arange(num_videos), exit, labels] += 1.0 + exit
    scores = logits.softmax(2)
    if metric == "map":
        labels = torch.nn.functional.one_hot(labels, num_classes).float()
    return ExitTable(scores, scores.amax(2), labels, costs, metric)


def by_hand(table: ExitTable, thresholds) -> tuple[float, float]:
    """Accuracy in percent and mean cost of the rates above, video by video."""
    right = cost = 0.0
    for video in range(len(table)):
        spent = 0.0
        for exit, (limit, price) in enumerate(zip([*thresholds, -1], (1, 2, 4), strict=True)):
            if limit >= NEVER:
                continue
            spent += price
            if table.confidences[video, exit] > limit:
                break
        right += bool(table.scores[video, exit].argmax() == table.labels[video])
        cost += spent
    return 100 * right / len(table), cost / len(table)


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.9, NEVER), (NEVER, 0.3), (NEVER, NEVER)])
def test_accuracy_and_cost_are_those_of_going_through_the_exits_by_hand(thresholds):
    table = table_of()
    accuracy, cost = by_hand(table, thresholds)
    point = table.at(thresholds)
    assert point.accuracy == pytest.approx(accuracy) and point.gflops == pytest.approx(cost)


def test_gates_cost_every_step_and_an_answer_only_at_the_exit():
    costs = ExitCosts(step=(10.0,) * 3, ask=(1.0, 2.0, 2.0), answer=(0.0, 1.0, 1.0))
    assert costs.of_exits([0.5, 0.5]) == [11, 24, 34]
    assert costs.of_exits([NEVER, 0.5]) == [10, 23, 33]
    assert costs.most == 31


def test_a_front_rises_in_cost_and_in_accuracy():
    points = front(table_of())
    for cheap, dear in zip(points, points[1:], strict=False):
        assert cheap.gflops < dear.gflops and cheap.accuracy < dear.accuracy


def test_no_thresholds_of_the_same_levels_are_better_than_the_front():
    table = table_of(num_videos=40)
    levels = 6
    shares = torch.linspace(1, 0, levels, dtype=torch.float64)
    grid = [
        [NEVER, *table.confidences[:, exit].double().quantile(shares).tolist(), -1.0]
        for exit in range(2)
    ]
    found = [by_hand(table, thresholds) for thresholds in product(*grid)]
    points = front(table, levels)
    for point in points:
        best = max(accuracy for accuracy, cost in found if cost <= point.gflops + 1e-9)
        # The paths are greedy: of 40 videos they may miss one.
        assert point.accuracy >= best - 2.5 - 1e-9


def test_the_target_is_met_at_the_least_cost_of_the_front():
    table = table_of()
    point = calibrate(table, target=80.0)
    assert point.accuracy >= 80
    cheaper = [p for p in front(table) if p.gflops < point.gflops]
    assert cheaper and all(p.accuracy < 80 for p in cheaper)


def test_a_target_of_zero_or_less_counts_from_the_accuracy_without_exits():
    table = table_of()
    whole, _ = by_hand(table, (NEVER, NEVER))
    assert calibrate(table, target=0.0).accuracy >= whole
    assert calibrate(table, target=-5.0) == calibrate(table, target=whole - 5.0)


def test_the_budget_is_kept_by_the_most_accurate_of_the_front():
    table = table_of()
    point = calibrate(table, budget=2.5)
    assert by_hand(table, point.thresholds)[1] == pytest.approx(point.gflops)
    assert point.gflops <= 2.5
    assert point.accuracy == max(p.accuracy for p in front(table) if p.gflops <= 2.5)


def test_of_equally_accurate_thresholds_the_surest_of_the_truth_are_taken():
    table = table_of()
    point = calibrate(table, budget=2.5)
    equal = [p for p in tried(table) if p.gflops <= 2.5 and p.accuracy == point.accuracy]
    assert len(equal) > 1 and point.score == max(p.score for p in equal)
    exits = table.exits(point.thresholds)
    by_hand = [float(table.scores[i, e, table.labels[i]]) for i, e in enumerate(exits.tolist())]
    assert point.score == pytest.approx(sum(by_hand) / 60)


@pytest.mark.parametrize("seed", range(2))
def test_more_accuracy_never_costs_less_and_more_budget_is_never_less_accurate(seed):
    table = table_of(seed=seed)
    targets = [calibrate(table, target=float(t), levels=8).gflops for t in range(70, 92, 2)]
    budgets = [calibrate(table, budget=b / 4, levels=8).accuracy for b in range(4, 20)]
    assert targets == sorted(targets) and budgets == sorted(budgets)


def test_a_target_beyond_all_thresholds_names_the_best():
    with pytest.raises(ValueError, match="out of reach: the best thresholds have"):
        calibrate(table_of(), target=100.0)


def test_a_budget_below_the_first_exit_names_the_cheapest():
    with pytest.raises(ValueError, match="the cheapest thresholds take 1; raise the budget"):
        calibrate(table_of(), budget=0.5)


def test_target_and_budget_together_are_refused():
    with pytest.raises(ValueError, match="either a target or a budget"):
        calibrate(table_of(), target=1.0, budget=1.0)


def test_precision_decides_where_it_is_the_metric():
    table = table_of(metric="map")
    points = front(table)
    for point in points:
        assert point.accuracy == pytest.approx(table.accuracy(table.exits(point.thresholds)))
    assert points[-1].accuracy >= table.unhurried.accuracy


def test_a_sweep_goes_from_the_first_exit_to_the_last():
    table = table_of()
    costs = [table.at(thresholds).gflops for thresholds in sweep(table, 10)]
    assert costs[0] == 1 and costs[-1] == 4 and costs[:-1] == sorted(costs[:-1])


def test_ten_exits_are_calibrated_along_one_path():
    steps = 10
    costs = ExitCosts((1.0,) * steps, (0.1,) * steps, (0.0,) * steps)
    table = table_of(costs=costs)
    point = calibrate(table, target=-2.0)
    assert point.gflops < 0.8 * costs.most
    assert len(point.thresholds) == 9


def test_a_network_of_one_exit_has_nothing_to_choose():
    table = table_of(costs=ExitCosts((0.0,), (0.0,), (4.0,)))
    assert sweep(table) == [()] and [p.thresholds for p in front(table)] == [()]
    assert calibrate(table, target=0.0) == table.unhurried
