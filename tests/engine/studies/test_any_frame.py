import re

import pytest

from helpers.runs import tiny_cfg
from slowfast.engine import run
from slowfast.engine.studies import any_frame
from slowfast.engine.studies.any_frame import AnyFrameStudy


def study_of(motion, folder, *overrides, separate=(3,)):
    cfg = tiny_cfg(motion, folder, "SOLVER.MAX_EPOCH", 1, *overrides)
    return AnyFrameStudy(cfg, [5], separate, folder)


def run_here(members, processes):
    """As the study does, but in this process; test_study.py starts others."""
    for member in members:
        run(member.cfg)


def test_a_study_trains_once_and_tests_every_rule(motion, tmp_path, monkeypatch):
    study = study_of(motion, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(any_frame, "run_members", run_here)
        study.run(processes=2)
    folders = {path.name for path in (tmp_path / "seed_5").iterdir()}
    rules = {"ffn_interpolated", "ffn_recalibrated", "ffn_interpolated_recalibrated"}
    assert folders == {"ffn", "plain_3", *rules}
    trained = {path.parent.name for path in (tmp_path / "seed_5").glob("*/metrics.jsonl")}
    assert trained == {"ffn", "plain_3"}
    text = study.markdown("the command")
    assert text.count("\n| ") == 1 + 1 + 4 + 1 and "| Private layers | 1 | 3 |" in text
    assert text.endswith("256 clips to recalibrate; seed 5. Made by `the command`.")
    times = [path.stat().st_mtime_ns for path in tmp_path.glob("seed_5/*/results/test.json")]
    study.run(processes=2)  # all are there
    again = [path.stat().st_mtime_ns for path in tmp_path.glob("seed_5/*/results/test.json")]
    assert times == again


def test_separate_networks_are_plain_ones_of_their_frame_count(motion, tmp_path):
    cfg = study_of(motion, tmp_path).plain(5, 3).cfg
    assert not cfg.FFN.ENABLE and cfg.DATA.NUM_FRAMES == 3 and cfg.RNG_SEED == 5


def test_a_study_of_a_plain_network_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="set FFN.ENABLE True"):
        study_of(motion, tmp_path, "FFN.ENABLE", False)


def test_a_study_of_several_sizes_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="one of frame counts alone"):
        study_of(motion, tmp_path, "TEST.SIZES", [8, 16])


def test_a_separate_count_that_is_not_tested_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match=re.escape("counts to compare at: [7]")):
        study_of(motion, tmp_path, separate=(3, 7))


def test_a_rule_without_a_trained_network_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="train that network first"):
        study_of(motion, tmp_path).rule(5, "interpolated")
