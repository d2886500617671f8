"""Networks of 16 bits: half the memory, and on processors that know the format twice the speed."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from slowfast.models import final_logits

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What a CPU has that multiplies in a format; PyTorch converts to and fro where it has none.
_INSTRUCTIONS = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}


class ToLogits(nn.Module):
    """`net` in `dtype` as a function of float32 clips to float32 logits, the last of several exits.

    It is changed itself.  Norms and gains have to be in its weights before those lose their digits.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = net.to(dtype), dtype

    def forward(self, clip: Tensor) -> Tensor:
        return final_logits(self.net(clip.to(self.dtype))).float()


def check_precision(precision: str, device: torch.device) -> None:
    """Raises ValueError for an unknown one, and warns of one that `device` has to emulate."""
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if not is_native(precision, device):
        logger.warning(
            "this %s does not compute in %s itself: expect no gain, or a loss; use fp32",
            *(device.type, precision),
        )


def is_native(precision: str, device: torch.device) -> bool:
    """Whether `device` multiplies in that format, as far as PyTorch tells."""
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return precision == "fp32" or any(found.get(name) for name in _INSTRUCTIONS[precision])
    if device.type == "cuda" and precision == "bf16":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return True
