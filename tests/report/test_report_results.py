"""Reading the engine's test files, merging seeds, and the way to JSON and back."""

import dataclasses
import json

import pytest

from slowfast.report import Coverage, Report, Run


def result(top1=50.0, per_class=(100.0, 0.0), confusion=((2, 0), (2, 0)), **changes) -> dict:
    """One `test.json` of two classes, tested at 16 and 4 frames alike."""
    tested = {"rate": 16, "top1": top1, "top5": 100.0}
    tested |= {"per_class": list(per_class), "confusion": [list(row) for row in confusion]}
    plain = {"trained": [16], "parameters": 7, "views": [2, 3], "crop": 32, "num_classes": 2}
    coverage = {"videos": 4, "read": 4, "failures": []}
    return {**plain, "coverage": coverage, "by_frames": {"16": tested, "4": tested}, **changes}


def test_a_run_keeps_one_accuracy_per_seed_in_the_order_given():
    run = Run.from_tests([result(top1=50.0), result(top1=60.0)])
    assert run.accuracy == {4: [50.0, 60.0], 16: [50.0, 60.0]}


def test_a_run_lists_tested_counts_by_number_not_by_text():
    assert list(Run.from_tests([result()]).accuracy) == [4, 16]


def test_a_run_reads_files_as_well_as_their_contents(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps(result()))
    assert Run.from_tests([path]) == Run.from_tests([result()])


def test_confusion_is_summed_over_seeds():
    run = Run.from_tests([result(), result(confusion=((1, 1), (0, 2)))])
    assert run.confusion[4] == [[3, 1], [2, 2]]


def test_accuracy_per_class_is_averaged_over_the_seeds_that_saw_the_class():
    run = Run.from_tests([result(per_class=(100.0, None)), result(per_class=(50.0, 30.0))])
    assert run.per_class[16] == [75.0, 30.0]


def test_a_class_that_no_seed_saw_has_no_accuracy():
    assert Run.from_tests([result(per_class=(100.0, None))]).per_class[16] == [100.0, None]


def test_runs_name_themselves_by_what_they_were_trained_at():
    plain, flexible = Run.from_tests([result()]), Run.from_tests([result(trained=[4, 16])])
    assert (plain.name, plain.kind) == ("trained at 16", "plain")
    assert (flexible.name, flexible.kind) == ("FFN", "ffn")


def test_coverage_is_that_of_the_worst_seed_with_every_failure_once():
    failure = {"index": 1, "path": "a.mp4", "error": "truncated"}
    worse = result(coverage={"videos": 4, "read": 3, "failures": [failure]})
    run = Run.from_tests([result(), worse, worse])
    assert run.coverage == Coverage(4, 3, (failure,))


@pytest.mark.parametrize("change", [{"trained": [8]}, {"by_frames": {}}, {"num_classes": 3}])
def test_seeds_of_different_experiments_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Run.from_tests([result(), result(**change)])


def test_a_run_without_any_test_is_refused():
    with pytest.raises(ValueError, match="test.json"):
        Run.from_tests([])


def test_deviation_over_seeds_is_the_sample_one_and_zero_for_one_seed():
    three = Run.from_tests([result(top1=value) for value in (50.0, 60.0, 70.0)])
    assert (three.mean(4), three.std(4)) == (60.0, 10.0)
    assert Run.from_tests([result()]).std(4) == 0.0


def test_a_report_comes_back_equal_from_its_json(report, tmp_path):
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


def test_a_report_finds_its_networks_by_role(report):
    assert report.high.trained == (16,)
    assert report.separate(4).trained == (4,)
    assert report.ffn.trained == (4, 8, 16)


def test_a_report_orders_plain_networks_low_to_high_and_flexible_ones_last(report):
    shuffled = dataclasses.replace(report, runs=report.runs[::-1])
    assert [run.trained for run in shuffled.ordered] == [(4,), (8,), (16,), (4, 8, 16)]


def test_a_report_without_ffn_is_refused(report):
    with pytest.raises(ValueError, match="kind 'ffn'"):
        dataclasses.replace(report, runs=report.runs[:3])


def test_a_report_without_a_separate_network_is_refused_by_its_count(report):
    with pytest.raises(ValueError, match="trained at 8 frames"):
        dataclasses.replace(report, runs=(report.runs[0], *report.runs[2:]))


def test_a_report_with_an_untested_count_is_refused_by_run_and_count(report):
    with pytest.raises(ValueError, match=r"'trained at 4' was not tested at \[24\]"):
        dataclasses.replace(report, tested=(*report.tested, 24))
