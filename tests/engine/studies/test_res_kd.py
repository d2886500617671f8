import json
from dataclasses import replace

import pytest

from helpers.runs import tiny_cfg
from slowfast.engine import run
from slowfast.engine.studies import res_kd
from slowfast.engine.studies.res_kd import ResolutionStudy

PLAIN = ("FFN.ENABLE", False, "DATA.NUM_FRAMES", 2, "TEST.NUM_FRAMES", [2], "SOLVER.MAX_EPOCH", 1)
SMALL = ("DATA.TRAIN_JITTER_SCALES", [8, 9], "DATA.TRAIN_CROP_SIZE", 8, "DATA.TEST_CROP_SIZE", 8)


def study_of(motion, folder, *student):
    teacher = tiny_cfg(motion, folder, *PLAIN)
    alone = tiny_cfg(motion, folder, *PLAIN, *SMALL)
    yaml = folder / "teacher.yaml"
    yaml.write_text(teacher.dump())
    distilled = tiny_cfg(
        *(motion, folder, *PLAIN, "OBJECTIVE.NAME", "distill", "DISTILL.TEACHER_CFG", str(yaml)),
        *("DISTILL.STUDENT_SIZE", 8, "DATA.TEST_CROP_SIZE", 8, *student),
    )
    return ResolutionStudy(teacher, alone, distilled, [5], folder / "runs")


def run_here(members, processes):
    """As the study does, but in this process; test_study.py starts others."""
    for member in members:
        if not (member.folder / "results/test.json").exists():
            member.folder.mkdir(parents=True, exist_ok=True)
            (member.folder / "config.yaml").write_text(member.cfg.dump())
            run(member.cfg)


@pytest.fixture(scope="module")
def finished(motion, tmp_path_factory):
    study = study_of(motion, tmp_path_factory.mktemp("study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(res_kd, "run_members", run_here)
        study.run(processes=1)
    return study


def test_a_study_trains_a_teacher_and_two_students_of_a_seed(finished):
    folder = finished.folder / "seed_5"
    assert {path.name for path in folder.iterdir()} == {"teacher", "alone", "distilled"}
    learned = finished.distilled_of(5).cfg.DISTILL.TEACHER_WEIGHTS
    assert learned.startswith(str(folder / "teacher/checkpoints"))


def test_its_report_compares_the_three(finished):
    report = finished.report(["the command"])
    assert [report.size(role) for role in ("teacher", "alone", "distilled")] == [16, 8, 8]
    assert report.gflops["alone"] == report.gflops["distilled"] < report.gflops["teacher"]
    assert [epoch for epoch, _ in report.curves["distilled"][0]] == [1]
    test = json.loads((finished.folder / "seed_5/alone/results/test.json").read_text())
    assert report.values("alone") == [test["by_frames"]["2"]["top1"]]
    assert report.facts["Epochs"] == "1, for all networks"


def test_a_student_alone_may_have_a_teacher_of_no_weight(finished):
    alone = finished.distilled.clone()
    alone.defrost()
    alone.DISTILL.WEIGHT = 0.0
    student = replace(finished, alone=alone).alone_of(5).cfg
    assert student.DISTILL.TEACHER_WEIGHTS == finished.distilled_of(5).cfg.DISTILL.TEACHER_WEIGHTS
    with pytest.raises(ValueError, match="the other none"):
        replace(finished, alone=finished.distilled)


def test_a_student_without_its_teacher_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="train the teacher first"):
        study_of(motion, tmp_path).distilled_of(5)


def test_networks_with_another_schedule_are_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="all networks must have one SOLVER"):
        study_of(motion, tmp_path, "SOLVER.MAX_EPOCH", 2)


@pytest.mark.parametrize("key", ["TEST.NUM_FRAMES", "TEST.SIZES"])
def test_tests_that_the_report_cannot_compare_are_refused(motion, tmp_path, key):
    with pytest.raises(ValueError, match="its one frame count and size"):
        study_of(motion, tmp_path, key, [2, 4])


def test_students_of_other_sizes_are_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="must see one size"):
        study_of(motion, tmp_path, "DISTILL.STUDENT_SIZE", 4)
