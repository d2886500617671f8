"""Position embeddings of other libraries' video transformers, for grids of any size."""

from torch import Tensor

from slowfast.layers.position import Grid, resize_positions


def separate_positions(space: Tensor, time: Tensor, learned: Grid, grid: Grid) -> Tensor:
    """The sum of `(1, h*w, C)` and `(1, t, C)` embeddings, for a new grid: `(1, T*H*W, C)`."""
    t, h, w = learned
    space = resize_positions(space, (1, h, w), (1, *grid[1:]))
    time = resize_positions(time, (t, 1, 1), (grid[0], 1, 1))
    return space.repeat(1, grid[0], 1) + time.repeat_interleave(space.shape[1], dim=1)
