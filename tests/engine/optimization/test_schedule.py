import json
from pathlib import Path

import pytest

from slowfast.config import get_cfg
from slowfast.engine.optimization.schedule import build_schedule

CASES = json.loads((Path(__file__).parents[2] / "fixtures/lr.json").read_text())["cases"]


def solver(**values):
    cfg = get_cfg()
    cfg.merge_from_list([item for key, v in values.items() for item in (f"SOLVER.{key}", v)])
    return cfg


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_learning_rates_equal_the_published_ones(case):
    schedule = build_schedule(solver(**case["solver"]))
    for epoch, expected in case["values"]:
        assert schedule(epoch) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_training_may_be_all_warm_up():
    warm_up = {"WARMUP_EPOCHS": 2.0, "WARMUP_START_LR": 0.0, "COSINE_AFTER_WARMUP": True}
    schedule = build_schedule(solver(BASE_LR=0.4, MAX_EPOCH=2, **warm_up))
    assert [schedule(epoch) for epoch in (0, 0.5, 1, 2)] == pytest.approx([0, 0.1, 0.2, 0.4])


def test_cosine_must_fall():
    with pytest.raises(ValueError, match="COSINE_END_LR=0.2 must lie below"):
        build_schedule(solver(BASE_LR=0.1, COSINE_END_LR=0.2))


def test_steps_must_start_at_zero():
    with pytest.raises(ValueError, match=r"SOLVER.STEPS=\[5, 9\] must start at 0"):
        build_schedule(solver(LR_POLICY="steps_with_relative_lrs", STEPS=[5, 9], LRS=[1, 0.1]))


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case["name"])
def test_all_learning_rates_grow_with_the_batch_where_a_reference_is_given(case):
    cfg = solver(**case["solver"], REFERENCE_BATCH_SIZE=64)
    cfg.TRAIN.BATCH_SIZE = 256
    schedule = build_schedule(cfg)
    for epoch, expected in case["values"]:
        assert schedule(epoch) == pytest.approx(4 * expected, rel=1e-9, abs=1e-12)


def test_without_a_reference_the_batch_changes_no_learning_rate():
    cfg = solver(BASE_LR=0.1)
    cfg.TRAIN.BATCH_SIZE = 1
    assert build_schedule(cfg)(0) == pytest.approx(0.1)
