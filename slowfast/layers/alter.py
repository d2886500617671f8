"""Weight alteration of FFN (arXiv:2303.14817, section 3.3) as a mark and as the gain it becomes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.layers.conv import Conv2d, Conv3d

_fast = True


@contextmanager
def plain_gains() -> Iterator[None]:
    """Inside, every gain is computed as the paper writes it, and into no weight: the baseline."""
    global _fast
    before, _fast = _fast, False
    try:
        yield
    finally:
        _fast = before


class Alter(nn.Module):
    """Marks where the paper alters a block's input; passes `x` through until it is converted.

    `dim` is the number of channels (dimension 1 of `x`), `kernel_dims` the number of dimensions
    after it (3 for video, 2 for images).  No parameters, so plain checkpoints keep their names.
    """

    def __init__(self, dim: int, kernel_dims: int = 3) -> None:
        super().__init__()
        self.dim, self.kernel_dims = dim, kernel_dims

    def forward(self, x: Tensor) -> Tensor:
        return x

    def scale(self, weight: Tensor) -> Tensor:
        """The weight with which a convolution does to `x` what `weight` does to `forward(x)`."""
        return weight

    def extra_repr(self) -> str:
        return f"{self.dim}"


class Gain(nn.Module):
    """`x * (1 + w)` per channel: the paper's bias-free depthwise 1x1 convolution with its residual.

    `weight` is `(dim, 1, 1, ...)`, the shape of that convolution, and starts as N(0, 1e-3).
    """

    def __init__(self, dim: int, kernel_dims: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, 1, *[1] * kernel_dims) * 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        if not _fast:
            convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[self.weight.ndim]
            return x + convolve(x, self.weight, groups=len(self.weight))
        gain = 1 + self.weight.flatten()
        if x.device.type == "cpu" and x.ndim > 3 and torch.is_grad_enabled():
            # As a norm of mean 0 and variance 1: one pass forward, and one for both gradients.
            return F.batch_norm(x, torch.zeros_like(gain), torch.ones_like(gain), gain, eps=0.0)
        # bf16 cannot tell 1.001 from 1: multiply in the weight's precision, keep the type of x.
        return (x * gain.unflatten(0, (-1, *self.weight.shape[2:]))).to(x.dtype)

    def scale(self, weight: Tensor) -> Tensor:
        """The weight with which a convolution does to `x` what `weight` does to `forward(x)`.

        A pass over the weights instead of one over the activations, which need not be kept either.
        """
        return weight * (1 + self.weight.transpose(0, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}"


def altered(layer: Conv2d | Conv3d, alter: Alter | Gain, x: Tensor) -> Tensor:
    """`layer(alter(x))`, by altering the smaller of weight and input."""
    if not _fast or x.numel() < layer.weight.numel():
        return layer(alter(x))
    return layer(x, alter.scale(layer.weight))
