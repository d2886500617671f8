"""Pooling attention against a reference that goes head by head and pair by pair."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slowfast.layers.pooling_attention import Pooling, PoolingAttention, pool_tokens

GRID = (3, 4, 4)
STRIDED = {"pool_q": Pooling((3, 3, 3), (1, 2, 2)), "pool_kv": Pooling((3, 3, 3), (1, 4, 2))}
KEYS = {"pool_kv": Pooling((1, 3, 3), (1, 2, 2))}
RELATIVE = {"rel_pos_spatial": True, "rel_pos_temporal": True}
CASES = {
    "plain": {},
    "keys pooled": KEYS,
    "all pooled": STRIDED,
    "average": STRIDED | {"mode": "avg"},
    "maximum": STRIDED | {"mode": "max"},
    "separate": STRIDED | {"separate_qkv": True},
    "pooled first": STRIDED | {"pool_first": True} | RELATIVE,
    "residual": STRIDED | {"residual_pooling": True},
    "relative": RELATIVE,
    "relative in space, keys pooled": KEYS | {"rel_pos_spatial": True},
    "relative in time": STRIDED | {"rel_pos_temporal": True},
    "MViTv2": STRIDED | RELATIVE | {"residual_pooling": True},
}


def layer_of(case: str, class_token: bool, grid=GRID) -> PoolingAttention:
    torch.manual_seed(0)
    layer = PoolingAttention(8, 12, 2, grid, class_token=class_token, **CASES[case]).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    return layer


def reference(layer: PoolingAttention, x: torch.Tensor, grid: tuple) -> torch.Tensor:
    """The same numbers from the definition, one video, one head and one pair at a time."""
    return torch.stack([_video(layer, video, grid) for video in x])


def _video(layer, x, grid):
    outputs = []
    for head in range(layer.num_heads):
        q, k, v = (_projected(layer, x, grid, name, head) for name in "qkv")
        (q, q_grid), (k, k_grid), (v, _) = q, k, v
        scores = q @ k.T / q.shape[1] ** 0.5
        tables = list(_tables(layer, q_grid, k_grid))
        for (i, here), (j, there) in itertools.product(_places(q_grid), _places(k_grid)):
            i, j = i + layer.num_class, j + layer.num_class
            for axis, table, of_query, of_key in tables:
                distance = here[axis] * of_query + (k_grid[axis] - 1 - there[axis]) * of_key
                scores[i, j] += q[i] @ table[int(distance + 1e-9)]
        y = scores.softmax(1) @ v
        if layer.residual_pooling:
            y[layer.num_class :] += q[layer.num_class :]
        outputs.append(y)
    return layer.proj(torch.cat(outputs, dim=1))


def _places(grid):
    return list(enumerate(itertools.product(*map(range, grid))))


def _projected(layer, x, grid, name, head):
    pool, norm = getattr(layer, f"pool_{name}"), getattr(layer, f"norm_{name}")
    if layer.qkv is not None:
        weight, bias = (p.chunk(3)["qkv".index(name)] for p in (layer.qkv.weight, layer.qkv.bias))
    else:
        weight, bias = getattr(layer, name).weight, getattr(layer, name).bias
    own = slice(head * layer.head_dim, (head + 1) * layer.head_dim)
    if not layer.pool_first:
        return _pooled(layer, (x @ weight.T + bias)[:, own], grid, pool, norm)
    parts = [_pooled(layer, part, grid, pool, norm) for part in x.chunk(layer.num_heads, dim=1)]
    pooled = torch.cat([part for part, _ in parts], dim=1)
    return (pooled @ weight.T + bias)[:, own], parts[0][1]


def _pooled(layer, tokens, grid, pool, norm):
    if pool is None:
        return tokens, grid
    token, rest = tokens[: layer.num_class], tokens[layer.num_class :]
    maps = rest.T.reshape(1, -1, *grid)
    if norm is None:
        pooling = STRIDED["pool_q" if pool is layer.pool_q else "pool_kv"]
        by_mode = F.max_pool3d if isinstance(pool, torch.nn.MaxPool3d) else F.avg_pool3d
        maps = by_mode(maps, pooling.kernel, pooling.stride, pooling.padding)
    else:
        maps = F.conv3d(maps, pool.weight, None, pool.stride, pool.padding, 1, maps.shape[1])
    tokens = torch.cat([token, maps[0].flatten(1).T])
    return (tokens if norm is None else norm(tokens)), tuple(maps.shape[2:])


def _tables(layer, q_grid, k_grid):
    """(axis, table of all distances, step of a query, step of a key) where positions count."""
    for axis, name in enumerate(("rel_pos_t", "rel_pos_h", "rel_pos_w")):
        if getattr(layer, name) is not None:
            q, k, lines = q_grid[axis], k_grid[axis], getattr(layer, name).T.numpy()
            n, length = lines.shape[1], 2 * max(q, k) - 1
            at = (np.arange(length) + 0.5) * n / length - 0.5
            table = np.stack([np.interp(at, np.arange(n), line) for line in lines], axis=1)
            yield axis, torch.from_numpy(table), max(k / q, 1), max(q / k, 1)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_outputs_are_those_of_the_definition(case, class_token):
    layer = layer_of(case, class_token)
    x = torch.randn(2, int(class_token) + 48, 8, dtype=torch.float64)
    found, _ = layer(x, GRID)
    torch.testing.assert_close(found, reference(layer, x, GRID))


@pytest.mark.parametrize("grid", [(1, 3, 5), (4, 5, 3), (4, 6, 5)])
@torch.no_grad()
def test_on_another_grid_relative_positions_are_stretched(grid):
    layer = layer_of("MViTv2", class_token=True)
    x = torch.randn(1, 1 + grid[0] * grid[1] * grid[2], 8, dtype=torch.float64)
    found, _ = layer(x, grid)
    torch.testing.assert_close(found, reference(layer, x, grid))


def test_tables_hold_the_distances_between_the_finer_of_queries_and_keys():
    shapes = {"rel_pos_t": 2 * 3 - 1, "rel_pos_h": 2 * 2 - 1, "rel_pos_w": 2 * 2 - 1}
    layer = layer_of("MViTv2", class_token=True)
    for name, length in shapes.items():
        assert getattr(layer, name).shape == (length, 6)


def test_the_grid_of_the_queries_comes_back():
    layer = layer_of("all pooled", class_token=False)
    y, grid = layer(torch.randn(1, 48, 8, dtype=torch.float64), GRID)
    assert grid == (3, 2, 2) and y.shape == (1, 12, 12)


def test_relative_positions_can_start_from_zero():
    options = {"rel_pos_spatial": True, "rel_pos_temporal": True}
    zero = PoolingAttention(8, 8, 2, GRID, rel_pos_zero_init=True, **options)
    drawn = PoolingAttention(8, 8, 2, GRID, **options)
    for name in zero.positions:
        assert not getattr(zero, name).any() and getattr(drawn, name).std() > 0.01


def test_a_class_token_is_not_pooled():
    tokens = torch.randn(2, 1 + 16, 4)
    pooled, grid = pool_tokens(torch.nn.MaxPool3d((1, 2, 2)), tokens, (1, 4, 4), num_class=1)
    assert grid == (1, 2, 2)
    torch.testing.assert_close(pooled[:, 0], tokens[:, 0])
    torch.testing.assert_close(pooled[:, 1], tokens[:, [1, 2, 5, 6]].amax(1))


def test_no_matrix_of_queries_by_keys_is_kept_for_the_backward_pass():
    layer = PoolingAttention(8, 8, 1, (4, 16, 16), class_token=False, **RELATIVE)
    kept = []

    def record(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        layer(torch.randn(1, 1024, 8, requires_grad=True), (4, 16, 16))
    assert max(kept) < 1024 * 1024


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="3 heads must divide dim=8 and dim_out=12"):
        PoolingAttention(8, 12, 3, GRID)


def test_an_unknown_mode_of_pooling_is_refused():
    with pytest.raises(ValueError, match="mode='mean' of pooling must be conv, avg or max"):
        PoolingAttention(8, 8, 2, GRID, mode="mean")
