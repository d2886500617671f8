"""Where a run computes, and in which precision."""

import logging
from collections.abc import Callable
from functools import wraps

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

logger = logging.getLogger(__name__)

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(cfg: CfgNode) -> torch.device:
    """The GPU if NUM_GPUS asks for it and there is one, else the CPU (said in the log)."""
    if cfg.NUM_THREADS:
        torch.set_num_threads(cfg.NUM_THREADS)
    if cfg.NUM_GPUS and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if cfg.NUM_GPUS:
        logger.info(
            "NUM_GPUS is %d but no CUDA device is visible: running on the CPU", cfg.NUM_GPUS
        )
    return torch.device("cpu")


def autocast_forward(
    model: Callable[..., Tensor], device: torch.device, dtype: torch.dtype | None
) -> Callable[..., Tensor]:
    """`model` whose calls run under autocast to `dtype`; `model` itself if that is None."""
    if dtype is None:
        return model

    @wraps(model.__call__)
    def forward(*args: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype):
            return model(*args)

    return forward
