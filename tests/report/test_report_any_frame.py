import pytest

from slowfast.report.any_frame import any_frame_summary, any_frame_table
from slowfast.report.tables import to_markdown

RULES = ("nearest", "interpolated", "recalibrated", "interpolated_recalibrated")


def records(trained, top1_by_seed):
    """A test.json per seed with these accuracies by frame count."""
    return [
        {
            "metric": "top1",
            "trained": trained,
            "by_frames": {
                str(t): {"rule": "trained" if t in trained else "some rule", "top1": value}
                for t, value in top1.items()
            },
        }
        for top1 in top1_by_seed
    ]


@pytest.fixture
def rules():
    at_8 = {"nearest": 80, "interpolated": 90, "recalibrated": 85}
    return {
        rule: records([4, 16], [{4: 97, 8: at_8.get(rule, 92), 24: 90}, {4: 97, 8: 90, 24: 91}])
        for rule in RULES
    }


@pytest.fixture
def separate():
    return {8: records([8], [{4: 1, 8: 99, 24: 1}, {4: 1, 8: 97, 24: 1}])}


def test_the_table_has_a_row_per_rule_and_one_of_separate_networks_at_untrained_counts(
    rules, separate
):
    lines = to_markdown(any_frame_table(rules, separate)).splitlines()
    assert lines[0] == "Top-1 accuracy (%) at other frame counts of a network trained at 4 and 16"
    assert lines[2] == "| Private layers | 8 | 24 |"
    assert len(lines) == 4 + 4 + 1
    assert lines[4].startswith("| nearest (the paper's) | 85.0 ± 7.1 | **90.5 ± 0.7** |")
    assert lines[7].startswith("| interpolated and recalibrated | **91.0 ± 1.4** |")
    assert lines[8].endswith("| 98.0 ± 1.4 | – |")


def test_the_best_rule_is_bold_and_a_separate_network_never(rules, separate):
    table = any_frame_table(rules, separate)
    assert [row[1].best for row in table.rows] == [False, False, False, True, False]
    assert [row[2].best for row in table.rows] == [True, True, True, True, False]


def test_100_percent_is_better_than_99_and_10_better_than_9(separate):
    values = {"nearest": {8: 99.0, 24: 9.0}, "interpolated": {8: 100.0, 24: 10.0}}
    worst = {8: 0.0, 24: 0.0}
    rules = {rule: records([4, 16], [values.get(rule, worst)]) for rule in RULES}
    table = any_frame_table(rules, separate)
    for column in (1, 2):
        assert [row[column].best for row in table.rows] == [False, True, False, False, False]


def test_the_sentence_is_about_the_count_where_the_paper_loses_most(rules, separate):
    other = {24: records([24], [{24: 93}, {24: 93}])}
    sentence = any_frame_summary(rules, separate | other)
    assert sentence == (
        "At 8 frames, where the paper's rule loses most, the network is 13.0 (nearest (the "
        "paper's)), 8.0 (interpolated), 10.5 (recalibrated) and 7.0 (interpolated and "
        "recalibrated) points below the one trained for 8."
    )
