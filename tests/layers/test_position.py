import numpy as np
import pytest
import torch

from slowfast.layers.position import (
    relative_index,
    resize_positions,
    resize_relative,
    sincos_positions,
)


def centres(n: int, new: int) -> np.ndarray:
    """Where the centres of `new` equal parts of a line of `n` tokens lie, in tokens."""
    return (np.arange(new) + 0.5) * n / new - 0.5


@pytest.mark.parametrize("new_length", [1, 3, 5, 16])
def test_time_is_stretched_linearly(new_length):
    table = torch.randn(1, 8 * 2 * 3, 4, dtype=torch.float64)
    found = resize_positions(table, (8, 2, 3), (new_length, 2, 3)).view(new_length, 24)
    at, lines = centres(8, new_length), table.view(8, 24).numpy()
    expected = np.stack([np.interp(at, np.arange(8), line) for line in lines.T], axis=1)
    torch.testing.assert_close(found, torch.from_numpy(expected))


def cubic(n: int, new: int) -> torch.Tensor:
    """The `(new, n)` matrix of cubic interpolation with a = -0.75, the border repeated."""
    matrix = torch.zeros(new, n, dtype=torch.float64)
    for i, at in enumerate(centres(n, new)):
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            d = abs(at - j)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(j, 0), n - 1)] += near if d <= 1 else far
    return matrix


@pytest.mark.parametrize("new_size", [(1, 3), (7, 7), (14, 9), (23, 40)])
def test_space_is_stretched_by_cubics(new_size):
    table = torch.randn(1, 7 * 14, 3, dtype=torch.float64)
    found = resize_positions(table, (1, 7, 14), (1, *new_size)).view(*new_size, 3)
    matrices = cubic(7, new_size[0]), cubic(14, new_size[1])
    expected = torch.einsum("ah,bw,hwc->abc", *matrices, table.view(7, 14, 3))
    torch.testing.assert_close(found, expected)


def test_space_of_every_frame_and_time_of_every_place_are_stretched_alike():
    table = torch.randn(1, 2 * 4 * 4, 3)
    found = resize_positions(table, (2, 4, 4), (3, 6, 5)).view(3, 30, 3)
    frames = [resize_positions(t, (1, 4, 4), (1, 6, 5))[0] for t in table.split(16, dim=1)]
    torch.testing.assert_close(found[0], frames[0])
    torch.testing.assert_close(found[2], frames[1])
    torch.testing.assert_close(found[1], (frames[0] + frames[1]) / 2)


def test_tables_of_the_right_size_are_returned_as_they_are():
    table = torch.randn(1, 24, 4)
    assert resize_positions(table, (2, 3, 4), (2, 3, 4)) is table
    assert resize_relative(table[0], 24).data_ptr() == table.data_ptr()


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 24, 4\) do not fit the grid \(2, 3, 5\)"):
        resize_positions(torch.zeros(1, 24, 4), (2, 3, 5), (2, 3, 4))


@pytest.mark.parametrize("length", [1, 7, 13, 27])
def test_relative_embeddings_are_stretched_linearly(length):
    table = torch.randn(13, 4, dtype=torch.float64)
    lines = table.T.numpy()
    expected = [np.interp(centres(13, length), np.arange(13), line) for line in lines]
    found = resize_relative(table, length)
    torch.testing.assert_close(found, torch.from_numpy(np.stack(expected, axis=1)))


@pytest.mark.parametrize("queries", [1, 2, 3, 7, 8, 14])
@pytest.mark.parametrize("keys", [1, 2, 4, 7, 9, 14])
def test_pairs_find_their_distance_in_the_table(queries, keys):
    found = relative_index(queries, keys)
    assert found.min() >= 0 and found.max() <= 2 * max(queries, keys) - 2
    for i in range(queries):
        for j in range(keys):
            of_query, of_key = max(keys / queries, 1), max(queries / keys, 1)
            distance = i * of_query - j * of_key + (keys - 1) * of_key
            assert found[i, j] == int(distance + 1e-9)


def test_fixed_positions_are_sines_and_cosines_of_time_column_and_row():
    table = sincos_positions(32, (3, 4, 5)).view(3, 4, 5, 32)
    t, row, column = 2, 3, 4
    expected = []
    for position, dim in ((t, 8), (column, 12), (row, 12)):
        angles = [position / 10000 ** (i / (dim // 2)) for i in range(dim // 2)]
        expected += [*np.sin(angles), *np.cos(angles)]
    torch.testing.assert_close(table[t, row, column], torch.tensor(expected, dtype=torch.float32))


def test_fixed_positions_need_a_multiple_of_16_channels():
    with pytest.raises(ValueError, match="24 channels cannot hold"):
        sincos_positions(24, (1, 2, 2))
