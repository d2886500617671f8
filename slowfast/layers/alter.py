"""Weight alteration of FFN (arXiv:2303.14817, section 3.3) as a mark and as the gain it becomes."""

import torch
from torch import Tensor, nn


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
        gain = 1 + self.weight.squeeze(1)  # (dim, 1, ...) broadcasts from the right
        # bf16 cannot tell 1.001 from 1: multiply in the weight's precision, keep the type of x.
        return (x * gain).to(x.dtype)

    def scale(self, weight: Tensor) -> Tensor:
        """The weight with which a convolution does to `x` what `weight` does to `forward(x)`.

        A pass over the weights instead of one over the activations, which need not be kept either.
        """
        return weight * (1 + self.weight.transpose(0, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}"
