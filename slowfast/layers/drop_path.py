"""Stochastic depth (arXiv:1603.09382)."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, zeroes a residual branch for each sample with probability `p`; else passes it.

    What is kept is scaled by `1 / (1 - p)`.  Raises ValueError unless `0 <= p < 1`.
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"drop path probability {p} must be at least 0 and below 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(len(x), *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x * keep.bernoulli_(1 - self.p).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"{self.p}"
