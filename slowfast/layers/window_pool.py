"""Average pooling behind the last stage: over everything, or over a sliding window."""

import torch.nn.functional as F
from torch import Tensor, nn


class WindowPool(nn.Module):
    """The mean over time and over a window of height and width: `(B, C, T, H, W)` to 5D again.

    `window=None` averages everything, `(B, C, 1, 1, 1)` for any clip length and crop.
    `window=(h, w)` slides with stride 1, as in the published dense test: `(B, C, 1, H-h+1, W-w+1)`.
    Raises ValueError if the window is larger than the map, or fits several times in training.
    """

    def __init__(self, window: tuple[int, int] | None = None):
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        if self.window is None:
            return x.mean((2, 3, 4), keepdim=True)
        height, width = x.shape[3:]
        if height < self.window[0] or width < self.window[1]:
            raise ValueError(
                f"head_window={self.window} is larger than the {height}x{width} map; "
                "give a crop of at least window * 32 pixels"
            )
        if self.training and (height, width) != self.window:
            positions = (height - self.window[0] + 1) * (width - self.window[1] + 1)
            raise ValueError(
                f"head_window={self.window} fits {positions} times on the training crop; "
                "train on window * 32 pixels, or pool everything with head_window=None"
            )
        return F.avg_pool2d(x.mean(2), self.window, stride=1).unsqueeze(2)

    def extra_repr(self) -> str:
        return f"{self.window}"


def per_position(x: Tensor) -> Tensor:
    """`(B, C, 1, h, w)` to `(B, h * w, C)`; to `(B, C)` if there is one position."""
    x = x.flatten(2)
    return x.squeeze(2) if x.shape[2] == 1 else x.transpose(1, 2)
