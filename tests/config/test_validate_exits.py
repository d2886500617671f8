import pytest

from slowfast.config import get_cfg
from slowfast.config.validate import check

RATES = {"TEST.EXIT": "rates", "TEST.EXIT_BUDGET": 1.0, "FFN.ENABLE": True}
ONE_VIEW = {"TEST.NUM_ENSEMBLE_VIEWS": 1, "TEST.NUM_SPATIAL_CROPS": 1}


def problem(**changes):
    cfg = get_cfg()
    pairs = {**RATES, **ONE_VIEW, **{key.replace("__", "."): v for key, v in changes.items()}}
    cfg.merge_from_list([word for pair in pairs.items() for word in pair])
    check(cfg, "test")


def test_one_way_to_thresholds_passes():
    problem()
    problem(TEST__EXIT_BUDGET=None, TEST__EXIT_TARGET=-1)
    problem(TEST__EXIT_BUDGET=None, TEST__EXIT_THRESHOLDS=[0.5, 0.9])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEST__EXIT": "gate"}, "none, gates or rates; did you mean 'gates'"),
        ({"TEST__EXIT": "gates"}, "needs MODEL.MODEL_NAME FrameExit"),
        ({"FFN__ENABLE": False}, "needs the rates of FFN.ENABLE True"),
        ({"TEST__EXIT_TARGET": 90.0}, "got TEST.EXIT_TARGET and TEST.EXIT_BUDGET"),
        ({"TEST__EXIT_BUDGET": None}, "got none"),
        ({"TEST__EXIT_BUDGET": 0}, "TEST.EXIT_BUDGET = 0 must be positive"),
        ({"TEST__EXIT_THRESHOLDS": [1.5]}, "TEST.EXIT_THRESHOLDS = .* must be 0 to 1"),
        ({"TEST__NUM_SPATIAL_CROPS": 3}, "takes one view of a video"),
        ({"MODEL__HEAD_ACT": "none"}, "needs scores to be sure of"),
    ],
)
def test_what_does_not_go_together_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        problem(**changes)
