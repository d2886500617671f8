"""Claims against accuracies chosen so that each one just holds or just fails."""

import dataclasses

import pytest

from slowfast.report import claims


def with_accuracy(report, trained, **changes):
    """The report with one network's accuracy replaced at `at_N=value`, alike for all seeds."""
    values = {int(key.removeprefix("at_")): [value] * 3 for key, value in changes.items()}
    runs = [
        dataclasses.replace(run, accuracy={**run.accuracy, **values})
        if run.trained == trained
        else run
        for run in report.runs
    ]
    return dataclasses.replace(report, runs=tuple(runs))


@pytest.fixture
def exact(report):
    """Round numbers at 4, 8 and 16 frames; FFN 1 point above high at every untrained count."""
    report = with_accuracy(report, (4,), at_4=80.0)
    report = with_accuracy(report, (8,), at_8=90.0)
    report = with_accuracy(report, (16,), at_2=10.0, at_4=30.0, at_6=40.0, at_8=70.0)
    report = with_accuracy(report, (16,), at_10=80.0, at_12=85.0, at_16=95.0)
    report = with_accuracy(report, (4, 8, 16), at_2=11.0, at_4=80.0, at_6=41.0, at_8=90.0)
    return with_accuracy(report, (4, 8, 16), at_10=81.0, at_12=86.0, at_16=95.0)


def outcome(report) -> list[tuple[float, bool]]:
    return [(pytest.approx(claim.value), claim.holds) for claim in claims(report)]


def test_claims_are_deviation_then_trained_rates_then_untrained_counts(exact):
    deviation = [(95 - 30, True), (80 - 30, True)]
    assert outcome(exact) == deviation + [(0.0, True)] * 3 + [(1.0, True)] * 4


def test_a_high_network_that_loses_less_than_25_points_shows_no_deviation(exact):
    shallow = with_accuracy(exact, (16,), at_4=70.1)
    assert outcome(shallow)[:2] == [(24.9, False), (9.9, False)]


def test_ffn_two_points_below_a_separate_network_still_holds(exact):
    assert outcome(with_accuracy(exact, (4, 8, 16), at_8=88.0))[3] == (-2.0, True)


def test_ffn_more_than_two_points_below_a_separate_network_fails(exact):
    assert outcome(with_accuracy(exact, (4, 8, 16), at_8=87.9))[3] == (-2.1, False)


def test_ffn_equal_to_the_high_network_at_an_untrained_count_is_not_above(exact):
    assert outcome(with_accuracy(exact, (4, 8, 16), at_6=40.0))[6] == (0.0, False)


def test_claims_use_the_mean_over_seeds(exact):
    runs = [dataclasses.replace(run) for run in exact.runs]
    runs[3].accuracy[8] = [84.0, 90.0, 93.0]
    assert outcome(dataclasses.replace(exact, runs=tuple(runs)))[3] == (-1.0, True)
