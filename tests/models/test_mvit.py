import pytest
import torch

from slowfast.config import get_cfg
from slowfast.layers import position
from slowfast.layers.alter import Alter
from slowfast.layers.pooling_attention import Pooling
from slowfast.models import FrameFlexible, MViT, build_model
from slowfast.models.mvit import plan_pools, plan_widths, shortcut_pooling

FACTORS = ((1, 2.0), (2, 2.0))
ONCE = ((1, 1, 2, 2), (2, 1, 2, 2))
ALWAYS = ((0, 1, 1, 1), *ONCE)
V1 = {
    "sep_pos_embed": True,
    **{"dim_mul": FACTORS, "head_mul": FACTORS, "pool_kernel": (3, 3, 3)},
    **{"pool_q_stride": ONCE, "pool_kv_stride_adaptive": (1, 8, 8)},
}
V2 = V1 | {
    **{"use_abs_pos": False, "rel_pos_spatial": True, "rel_pos_temporal": True},
    **{"residual_pooling": True, "dim_mul_in_att": True, "pool_q_stride": ALWAYS},
}
VIT = {
    **{"patch_kernel": (2, 16, 16), "patch_stride": (2, 16, 16), "patch_padding": (0, 0, 0)},
    **{"num_heads": 2, "mean_pooling": True, "sep_pos_embed": True},
}
IMAGE = V2 | {
    **{"patch_2d": True, "patch_kernel": (7, 7), "patch_stride": (4, 4), "patch_padding": (3, 3)},
    **{"num_frames": 1, "pool_kernel": (1, 3, 3), "class_token": False},
}
VARIANTS = {
    **{"v1": V1, "v2": V2, "vit": VIT, "image": IMAGE},
    "v1 with pooling kernels of stride + 1": V1 | {"pool_kernel": None},
    "v1 with pooling by averages": V1 | {"pool_mode": "avg"},
    "v1 with pooling by maxima": V1 | {"pool_mode": "max"},
    "v1 with one table of positions": V1 | {"sep_pos_embed": False, "norm_stem": True},
    "v1 with fixed positions": V1 | {"fixed_sincos_pos": True, "dim": 16},
    "v2 without class token": V2 | {"class_token": False},
    "v2 with absolute positions too": V2 | {"use_abs_pos": True},
    "v2 pooled first": V2 | {"pool_first": True},
    "v2 with strides in time": V2 | {"pool_q_stride": ((1, 2, 2, 2), (2, 1, 2, 2))},
    "v2 with odd strides": V2 | {"pool_q_stride": ((1, 1, 3, 3),)},
    "v2 with odd strides and even kernels": V2
    | {"pool_q_stride": ((1, 1, 3, 3),), "pool_kernel": None},
}


def net_of(name: str, **options: object) -> MViT:
    torch.manual_seed(0)
    tiny = {"num_classes": 5, "num_frames": 8, "crop_size": 32, "depth": 3, "dim": 8}
    return MViT(**(tiny | VARIANTS[name] | options)).eval()


def clip_of(*shape: int) -> torch.Tensor:
    return torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 32, 32), (1, 32, 32), (3, 33, 33), (5, 47, 64), (2, 70, 38)])
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_a_clip_of_any_length_and_size_gives_logits(name, shape):
    logits = net_of(name)(clip_of(*shape))
    assert logits.shape == (1, 5) and logits.isfinite().all()


@pytest.mark.parametrize("name", ["v1", "v1 with one table of positions", "v2", "image"])
@torch.no_grad()
def test_positions_are_not_resized_at_the_trained_size(name, monkeypatch):
    net = net_of(name)
    clip = clip_of(1 if name == "image" else 8, 32, 32)
    expected = net(clip)
    monkeypatch.setattr(position.F, "interpolate", None)
    assert torch.equal(net(clip), expected)
    with pytest.raises(TypeError):  # another size would need it
        net(clip_of(16, 40, 40))


@pytest.mark.parametrize("name", ["v1", "v1 with one table of positions", "v2"])
@torch.no_grad()
def test_a_still_video_looks_alike_at_any_length_to_a_net_without_time(name):
    """Positions resized in time do not move those in space."""
    patches = {"patch_kernel": (1, 7, 7), "patch_stride": (1, 4, 4), "patch_padding": (0, 3, 3)}
    # Beside more tokens a class token would see less of itself.
    net = net_of(name, class_token=False, **patches)
    for key, parameter in net.named_parameters():
        if "pos_embed_temporal" in key or "rel_pos_t" in key:
            parameter.zero_()
        elif key == "pos_embed":
            table = parameter.view(1, 8, 64, 8)
            table[:] = table[:, :1].clone()
        elif "pool_" in key:  # of a kernel in time, zero padding would show the ends
            parameter[:, :, [0, 2]] = 0
    image = clip_of(1, 32, 32)
    expected = net(image.expand(-1, -1, 8, -1, -1))
    for num_frames in (1, 3, 20):
        torch.testing.assert_close(net(image.expand(-1, -1, num_frames, -1, -1)), expected)


@torch.no_grad()
def test_every_block_has_the_published_widths_and_grid():
    """MViTv2-S, 16 frames of 224 pixels: 8 x 56 x 56 tokens at first, 8 x 7 x 7 at last."""
    schedule = [(1, 2.0), (3, 2.0), (14, 2.0)]
    strides = [(i, 1, 2, 2) if i in (1, 3, 14) else (i, 1, 1, 1) for i in range(16)]
    options = {"dim_mul": schedule, "head_mul": schedule, "pool_q_stride": strides}
    with torch.device("meta"):
        net = MViT(depth=16, dim=96, **(V2 | options)).eval()
        x, grid = net.patch_embed(torch.empty(1, 3, 16, 224, 224))
        x = net._with_positions(x, grid)
        found = []
        for block in net.blocks:
            x, grid = block(x, grid)
            found.append((x.shape[2], block.attn.num_heads, grid))
            assert x.shape[1] == 1 + grid[0] * grid[1] * grid[2]
    expected = [(96, 1, 56), *[(192, 2, 28)] * 2, *[(384, 4, 14)] * 11, *[(768, 8, 7)] * 2]
    assert found == [(dim, heads, (8, size, size)) for dim, heads, size in expected]


def test_mvit_widens_before_the_block_it_names_and_mvitv2_in_it():
    plan = (3, 8, 1, [(1, 2.0)], [(1, 2.0)])
    assert list(plan_widths(*plan, in_attention=False)) == [(8, 16, 1), (16, 16, 2), (16, 16, 2)]
    assert list(plan_widths(*plan, in_attention=True)) == [(8, 8, 1), (8, 16, 2), (16, 16, 2)]


def test_widths_are_rounded_to_the_heads():
    assert list(plan_widths(1, 10, 3, [(0, 1.5)], [], in_attention=True)) == [(10, 15, 3)]


def test_strides_of_the_queries_divide_that_of_the_keys_from_their_own_block_on():
    pools = list(plan_pools(4, (3, 3, 3), [(1, 1, 2, 2), (3, 1, 8, 8)], [], (1, 8, 8)))
    assert [kv.stride for _, kv in pools] == [(1, 8, 8), (1, 4, 4), (1, 4, 4), (1, 1, 1)]
    assert [q.stride for q, _ in pools] == [(1, 1, 1), (1, 2, 2), (1, 1, 1), (1, 8, 8)]
    assert [q.passes for q, _ in pools] == [True, False, True, False]


def test_strides_of_the_keys_can_be_given_block_by_block():
    pools = list(plan_pools(2, None, [], [(1, 1, 4, 4)], None))
    assert pools == [(Pooling(), Pooling()), (Pooling(), Pooling((1, 5, 5), (1, 4, 4)))]


@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 12])
def test_the_shortcut_keeps_as_many_tokens_as_the_queries(kernel, stride, size):
    queries = Pooling((1, kernel, kernel), (1, stride, stride))
    shortcut = shortcut_pooling(queries)
    x = torch.zeros(1, 1, 1, size, size)
    sizes = [torch.nn.MaxPool3d(*pool, pool.padding)(x).shape for pool in (queries, shortcut)]
    assert sizes[0] == sizes[1]
    assert shortcut.kernel[1] in (stride, stride + 1)


def test_positions_are_those_of_the_most_frames_trained():
    cfg = get_cfg()
    words = ["MODEL.MODEL_NAME", "MViT", "MVIT.SEP_POS_EMBED", True, "MVIT.DEPTH", 1]
    cfg.merge_from_list([*words, "FFN.ENABLE", True, "FFN.NUM_FRAMES", [2, 4, 12]])
    shapes = {name: p.shape for name, p in build_model(cfg).net.named_parameters()}
    assert shapes["pos_embed_temporal"] == (1, 6, 96)
    assert shapes["pos_embed_spatial"] == (1, 56 * 56, 96)


def test_every_block_marks_its_input_for_the_gains_of_ffn():
    net = net_of("v2")
    marks = [m.dim for m in net.modules() if isinstance(m, Alter)]
    assert marks == [8, 8, 16]
    model = FrameFlexible(net, (4, 8))
    names = {name for name in model.state_dict() if "adaconv" in name}
    assert names == {f"blocks.{i}.adaconv_{tag}.weight" for i in range(3) for tag in (4, 8)}


@torch.no_grad()
def test_a_gain_scales_every_token_and_the_class_token():
    model = FrameFlexible(net_of("v2"), (4, 8))
    block, seen = model.net.blocks[0], []
    block.norm1.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    block.adaconv.copies["8"].weight.fill_(1.0)
    block.adaconv.copies["4"].weight.fill_(0.0)
    x = torch.randn(1, 1 + 64, 8)
    for tag in ("4", "8"):
        with model.rates.at(tag):
            block(x, (1, 8, 8))
    torch.testing.assert_close(seen[1], 2 * seen[0])
    torch.testing.assert_close(seen[0], x)


@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame():
    net, clip = net_of("image"), clip_of(1, 32, 32)
    assert torch.equal(net(clip.squeeze(2)), net(clip))


@torch.no_grad()
def test_a_clip_that_is_shorter_than_a_patch_repeats_its_last_frame():
    net, clip = net_of("vit"), clip_of(1, 32, 32)
    assert torch.equal(net(clip), net(clip.expand(-1, -1, 2, -1, -1)))


def test_fixed_positions_are_stored_but_do_not_learn():
    net = net_of("v1 with fixed positions")
    assert net.state_dict()["pos_embed"].shape == (1, 1 + 4 * 8 * 8, 16)
    assert not net.pos_embed[:, 0].any() and net.pos_embed[:, 1:].any()
    assert "pos_embed" not in dict(net.named_parameters())


def test_weights_start_as_published():
    net = MViT(num_classes=100, depth=2, dim=64, **(V1 | {"dim_mul": ()}))
    for name, parameter in net.named_parameters():
        if name.endswith("bias") and "patch_embed" not in name:
            assert (parameter == 0.02).all(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif "bias" not in name:
            assert parameter.abs().max() < 0.1, name
            if parameter.numel() > 1000:
                assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name


def test_the_classifier_can_start_smaller():
    small = net_of("v1", head_init_scale=0.001).head.projection
    torch.testing.assert_close(small.weight, 0.001 * net_of("v1").head.projection.weight)
    assert (small.bias - 0.00002).abs().max() < 1e-9


def test_stochastic_depth_rises_from_the_first_block_to_the_last():
    net = net_of("v1", drop_path=0.3)
    assert [block.drop_path.p for block in net.blocks] == pytest.approx([0.0, 0.15, 0.3])


def test_dropout_is_where_the_configuration_puts_it():
    net = net_of("v1", dropout=0.1, head_dropout=0.7)
    rates = {name: m.p for name, m in net.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert rates.pop("head.dropout") == 0.7
    assert set(rates.values()) == {0.1} and len(rates) == 1 + 3 * 2


def test_an_even_pooling_kernel_is_refused():
    with pytest.raises(ValueError, match=r"pool_kernel=\[1, 2, 2\] must be odd"):
        net_of("v2", pool_kernel=(1, 2, 2))


def test_patches_of_the_wrong_number_of_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"kernel=\[7, 7\] of the patches must be time, height"):
        net_of("v1", patch_kernel=(7, 7))
    with pytest.raises(ValueError, match=r"kernel=\[3, 7, 7\] of the patches must be two numbers"):
        net_of("v1", patch_2d=True)
