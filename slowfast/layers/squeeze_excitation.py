"""Squeeze-and-excitation (arXiv:1709.01507)."""

from torch import Tensor, nn

from slowfast.layers.conv import Conv3d


def round_width(width: float, divisor: int = 8) -> int:
    """`width` to the nearest multiple of `divisor`, at least one and never below 90 % of it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class SqueezeExcitation(nn.Module):
    """Scales each channel of `(B, dim, T, H, W)` by a factor in (0, 1) learned from all means.

    `ratio` is the hidden width over `dim`, rounded to a multiple of 8.
    """

    def __init__(self, dim: int, ratio: float = 0.0625):
        super().__init__()
        hidden = round_width(dim * ratio)
        self.fc1 = Conv3d(dim, hidden, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = Conv3d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3, 4), keepdim=True)
        return x * self.fc2(self.relu(self.fc1(y))).sigmoid()
