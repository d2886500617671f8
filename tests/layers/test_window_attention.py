import itertools

import pytest
import torch

from slowfast.layers.window_attention import (
    APART,
    WindowAttention,
    Windows,
    cut,
    fit_windows,
    join,
    shifted,
    window_index,
)

GRIDS = [(4, 6, 6), (5, 7, 4), (2, 3, 9), (1, 1, 1)]
SIZE = (4, 3, 3)
STILL = (0, 0, 0)


def windows_of(grid, moves: bool) -> Windows:
    size, shift = fit_windows(grid, SIZE)
    return shifted(grid, size, shift, torch.zeros(())) if moves else Windows(size, STILL)


# ---------------------------------------------------------------------------- windows


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("moves", [False, True])
def test_joined_windows_are_the_map_again(grid, moves):
    x, windows = torch.randn(2, *grid, 3), windows_of(grid, moves)
    assert torch.equal(join(cut(x, windows), windows, grid), x)


def test_a_window_holds_the_neighbours_of_a_box():
    grid = (4, 6, 6)
    places = torch.arange(4 * 36).view(1, *grid, 1)
    found = cut(places, Windows((2, 3, 3), STILL))[0, :, :, 0]
    expected = [
        [t * 36 + h * 6 + w for t in (a, a + 1) for h in range(b, b + 3) for w in range(c, c + 3)]
        for a in (0, 2)
        for b in (0, 3)
        for c in (0, 3)
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "grid, size, shift",
    [
        ((9, 7, 7), (4, 3, 3), (2, 1, 1)),
        ((4, 3, 8), (4, 3, 3), (0, 0, 1)),
        ((3, 2, 1), (3, 2, 1), STILL),
    ],
)
def test_windows_are_no_longer_than_the_map_and_then_stay(grid, size, shift):
    assert fit_windows(grid, SIZE) == (size, shift)


@pytest.mark.parametrize("grid", [(8, 6, 6), (4, 7, 3), (5, 3, 8)])
def test_shifted_windows_keep_apart_what_was_not_beside_each_other(grid):
    windows = windows_of(grid, moves=True)
    axes = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
    places = torch.stack(axes, dim=-1) + 1  # 0 is what fills up
    of_token = cut(places[None], windows)[0]
    for tokens, apart in zip(of_token.tolist(), windows.apart.tolist(), strict=True):
        for (i, a), (j, b) in itertools.product(enumerate(tokens), repeat=2):
            if 0 in a or 0 in b:
                continue
            # Borders of shifted windows are at shift, shift + size, shift + 2 size, ...
            beside = all(
                (p - 1 - s) // n == (q - 1 - s) // n
                for p, q, s, n in zip(a, b, windows.shift, windows.size, strict=True)
            )
            assert apart[i][j] == (0 if beside else APART), (a, b)


# ---------------------------------------------------------------------------- positions


def test_the_index_counts_the_distances_along_each_axis():
    size = (2, 3, 4)
    index = window_index(size)
    places = list(itertools.product(*(range(n) for n in size)))
    for (i, a), (j, b) in itertools.product(enumerate(places), repeat=2):
        t, h, w = (p - q + n - 1 for p, q, n in zip(a, b, size, strict=True))
        assert index[i, j] == (t * 5 + h) * 7 + w


def test_a_window_of_fewer_frames_has_the_distances_of_its_first_ones():
    whole, short = window_index((4, 3, 3)), window_index((2, 3, 3))
    middle = (4 - 2) * 25  # rows of the table before the distance of one frame backwards
    assert torch.equal(whole[:18, :18], short + middle)


def test_a_window_of_less_height_and_width_takes_mixed_up_distances_as_published():
    whole = window_index((1, 3, 3))[:4, :4]
    # Tokens 0 1 / 2 3 of a 2x2 window are taken for 0 1 2 / 3 of a 3x3 one.
    assert whole[0].tolist() == [12, 11, 10, 7]
    assert window_index((1, 2, 2))[0].tolist() == [4, 3, 1, 0]


# ---------------------------------------------------------------------------- attention


@pytest.mark.parametrize("grid", [(4, 6, 6), (3, 5, 4)])
@pytest.mark.parametrize("moves", [False, True])
def test_attention_is_softmax_of_scores_bias_and_distance(grid, moves):
    torch.manual_seed(0)
    layer, index = WindowAttention(8, 2, SIZE).double().eval(), window_index(SIZE)
    layer.relative_position_bias_table.data.normal_()
    windows = windows_of(grid, moves)
    x = cut(torch.randn(2, *grid, 8).double(), windows)
    found = layer(x, index, windows.apart)
    tokens = x.shape[2]
    for video, window in itertools.product(range(2), range(x.shape[1])):
        q, k, v = layer.qkv(x[video, window]).split(8, dim=1)
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = q[:, part] @ k[:, part].T / 2
            scores += layer.relative_position_bias_table[index[:tokens, :tokens], head]
            if windows.apart is not None:
                scores += windows.apart[window]
            heads.append(scores.softmax(1) @ v[:, part])
        expected = layer.proj(torch.cat(heads, dim=1))
        torch.testing.assert_close(found[video, window], expected)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim=8 must be a multiple of num_heads=3"):
        WindowAttention(8, 3, SIZE)
