"""Self-attention inside the windows of a grid of tokens (Video Swin, arXiv:2106.13230).

Maps are `(B, T, H, W, C)`, cut maps `(B, windows, tokens of one, C)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int, int]  # along time, height and width
APART = -100.0  # what is added to the scores of tokens that are no neighbours, as published


class Windows(NamedTuple):
    """Windows of `size` tokens over the map, which is first moved back by `shift` tokens.

    `apart` `(windows, tokens, tokens)` is added to the scores; None where all may see each other.
    """

    size: Size
    shift: Size
    apart: Tensor | None = None


def fit_windows(grid: Sequence[int], size: Sequence[int]) -> tuple[Size, Size]:
    """The size of the windows on a grid and the shift of every second block.

    Half a window; along an axis that is no longer than a window the window is the axis and stays.
    """
    fitted = tuple(min(n, w) for n, w in zip(grid, size, strict=True))
    shift = tuple(w // 2 if n > w else 0 for n, w in zip(grid, size, strict=True))
    return fitted, shift


def cut(x: Tensor, windows: Windows) -> Tensor:
    """The windows of a map, filled up with zeros to whole ones and then shifted."""
    _, *grid, _ = x.shape
    missing = [-n % w for n, w in zip(grid, windows.size, strict=True)]
    if any(missing):
        x = F.pad(x, (0, 0, *(side for m in reversed(missing) for side in (0, m))))
    if any(windows.shift):
        x = x.roll([-s for s in windows.shift], (1, 2, 3))
    for axis, side in zip((1, 3, 5), windows.size, strict=True):
        x = x.unflatten(axis, (-1, side))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def join(x: Tensor, windows: Windows, grid: Sequence[int]) -> Tensor:
    """The map `(B, *grid, C)` that `cut` made these windows of."""
    counts = [-(-n // w) for n, w in zip(grid, windows.size, strict=True)]
    x = x.unflatten(2, windows.size).unflatten(1, counts)
    x = x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
    if any(windows.shift):
        x = x.roll(windows.shift, (1, 2, 3))
    t, h, w = grid
    return x[:, :t, :h, :w]


def shifted(grid: Sequence[int], size: Size, shift: Size, like: Tensor) -> Windows:
    """Windows in which tokens see those alone that were beside them before the shift.

    Along each axis the last window holds what the shift has brought there from the other end:

    8 tokens in windows of 4, shifted by 2:  [2 3 4 5][6 7|0 1]
    """
    sides = [n + -n % w for n, w in zip(grid, size, strict=True)]
    place = torch.zeros(1, 1, 1, device=like.device, dtype=torch.long)
    for axis, (n, w, s) in enumerate(zip(sides, size, shift, strict=True)):
        at = torch.arange(n, device=like.device)
        part = (at >= n - w).long() + (at >= n - s).long() if s else torch.zeros_like(at)
        place = 3 * place + part.view([-1 if i == axis else 1 for i in range(3)])
    parts = cut(place[None, ..., None], Windows(size, (0, 0, 0)))[0, :, :, 0]
    apart = (parts.unsqueeze(1) != parts.unsqueeze(2)) * APART
    return Windows(size, shift, apart.to(like.dtype))


def window_index(size: Sequence[int]) -> Tensor:
    """Where in a table of relative positions each pair of a window is found, `(N, N)` int64.

    The table has a row for each of the `2n - 1` distances along every axis, the last axis fastest.
    """
    axes = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    index = torch.zeros((), dtype=torch.long)
    for at, n in zip(axes, size, strict=True):
        at = at.flatten()
        index = index * (2 * n - 1) + at.unsqueeze(1) - at.unsqueeze(0) + n - 1
    return index


class WindowAttention(nn.Module):
    """Multi-head self-attention in each of the cut windows, with a bias per relative position.

    The bias has a row for each pair of places in a whole window of `size` tokens.  A smaller window
    of N tokens takes the biases of the first N tokens of a whole one.  That is right where only its
    time is shorter; a row of 4 tokens in a window of 7 runs on in the next row, so that distances
    are mixed up.  Published weights are trained like that.  Raises ValueError if the heads do not
    divide `dim`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        size: Sequence[int],
        qkv_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.num_heads, self.attention_dropout = num_heads, attention_dropout
        rows = torch.tensor([2 * n - 1 for n in size], device="cpu").prod().item()
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, index: Tensor, apart: Tensor | None = None) -> Tensor:
        """Of cut windows; `index` is `window_index` of a whole one, `apart` that of `Windows`."""
        num_windows, num_tokens = x.shape[1:3]
        qkv = self.qkv(x).unflatten(3, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each (B, windows, heads, tokens, C / heads)
        pairs = index[:num_tokens, :num_tokens].flatten()
        bias = self.relative_position_bias_table[pairs].to(q.dtype)
        bias = bias.view(num_tokens, num_tokens, -1).permute(2, 0, 1)
        # The fast kernels take four dimensions: the windows stand by the videos if all have one
        # bias, and by the heads if each has its own.
        together = (0, 1)
        if apart is not None:
            together = (1, 2)
            bias = (bias + apart.to(q.dtype).unsqueeze(1)).flatten(0, 1)
        q, k, v = (part.flatten(*together) for part in (q, k, v))
        dropout = self.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, bias.unsqueeze(0), dropout_p=dropout)
        y = y.unflatten(together[0], (-1, (num_windows, self.num_heads)[together[0]]))
        return self.proj_drop(self.proj(y.transpose(2, 3).flatten(3)))
