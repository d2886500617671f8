import pytest
import torch

from slowfast.layers.nonlocal_block import INSTANTIATIONS, NonLocalBlock

every_instantiation = pytest.mark.parametrize("instantiation", INSTANTIATIONS)


def block_of(**kwargs) -> NonLocalBlock:
    """A block that does something, in evaluation mode and double precision."""
    torch.manual_seed(0)
    block = NonLocalBlock(6, **kwargs).double().eval()
    with torch.no_grad():
        for tensor in (*block.parameters(), block.bn.running_mean):
            tensor.normal_()
    return block


def map_of(frames: int, size: int = 4) -> torch.Tensor:
    return torch.randn(2, 6, frames, size, size, dtype=torch.float64)


def linear(layer: torch.nn.Conv3d, vector: torch.Tensor) -> torch.Tensor:
    return layer.weight.flatten(1) @ vector + layer.bias


def by_hand(block: NonLocalBlock, x: torch.Tensor) -> torch.Tensor:
    """The paper's sums, position by position, for maps that the pooling divides."""
    num_videos, _, frames, height, width = x.shape
    t, h, w = block.pool
    y = x.clone()
    for n in range(num_videos):
        seen = [
            x[n, :, a : a + t, b : b + h, c : c + w].amax((1, 2, 3))
            for a in range(0, frames, t)
            for b in range(0, height, h)
            for c in range(0, width, w)
        ]
        phi = [linear(block.conv_phi, v) for v in seen]
        g = [linear(block.conv_g, v) for v in seen]
        for place in torch.cartesian_prod(*map(torch.arange, (frames, height, width))):
            i = (n, slice(None), *place)
            theta = linear(block.conv_theta, x[i])
            similar = torch.stack([theta @ key for key in phi])
            if block.instantiation == "softmax":
                weights = (similar / 3**0.5).exp()  # 3 channels inside
                weights = weights / weights.sum()
            else:
                weights = similar / len(seen)
            z = linear(block.conv_out, sum(a * v for a, v in zip(weights, g, strict=True)))
            bn = block.bn
            z = (z - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias
            y[i] = x[i] + z
    return y


@torch.no_grad()
@every_instantiation
@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2), (1, 1, 1)])
def test_the_block_equals_the_papers_sums(instantiation, pool):
    block, x = block_of(instantiation=instantiation, pool=pool), map_of(frames=2)
    torch.testing.assert_close(block(x), by_hand(block, x))


@torch.no_grad()
@every_instantiation
@pytest.mark.parametrize("frames", [2, 6])
def test_groups_of_frames_do_not_see_each_other(instantiation, frames):
    block = block_of(instantiation=instantiation, groups=2)
    alone = block_of(instantiation=instantiation)
    x = map_of(frames)
    halves = [alone(half) for half in x.chunk(2, dim=2)]
    torch.testing.assert_close(block(x), torch.cat(halves, dim=2))


@torch.no_grad()
def test_groups_differ_by_at_most_a_frame_where_they_do_not_divide_the_clip():
    block, alone, x = block_of(groups=3), block_of(), map_of(7)
    parts = [alone(part) for part in x.split([3, 2, 2], dim=2)]
    torch.testing.assert_close(block(x), torch.cat(parts, dim=2))


@torch.no_grad()
@every_instantiation
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_length_and_any_size_go_through(instantiation, frames, size):
    block = block_of(instantiation=instantiation, pool=(2, 2, 2), groups=2)
    y = block(map_of(frames, size))
    assert y.shape == (2, 6, frames, size, size) and y.isfinite().all()


@every_instantiation
def test_the_block_starts_as_identity_and_learns(instantiation):
    block, x = NonLocalBlock(6, instantiation=instantiation), torch.randn(2, 6, 2, 4, 4)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.bn.weight.grad.abs().min() > 0


def test_an_unknown_instantiation_is_refused():
    with pytest.raises(ValueError, match="instantiation='gaussian' must be softmax or dot_product"):
        NonLocalBlock(6, instantiation="gaussian")
