"""A tiny study of both kinds of exits, from videos to its page."""

import pytest

from helpers.runs import tiny_cfg
from slowfast.datasets.motion import write_held_out
from slowfast.engine import run
from slowfast.engine.studies import exits
from slowfast.engine.studies.exits import ExitStudy

EXIT = (
    *("MODEL.MODEL_NAME", "FrameExit", "FFN.ENABLE", False, "FRAME_EXIT.BACKBONE", "R2Plus1D"),
    *("FRAME_EXIT.HIDDEN_DIM", 8, "FRAME_EXIT.GATE_DIMS", [4, 4], "TEST.NUM_FRAMES", [2, 4]),
)


@pytest.fixture(scope="module")
def data(motion, tmp_path_factory):
    return write_held_out(tmp_path_factory.mktemp("held") / "out", motion, 16, workers=1)


@pytest.fixture(autouse=True)
def members(monkeypatch):
    """The networks that were run, here in this process."""
    done = []

    def run_here(members, processes):
        for member in members:
            if not (member.folder / "results/test.json").exists():
                done.append(member.name)
                run(member.cfg)

    monkeypatch.setattr(exits, "run_members", run_here)
    return done


def study_of(data, folder, **how):
    once = ("SOLVER.MAX_EPOCH", 1)
    return ExitStudy(
        tiny_cfg(data, folder, *once),
        tiny_cfg(data, folder, *once, *EXIT),
        tiny_cfg(data, folder, *once, *EXIT, "FRAME_EXIT.STAGE", "gates"),
        seed=3,
        folder=folder,
        budget=0.8,
        betas=(0.5,),
        **how,
    )


def test_a_study_trains_tests_and_reports_both_networks(data, tmp_path, members):
    study = study_of(data, tmp_path / "runs")
    study.run()
    assert members == ["rates", "classifiers", "gates", "gates_0.5"]
    for record in study.records():
        assert record["calibration"]["videos"] == record["coverage"]["read"] == 16
        assert record["calibration"]["gflops"] <= 0.8001 * record["no_exit"]["gflops"]
    betas = {row["beta"]: row["thresholds"] for row in study.records()[0]["betas"]}
    assert betas == dict.fromkeys((0.0001, 0.5), [0.99, 0.5, 0.5])
    page, *_ = study.write(tmp_path / "out", "the command")
    text = page.read_text("utf-8")
    assert "32 training videos, 16 to choose thresholds on, 16 others to test" in text
    assert "decode" in text and "the command" in text
    study.run()
    assert len(members) == 4  # all were there
    # As for a demo that has run: its weights serve.
    again = study_of(data, tmp_path / "again", trained=study.folder / "rates").rates_member()
    assert not again.cfg.TRAIN.ENABLE
    assert again.cfg.TEST.CHECKPOINT_FILE_PATH.startswith(str(study.folder))


def test_weights_of_an_unfinished_run_are_not_taken(data, tmp_path):
    (tmp_path / "demo/checkpoints").mkdir(parents=True)
    member = study_of(data, tmp_path / "runs", trained=tmp_path / "demo").rates_member()
    assert member.cfg.TRAIN.ENABLE and not member.cfg.TEST.CHECKPOINT_FILE_PATH


def test_gates_wait_for_their_classifiers(data, tmp_path):
    with pytest.raises(ValueError, match="train the classifiers first"):
        study_of(data, tmp_path).gates_member()
