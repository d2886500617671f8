"""A run small enough for a test: one narrow network on the motion data."""

from pathlib import Path

from slowfast.config import CfgNode, get_cfg

TINY = {
    "MODEL.MODEL_NAME": "R2Plus1D",
    "MODEL.NUM_CLASSES": 16,
    "MODEL.DROPOUT_RATE": 0.0,
    "R2PLUS1D.WIDTHS": [4, 8],
    "R2PLUS1D.BLOCKS": [1, 1],
    "FFN.ENABLE": True,
    "FFN.NUM_FRAMES": [2, 4],
    "DATA.NUM_FRAMES": 4,
    "DATA.RANDOM_FLIP": False,
    "DATA.TRAIN_JITTER_SCALES": [16, 20],
    "DATA.TRAIN_CROP_SIZE": 16,
    "DATA.TEST_CROP_SIZE": 16,
    "DATA_LOADER.NUM_WORKERS": 0,
    "TRAIN.DATASET": "motion",
    "TRAIN.BATCH_SIZE": 8,
    "TRAIN.EVAL_PERIOD": 1,
    "TRAIN.CHECKPOINT_PERIOD": 1,
    "TEST.DATASET": "motion",
    "TEST.NUM_FRAMES": [1, 2, 3, 4],
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "TEST.NUM_SPATIAL_CROPS": 1,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.BASE_LR": 0.05,
    "LOG_PERIOD": 2,
    "NUM_GPUS": 0,
}


def tiny_cfg(data: Path, output: Path, *overrides: object) -> CfgNode:
    """The configuration of a tiny run on the motion data in `data`, frozen."""
    cfg = get_cfg()
    pairs = [value for pair in TINY.items() for value in pair]
    cfg.merge_from_list(
        [*pairs, "DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(output), *overrides]
    )
    cfg.freeze()
    return cfg
