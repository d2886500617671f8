"""Embeddings of positions on a grid of tokens along time, height and width, for grids of any size.

The functions return the very table they are given where its size fits already.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int, int]  # tokens along time, height and width


def resize_positions(table: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """The `(1, t*h*w, C)` embeddings of one grid for another: `(1, T*H*W, C)`.

    Bicubic in space, linear in time.  A table of time only has the grid (t, 1, 1), one of space
    only (1, h, w); rows of a class token stay outside.  ValueError if `table` does not fit `grid`.
    """
    (t, h, w), (new_t, new_h, new_w) = grid, new_grid
    if table.shape[1] != t * h * w:
        raise ValueError(
            f"position embeddings of shape {tuple(table.shape)} do not fit the grid {(t, h, w)}; "
            f"it takes (1, {t * h * w}, C)"
        )
    if (h, w) != (new_h, new_w):
        maps = table.reshape(t, h, w, -1).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, (new_h, new_w), mode="bicubic")
        table = maps.permute(0, 2, 3, 1).reshape(1, t * new_h * new_w, -1)
    if t != new_t:
        dim = table.shape[2]
        series = table.reshape(1, t, -1).transpose(1, 2)  # (1, H*W*C, t)
        series = F.interpolate(series, new_t, mode="linear")
        table = series.transpose(1, 2).reshape(1, -1, dim)
    return table


def resize_relative(table: Tensor, length: int) -> Tensor:
    """The `(2n - 1, C)` embeddings of relative positions stretched to `(length, C)`, linearly."""
    if len(table) == length:
        return table
    return F.interpolate(table.T.unsqueeze(0), length, mode="linear").squeeze(0).T


def relative_index(num_queries: int, num_keys: int, device: torch.device | None = None) -> Tensor:
    """Where in a table of relative positions each pair is found, `(queries, keys)` int64.

    Both lines of tokens cover the same extent, cut into `2 * max(queries, keys) - 1` distances.

    4 queries, 2 keys, table of 7:   query 0: 2 0    query 1: 3 1    query 2: 4 2    query 3: 5 3
    """
    size = max(num_queries, num_keys)
    queries = torch.arange(num_queries, device=device) * size // num_queries
    keys = torch.arange(num_keys - 1, -1, -1, device=device) * size // num_keys
    return queries[:, None] + keys


def sincos_positions(dim: int, grid: Sequence[int]) -> Tensor:
    """Fixed embeddings `(1, T*H*W, dim)`: a quarter of the channels for time, the rest for space.

    Of those of space the first half tells the column, the second the row.  Each part holds the
    sines, then the cosines, at frequencies from 1 down to 1/10000.  ValueError unless 16 divides
    `dim`.  MAE, arXiv:2205.09113.
    """
    if dim % 16:
        raise ValueError(f"{dim} channels cannot hold sines and cosines; take a multiple of 16")
    time, rows, columns = (torch.arange(n, dtype=torch.float64) for n in grid)
    time, rows, columns = torch.meshgrid(time, rows, columns, indexing="ij")
    parts = (_waves(time, dim // 4), _waves(columns, dim * 3 // 8), _waves(rows, dim * 3 // 8))
    return torch.cat(parts, dim=-1).reshape(1, -1, dim).float()


def _waves(positions: Tensor, dim: int) -> Tensor:
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
