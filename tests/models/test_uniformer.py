import pytest
import torch

from slowfast.layers.attention import Attention
from slowfast.layers.drop_path import DropPath
from slowfast.models import FrameFlexible, UniFormer


def small(**kwargs) -> UniFormer:
    torch.manual_seed(0)
    sizes = {"depth": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8, "drop_path": 0.0}
    return UniFormer(**{"num_classes": 5} | sizes | kwargs)


def clip_of(num_frames: int, size: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, num_frames, size, size)


@torch.no_grad()
def test_odd_sizes_are_cut_down_to_whole_patches():
    assert small().eval()(clip_of(3, size=47)).shape == (2, 5)


def test_wide_embeddings_see_three_frames_and_keep_the_length():
    net = small(std=True)
    assert net.patch_embed2.proj.kernel_size == (3, 2, 2)
    assert net.patch_embed2.proj(torch.randn(1, 8, 5, 8, 8)).shape[2] == 5
    assert net.eval()(clip_of(5)).shape == (2, 5)


@pytest.mark.parametrize(("depth", "blocks"), [("S", [3, 4, 8, 3]), ("B", [5, 8, 20, 7])])
def test_a_letter_names_the_published_depths(depth, blocks):
    net = small(depth=depth)
    assert [len(getattr(net, f"blocks{i}")) for i in (1, 2, 3, 4)] == blocks


@pytest.mark.parametrize(
    ("depth", "message"), [("L", "depth='L'; give S or B"), ([1, 2], "must have four block counts")]
)
def test_other_depths_are_refused(depth, message):
    with pytest.raises(ValueError, match=message):
        small(depth=depth)


def test_drop_path_rises_from_none_at_the_first_block_to_all_at_the_last():
    net = small(depth=(1, 2, 1, 1), drop_path=0.4)
    rates = [m.p for m in net.modules() if isinstance(m, DropPath)]
    torch.testing.assert_close(rates, [0.0, 0.1, 0.2, 0.3, 0.4])


@torch.no_grad()
def test_gains_alter_the_trunk_itself():
    block = FrameFlexible(small(), (2, 4)).eval().net.blocks3[0]
    gain = block.adaconv.copies["4"]
    gain.weight.copy_(torch.randn_like(gain.weight))
    x = torch.randn(1, 16, 2, 3, 3)
    altered = x * (1 + gain.weight[:, 0])
    y = block(x)
    gain.weight.zero_()
    torch.testing.assert_close(y, block(altered))


# ---------------------------------------------------------------------------- layers


@torch.no_grad()
def test_attention_mixes_tokens_by_the_softmax_of_their_scaled_products():
    layer = Attention(dim=6, head_dim=3).eval()
    x = torch.randn(2, 4, 6)
    q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=2))
    weights = ((q @ k.transpose(2, 3)) / 3**0.5).softmax(-1)
    expected = layer.proj((weights @ v).transpose(1, 2).reshape(2, 4, 6))
    torch.testing.assert_close(layer(x), expected)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim=10 must be a multiple of head_dim=4"):
        Attention(10, head_dim=4)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    y = DropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert all(sample.unique().numel() == 1 for sample in y[:50])
    assert y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)


def test_drop_path_passes_everything_in_evaluation():
    x = torch.randn(3, 2)
    assert DropPath(0.9).eval()(x) is x


def test_an_impossible_drop_path_is_refused():
    with pytest.raises(ValueError, match="drop path probability 1.0"):
        DropPath(1.0)
