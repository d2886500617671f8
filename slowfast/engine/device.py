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
    device = device_of(cfg)
    if cfg.NUM_GPUS and device.type == "cpu":
        logger.info(
            "NUM_GPUS is %d but no CUDA device is visible: running on the CPU", cfg.NUM_GPUS
        )
    return device


def device_of(cfg: CfgNode, local_rank: int | None = None) -> torch.device:
    """What process `local_rank` of this machine computes on; alone, the present GPU or the CPU.

    Raises ValueError if there are GPUs and none is left for it.  A process that sees one GPU alone
    has that one, whichever its number.
    """
    if cfg.NUM_THREADS:
        torch.set_num_threads(cfg.NUM_THREADS)
    if not (cfg.NUM_GPUS and torch.cuda.is_available()):
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if local_rank is not None:
        if local_rank >= visible > 1:
            raise ValueError(
                f"process {local_rank} of this machine has no GPU: {visible} are visible; start "
                "one process per GPU, or set NUM_GPUS 0 for the CPU"
            )
        torch.cuda.set_device(local_rank % visible)
    return torch.device("cuda", torch.cuda.current_device())


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
