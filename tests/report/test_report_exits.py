"""The page of conditional inference, from a record made by hand."""

import re

import pytest
from matplotlib.lines import Line2D

from slowfast.report.exits import (
    exit_claims,
    exit_curves,
    exit_summary,
    histogram_table,
    latency_table,
    name_of,
    promise_table,
    result_table,
    write_exit_report,
)


def row(top1, gflops, frames=4.0, exits=(8, 1, 1), validation=None):
    found = {"top1": top1, "gflops": gflops, "gflops_published": gflops - 0.1, "frames": frames}
    found |= {"exits": list(exits), "thresholds": [0.5, 0.6]}
    if validation:
        found["validation"] = dict(zip(("accuracy", "gflops"), validation, strict=True))
    return found


@pytest.fixture
def record():
    return {
        "exit": "rates",
        "model": "TSM",
        "metric": "top1",
        "frames": [4, 8, 16],
        "thresholds": [0.5, 1.0],
        "calibration": {
            **{"asked": "target -1 %", "videos": 20, "same_as_test": False},
            **{"accuracy": 90.0, "gflops": 4.0, "accuracy_without": 91.0},
        },
        "coverage": {"videos": 11, "read": 10, "failures": []},
        "test": row(89.5, 4.0, 5.2),
        "no_exit": row(90.0, 10.0, 16.0, (0, 0, 10)),
        "by_exit": [
            {"frames": t, "top1": a, "gflops": g}
            for t, a, g in ((4, 80.0, 2.5), (8, 86.0, 5.0), (16, 90.0, 10.0))
        ],
        "fixed": [{"frames": 4, "top1": 79.0, "gflops": 2.5}],
        "curve": [
            row(80.0, 2.5, validation=(82.0, 2.6)),
            row(89.5, 4.0, validation=(90.0, 4.1)),
            row(88.0, 7.0, validation=(91.5, 6.9)),
        ],
        "sweep": [row(80.0, 2.5), row(90.0, 17.5)],
        "latency": {
            **{"batch": 32, "batched": 2.0, "single": 5.0},
            **{"batched_no_exit": 6.0, "single_no_exit": 9.0},
        },
    }


def texts(table):
    return [[cell.text for cell in line] for line in table.rows]


def test_the_summary_holds_accuracy_share_and_frames(record):
    assert exit_summary(record) == (
        "TSM-FFN, 4, 8 and 16 frames: 89.5 % with 40.0 % of the GFLOPs, where the network without "
        "exits has 90.0 % (−0.5 points); 5.2 of 16 frames on average. All videos at the first "
        "exit: 80.0 % with 25.0 %."
    )


@pytest.mark.parametrize(
    ("top1", "gflops", "holds"), [(89.0, 5.0, True), (88.9, 4.0, False), (90.0, 5.1, False)]
)
def test_the_claim_of_rates_is_a_point_at_half_the_cost(record, top1, gflops, holds):
    record["test"] = row(top1, gflops)
    (claim,) = exit_claims(record)
    assert claim.holds is holds and claim.value == pytest.approx(top1 - 90.0)


@pytest.mark.parametrize(("top1", "gflops", "holds"), [(88.5, 6.0, True), (88.4, 5.0, False)])
def test_the_claim_of_gates_is_one_and_a_half_at_six_tenths(record, top1, gflops, holds):
    record |= {"exit": "gates", "test": row(top1, gflops)}
    assert exit_claims(record)[0].holds is holds and name_of(record) == "FrameExit"


def test_results_stand_beside_those_at_fixed_counts(record):
    assert texts(result_table(record)) == [
        ["exits, chosen thresholds", "89.5", "5.2", "4", "40.0", "3.9"],
        ["no exits", "90.0", "16.0", "10", "100.0", "9.9"],
        ["4 frames, fixed", "79.0", "4", "2.5", "25.0", "–"],
    ]


def test_the_histogram_says_who_left_where(record):
    assert texts(histogram_table(record)) == [
        ["1", "4", "0.5000", "8", "80.0", "80.0"],
        ["2", "8", "never", "1", "10.0", "86.0"],
        ["3", "16", "–", "1", "10.0", "90.0"],
    ]


def test_what_was_kept_on_validation_videos_stands_beside_the_test(record):
    assert texts(promise_table(record)) == [
        ["0", "88.0", "−2.0", "70.0", "4.0"],
        ["0.5", "88.0", "−2.0", "70.0", "4.0"],
        ["1", "89.5", "−0.5", "40.0", "4.0"],
        ["2", "89.5", "−0.5", "40.0", "4.0"],
    ]


def test_latency_compares_one_by_one_with_a_batch(record):
    assert [line[1:] for line in texts(latency_table([record]))] == [
        ["5.00", "2.00", "2.5"],
        ["9.00", "6.00", "1.5"],
    ]


def test_the_figure_has_a_panel_per_network_with_its_curves(record):
    figure = exit_curves([record, record])
    assert len(figure.axes) == 2
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert all(isinstance(line, Line2D) for line in lines.values())
    assert list(lines["exits, calibrated"].get_xdata()) == [2.5, 4.0, 7.0]
    assert list(lines["exits, chosen"].get_ydata()) == [89.5]
    assert list(lines["no exits"].get_xdata()) == [10.0]


def test_the_page_needs_no_other_file(record, tmp_path):
    page, markdown, picture = write_exit_report(
        [record], tmp_path, "Early <exits>", {"Seed": "0"}, ["the command"]
    )
    text = page.read_text("utf-8")
    assert "Early &lt;exits&gt;" in text and "the command" in text
    assert "10/11 test videos read" in text and 'class="holds"' in text
    assert set(re.findall(r'src="([a-z]+):', text)) == {"data"}
    assert picture.stat().st_size > 1000
    assert "| exits, chosen thresholds | 89.5 |" in markdown.read_text("utf-8")


def test_given_thresholds_have_no_curve_and_no_calibration(record, tmp_path):
    record |= {"calibration": None, "curve": [], "sweep": []}
    page, *_ = write_exit_report([record], tmp_path, "Exits", {}, [])
    assert "given thresholds" in page.read_text("utf-8")


def test_gates_as_trained_are_shown_by_beta(record):
    record |= {"exit": "gates", "betas": [{"beta": 0.01, **row(85.0, 3.0)}]}
    assert texts(result_table(record))[2][:2] == ["gates as trained, β 0.01", "85.0"]
    lines = exit_curves([record]).axes[0].get_lines()
    assert "gates as trained, each β" in [line.get_label() for line in lines]
