"""What a training starts from: the weights of another one, or all that its checkpoint holds."""

import logging
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.weights import load_weights

logger = logging.getLogger(__name__)

# What a checkpoint of `Training` has and no other program's.
_OURS = {"model_state", "optimizer_state", "loader_state", "steps"}


def load_start(model: nn.Module, cfg: CfgNode) -> dict[str, Any]:
    """Loads TRAIN.CHECKPOINT_FILE_PATH into `model`; what the training goes on with besides.

    That is nothing, {}, with TRAIN.CHECKPOINT_EPOCH_RESET or without a file.  Else it is the whole
    state of a checkpoint of this project, for `Training.load_state_dict`; {"epoch": epochs done} of
    PySlowFast's, whose optimiser has its parameters in another order; and {} of other files.
    Raises ValueError for weights that do not fit, and for a state that has another classifier.
    """
    path = cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        return {}
    loaded = load_weights(model, path, new_head=cfg.TRAIN.CHECKPOINT_NEW_HEAD)
    logger.info("weights of %s\n%s", path, loaded.table())
    if cfg.TRAIN.CHECKPOINT_EPOCH_RESET:
        return {}
    state = _checkpoint(Path(path))
    if loaded.mismatched and state:
        raise ValueError(
            f"TRAIN.CHECKPOINT_EPOCH_RESET False goes on with the training of {path}, which had "
            "another classifier; set it True to start a training with its weights"
        )
    if state.keys() >= _OURS:
        logger.info("training goes on where %s was written", path)
        return state
    if "model_state" in state and isinstance(state.get("epoch"), int):
        # PySlowFast counts from 0, and so stores the number of the epoch just trained.
        epoch = state["epoch"] + ("rng_state" not in state)
        logger.info("training goes on after %d epochs of %s, its optimiser anew", epoch, path)
        return {"epoch": epoch}
    logger.info("%s holds weights alone: training starts at its first epoch", path)
    return {}


def _checkpoint(path: Path) -> dict[str, Any]:
    """What a file of torch holds at its top; {} if it is another kind of file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # `load_weights` has read it, so that it is none of torch's, or not only
        return {}
    return state if isinstance(state, dict) else {}
