"""The report of a distillation study, from made-up tests."""

import json
from dataclasses import replace

import pytest

from slowfast.report.publish import publish_document
from slowfast.report.res_kd import Distilled


def result(top1, crop):
    return {
        "metric": "top1",
        "crop": crop,
        "coverage": {"videos": 10, "read": 10, "failures": []},
        "by_frames": {"8": {"top1": top1}},
    }


ACCURACY = {"teacher": (32, [98.0, 96.0]), "alone": (8, [80.0, 74.0]), "distilled": (8, [91, 87])}


@pytest.fixture
def study():
    return Distilled(
        tests={role: [result(v, size) for v in vs] for role, (size, vs) in ACCURACY.items()},
        seeds=[3, 4],
        gflops={"teacher": 1.6, "alone": 0.1, "distilled": 0.1},
        curves={role: [[(1, 10.0), (2, vs[0])]] * 2 for role, (_, vs) in ACCURACY.items()},
        facts={"Epochs": "2"},
        commands=["the command"],
    )


def test_the_share_of_the_loss_that_is_won_back_is_of_the_means(study):
    assert (study.lost, study.won) == (20, 12)
    assert study.recovered == pytest.approx(60)
    loss, half = study.claims()
    assert loss.holds and loss.value == 20
    assert half.holds and half.value == pytest.approx(2)


@pytest.mark.parametrize("distilled, holds", [([87.0, 87.0], True), ([86.9, 87.0], False)])
def test_half_of_the_loss_is_promised(study, distilled, holds):
    tests = {**study.tests, "distilled": [result(value, 8) for value in distilled]}
    assert replace(study, tests=tests).claims()[1].holds is holds


def test_without_a_loss_nothing_is_recovered(study):
    tests = {**study.tests, "alone": [result(99.0, 8)] * 2}
    better = replace(study, tests=tests)
    assert better.recovered == 0
    assert not any(claim.holds for claim in better.claims())


def test_the_table_has_every_seed_and_the_better_student_bold(study):
    table = study.table()
    assert table.columns == ("Network", "Pixels", "GFLOPs", "seed 3", "seed 4", "Mean")
    assert [cell.text for cell in table.rows[1]][:5] == [
        "student alone",
        "8",
        "0.100",
        "80.0",
        "74.0",
    ]
    assert [row[-1].text for row in table.rows] == ["97.0 ± 1.4", "77.0 ± 4.2", "89.0 ± 2.8"]
    assert [row[-1].best for row in table.rows] == [False, False, True]


def test_all_files_of_the_report_are_written(study, tmp_path):
    page, markdown, record, picture = study.write(tmp_path / "out")
    assert "60 % of the loss is won back, at 16 times fewer" in page.read_text()
    assert "![" in markdown.read_text() and "the command" in markdown.read_text()
    kept = json.loads(record.read_text())
    assert kept["recovered_percent"] == pytest.approx(60) and kept["seeds"] == [3, 4]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("folder", ["written", "figures"])
def test_a_readme_gets_the_results_between_its_lines(study, tmp_path, folder):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- motion -->\nold\n<!-- /motion -->\nafter\n")
    *_, picture = study.write(tmp_path / folder)
    publish_document(study.document(picture), readme, "motion")
    text = readme.read_text()
    assert "](figures/reskd.png)" in text and "| student alone | 8 |" in text
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert (tmp_path / "figures/reskd.png").is_file()
