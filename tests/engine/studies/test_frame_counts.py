import threading

import pytest

from helpers.runs import tiny_cfg
from slowfast.engine.studies import members as running
from slowfast.engine.studies.frame_counts import build_report, members
from slowfast.engine.studies.members import run_members
from slowfast.report import claims, write_report


@pytest.fixture(scope="module")
def study(motion, tmp_path_factory):
    """The members of a finished study of one seed."""
    folder = tmp_path_factory.mktemp("study")
    found = members(tiny_cfg(motion, folder, "SOLVER.MAX_EPOCH", 1), seed=3, folder=folder)
    run_members(found, processes=2)
    return found


def test_a_study_is_one_flexible_network_and_a_plain_twin_per_rate(motion, tmp_path):
    found = members(tiny_cfg(motion, tmp_path), seed=3, folder=tmp_path)
    assert [member.name for member in found] == ["ffn", "plain_4", "plain_2"]
    assert all(member.cfg.RNG_SEED == 3 for member in found)


def test_twins_differ_in_nothing_but_the_frame_count(motion, tmp_path):
    ffn, high, low = (
        member.cfg.clone() for member in members(tiny_cfg(motion, tmp_path), 0, tmp_path)
    )
    for cfg in (ffn, high, low):
        cfg.defrost()
        cfg.merge_from_list(["OUTPUT_DIR", "", "FFN.ENABLE", False, "DATA.NUM_FRAMES", 1])
    assert ffn.dump() == high.dump() == low.dump()


def test_a_study_of_a_plain_network_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="set FFN.ENABLE True"):
        members(tiny_cfg(motion, tmp_path, "FFN.ENABLE", False), 0, tmp_path)


@pytest.mark.parametrize("key", ["FFN.SIZES", "TEST.SIZES"])
def test_a_study_of_frame_counts_refuses_sizes_before_it_trains(motion, tmp_path, key):
    with pytest.raises(ValueError, match="tools/size_study.py is one of sizes"):
        members(tiny_cfg(motion, tmp_path, key, [8, 16]), 0, tmp_path)


def test_the_report_holds_every_network_at_every_frame_count(study, tmp_path):
    report = build_report({3: study}, "a study", ["make study"])
    assert report.rates == (2, 4) and report.tested == (1, 2, 3, 4)
    assert {run.name for run in report.runs} == {"FFN", "trained at 2", "trained at 4"}
    assert all(run.costs[4].gflops > run.costs[2].gflops for run in report.runs)
    assert len(claims(report)) == 2 + 2 + 2  # deviation, trained rates, untrained counts 1 and 3
    assert (tmp_path / "report.html") in write_report(report, tmp_path)


def test_finished_networks_are_not_trained_again(study):
    before = (study[0].folder / "metrics.jsonl").read_text()
    run_members(study, processes=1)
    assert (study[0].folder / "metrics.jsonl").read_text() == before


def test_a_network_that_fails_shows_its_own_error(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, "TRAIN.DATASET", "nonsense")
    with pytest.raises(ChildProcessError, match="no data set 'nonsense'"):
        run_members(members(cfg, 0, tmp_path)[:1], processes=1)


def test_after_ctrl_c_no_other_network_is_trained(motion, tmp_path, monkeypatch):
    started = []

    def run(member, _niceness):
        started.append(member.name)
        threading.Event().wait(0.5)  # while the others are called off

    def interrupted(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_run_in_process", run)
    monkeypatch.setattr(running.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_members(members(tiny_cfg(motion, tmp_path), 0, tmp_path), processes=1)
    assert started == ["ffn"]


def test_a_folder_of_another_configuration_is_refused(study, motion):
    changed = study[0].cfg.clone()
    changed.defrost()
    changed.SOLVER.BASE_LR = 0.2
    with pytest.raises(ValueError, match="another configuration"):
        run_members([type(study[0])(study[0].name, changed)], processes=1)
