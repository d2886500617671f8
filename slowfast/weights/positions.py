"""Position tables of MViT and Video Swin for other clips or windows than they were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn

from slowfast.layers.position import Grid, resize_positions, resize_relative
from slowfast.models.mvit import MViT
from slowfast.models.video_swin import VideoSwin
from slowfast.weights.formats.base import Shape, State


def resize(net: nn.Module, state: State, expected: Mapping[str, Shape]) -> State:
    """`state` with the tables of an MViT or VideoSwin interpolated to the expected shapes.

    Published grids are square, so the number of rows tells them.  A joint table of space and time
    is taken to have as many frames as the network's if that leaves a square, else to be of the same
    square; it does not tell where both differ.  A table that fits no grid, or is of another width,
    stays as it is.  The table of an image network's windows serves at each distance in time.
    """
    resized = {MViT: _resized, VideoSwin: _of_windows}.get(type(net))
    if resized is None:
        return state
    return {name: resized(net, name, table, expected) for name, table in state.items()}


def _of_windows(net: VideoSwin, name: str, table: Tensor, expected: Mapping[str, Shape]) -> Tensor:
    shape = expected.get(name, ())
    if not name.endswith("relative_position_bias_table") or shape == tuple(table.shape):
        return table
    if shape[-1:] != tuple(table.shape[-1:]):
        return table
    t, h, w = grid = tuple(2 * side - 1 for side in net.backbone.window)
    frames = 1  # a square number of rows is that of an image
    if not _is_square(len(table), 1):
        frames, rest = divmod(len(table), h * w)
        frames = t if rest else frames
    return _from_square(table.unsqueeze(0), frames, grid).squeeze(0)


def _resized(net: MViT, name: str, table: Tensor, expected: Mapping[str, Shape]) -> Tensor:
    shape, leaf = expected.get(name, ()), name.rpartition(".")[2]
    if shape == tuple(table.shape) or shape[-1:] != tuple(table.shape[-1:]):
        return table
    t, h, w = net.grid
    if leaf in ("rel_pos_h", "rel_pos_w", "rel_pos_t"):
        return resize_relative(table, shape[0])
    if leaf == "pos_embed_temporal":
        return resize_positions(table, (table.shape[1], 1, 1), (t, 1, 1))
    if leaf == "pos_embed_spatial":
        return _from_square(table, 1, (1, h, w))
    if leaf == "pos_embed":
        token, table = table[:, : net.num_class], table[:, net.num_class :]
        frames, rest = divmod(table.shape[1], h * w)
        frames = t if rest or _is_square(table.shape[1], t) else frames
        return torch.cat([token, _from_square(table, frames, net.grid)], dim=1)
    return table


def _is_square(rows: int, frames: int) -> bool:
    return frames > 0 and frames * isqrt(rows // frames) ** 2 == rows


def _from_square(table: Tensor, frames: int, grid: Grid) -> Tensor:
    """A table of `frames` square grids of positions, if it is one, for another grid."""
    if not _is_square(table.shape[1], frames):
        return table
    side = isqrt(table.shape[1] // frames)
    return resize_positions(table, (frames, side, side), grid)
