"""The rows of `tools/benchmark.py exits` at a tiny size; no test measures time."""

import pytest

from slowfast.config import get_cfg
from slowfast.engine.benchmark import time_exits

SMALL = (
    *("MODEL.NUM_CLASSES", 5, "R2PLUS1D.WIDTHS", [4], "R2PLUS1D.BLOCKS", [1]),
    *("DATA.TEST_CROP_SIZE", 16, "DATA.NUM_FRAMES", 4, "FFN.NUM_FRAMES", [1, 2, 4]),
)
KINDS = {
    "rates": ("MODEL.MODEL_NAME", "R2Plus1D", "FFN.ENABLE", True),
    "gates": (
        *("MODEL.MODEL_NAME", "FrameExit", "FRAME_EXIT.BACKBONE", "R2Plus1D"),
        *("FRAME_EXIT.HIDDEN_DIM", 32, "FRAME_EXIT.GATE_DIMS", [16, 16]),
    ),
}


@pytest.mark.parametrize(
    ("kind", "frames", "left"), [("rates", "1/2/4", "4/2/2"), ("gates", "1/2/3/4", "4/2/1/1")]
)
def test_half_of_those_who_come_leave_at_each_exit(kind, frames, left):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, *KINDS[kind]])
    with_exits, without = time_exits(cfg, batch=8, repeats=1)
    assert (with_exits["exits"], with_exits["frames"], with_exits["videos"]) == (
        "yes",
        frames,
        left,
    )
    assert without["videos"].endswith("/8") and without["videos"].count("0") == frames.count("/")
    assert with_exits["faster"] == pytest.approx(with_exits["alone_ms"] / with_exits["batch_ms"])
