import pytest
import torch

from slowfast.config import get_cfg
from slowfast.layers.alter import Gain
from slowfast.models import FrameFlexible, SlowFast
from slowfast.models.resnet3d import Basic, Bottleneck, altered, conv
from slowfast.models.slowfast import average_time, slow_indices


def small(**kwargs) -> SlowFast:
    torch.manual_seed(0)
    return SlowFast(**{"depth": 18, "num_classes": 5, "width": 8, "dropout": 0.0} | kwargs)


def clip_of(num_frames: int, size: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, num_frames, size, size)


@pytest.mark.parametrize(
    ("num_frames", "alpha", "expected"),
    [
        (16, 4, [0, 5, 10, 15]),
        (32, 8, [0, 10, 20, 31]),
        (8, 2, [0, 2, 4, 7]),
        (10, 4, [0, 4, 9]),
        (3, 4, [0]),
        (1, 4, [0]),
        (5, 1, [0, 1, 2, 3, 4]),
    ],
)
def test_slow_frames_spread_from_the_first_to_the_last(num_frames, alpha, expected):
    assert slow_indices(num_frames, alpha).tolist() == expected


@torch.no_grad()
def test_the_network_picks_the_slow_frames_itself():
    net, clip = small().eval(), clip_of(16)
    slow = clip[:, :, [0, 5, 10, 15]]
    assert torch.equal(net(clip), net.forward_pathways(slow, clip))


@torch.no_grad()
@pytest.mark.parametrize("alpha", [1, 2, 3, 8])
@pytest.mark.parametrize("num_frames", [1, 2, 7, 9])
def test_any_alpha_and_any_length_go_together(alpha, num_frames):
    assert small(alpha=alpha).eval()(clip_of(num_frames)).shape == (2, 5)


@pytest.mark.parametrize("beta_inv", [2, 4, 8])
def test_the_fast_pathway_is_beta_times_as_wide(beta_inv):
    s1 = small(beta_inv=beta_inv).s1
    assert s1.pathway1_stem.conv.out_channels * beta_inv == s1.pathway0_stem.conv.out_channels


@pytest.mark.parametrize(
    ("depth", "blocks", "kind"),
    [(18, (2, 2, 2, 2), Basic), (50, (3, 4, 6, 3), Bottleneck), (101, (3, 4, 23, 3), Bottleneck)],
)
def test_the_depth_sets_number_and_kind_of_blocks(depth, blocks, kind):
    net = small(depth=depth)
    stages = (net.s2, net.s3, net.s4, net.s5)
    assert tuple(len(stage.order[0]) for stage in stages) == blocks
    assert sum(isinstance(m, kind) for m in net.modules()) == 2 * sum(blocks)


def test_only_the_first_blocks_of_a_stage_keep_its_temporal_kernel():
    net = small(depth=101)  # 6 of the 23 blocks of s4, as published
    kernels = [getattr(net.s4, f"pathway0_res{i}").branch2.a.kernel_size[0] for i in range(23)]
    assert kernels == [3] * 6 + [1] * 17


def test_the_first_convolution_strides_when_asked():
    block = small(depth=50, stride_1x1=True).s3.pathway0_res0.branch2
    assert (block.a.stride, block.b.stride) == ((1, 2, 2), (1, 1, 1))


def test_dilation_keeps_the_size():
    dilations = ((1, 1), (1, 1), (1, 1), (2, 2))
    strides = ((1, 1), (2, 2), (2, 2), (1, 1))
    net = small(depth=50, dilations=dilations, strides=strides, head_window=(4, 4)).eval()
    assert net(clip_of(4, size=64)).shape == (2, 5)


def test_convolutions_start_at_the_scale_of_their_outputs():
    weight = small(depth=50, width=64).s4.pathway0_res1.branch2.a.weight  # 1024 to 256, 3 frames
    assert weight.std().item() == pytest.approx((2 / (256 * 3)) ** 0.5, rel=0.02)


def test_blocks_start_as_identity_when_asked():
    for depth, last in ((18, "b_bn"), (50, "c_bn")):
        net = small(depth=depth, zero_init_final_bn=True)
        block = net.s3.pathway1_res1.branch2
        assert getattr(block, last).weight.eq(0).all() and block.a_bn.weight.eq(1).all()


# ---------------------------------------------------------------------------- head


@torch.no_grad()
def test_global_pooling_takes_any_crop():
    assert small().eval()(clip_of(4, size=80)).shape == (2, 5)


@torch.no_grad()
def test_a_window_gives_the_logits_of_each_position():
    net = small(head_window=(2, 2)).eval()
    assert net(clip_of(4, size=64)).shape == (2, 5)
    assert net(clip_of(4, size=96)).shape == (2, 4, 5)
    assert net(clip_of(4, size=128)).shape == (2, 9, 5)


@torch.no_grad()
def test_a_window_over_everything_equals_global_pooling():
    windowed, pooled = small(head_window=(2, 2)).eval(), small().eval()
    clip = clip_of(5, size=64)
    torch.testing.assert_close(windowed(clip), pooled(clip))


def test_several_positions_are_refused_in_training():
    with pytest.raises(ValueError, match="fits 4 times on the training crop"):
        small(head_window=(2, 2))(clip_of(4, size=96))


def test_a_crop_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="larger than the 1x1 map"):
        small(head_window=(2, 2)).eval()(clip_of(4, size=32))


def test_the_configuration_pools_everything_only_for_frame_flexible_networks():
    cfg = get_cfg()
    cfg.merge_from_list(["RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 224])
    assert SlowFast.from_cfg(cfg).head.pool.window == (7, 7)
    cfg.FFN.ENABLE = True
    assert SlowFast.from_cfg(cfg).head.pool.window is None


# ---------------------------------------------------------------------------- frame-flexible


@torch.no_grad()
def test_gains_act_before_each_residual_branch_and_not_on_its_shortcut():
    model = FrameFlexible(small(depth=50), (2, 4)).eval()
    block = model.net.s3.pathway0_res1
    x = torch.rand(1, block.branch2.a.in_channels, 2, 4, 4)
    gain = block.branch2.adaconv.copies["4"]
    gain.weight.copy_(torch.randn_like(gain.weight))
    expected = block.relu(block.branch2.c_bn.copies["4"].weight.new_zeros(()) + x)
    with model.rates.at("4"):
        branch = block.branch2
        y = branch.relu(branch.a_bn(branch.a(x * (1 + gain.weight[:, 0]))))
        y = branch.c_bn(branch.c(branch.relu(branch.b_bn(branch.b(y)))))
        torch.testing.assert_close(block(x), (y + expected).relu())


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 50])
def test_gains_may_be_folded_into_the_weight_or_the_input(num_frames):
    layer, gain = conv(4, 6, (3, 1, 1)), Gain(4)
    gain.weight.copy_(torch.randn_like(gain.weight))
    x = torch.randn(1, 4, num_frames, 2, 2)
    torch.testing.assert_close(altered(layer, gain, x), layer(gain(x)))


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 34}, "depth=34; SlowFast has 18, 50, 101"),
        ({"fusion_kernel": 4}, "fusion_kernel=4 must be odd"),
        ({"beta_inv": 3}, "beta_inv=3"),
        ({"alpha": 0}, "alpha=0"),
    ],
)
def test_impossible_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_pathways_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="3 slow frames do not go with 8 fast ones"):
        small().forward_pathways(clip_of(3), clip_of(8))


# ---------------------------------------------------------------------------- the map


@pytest.mark.parametrize(("frames", "times"), [(8, 2), (7, 3), (5, 5), (3, 1), (13, 4)])
def test_a_map_averaged_over_spans_of_time_keeps_its_mean(frames, times):
    x = torch.randn(2, 3, frames, 2, 2)
    averaged = average_time(x, times)
    assert averaged.shape == (2, 3, times, 2, 2)
    torch.testing.assert_close(averaged.mean(2), x.mean(2))


def test_equal_spans_are_the_means_of_their_frames():
    x = torch.randn(1, 2, 8, 1, 1)
    torch.testing.assert_close(average_time(x, 2), x.unflatten(2, (2, 4)).mean(3))


def test_a_frame_between_two_spans_counts_in_both_by_its_share():
    x = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]).view(1, 1, 5, 1, 1)
    expected = torch.tensor([(1 + 10 + 50) / 2.5, (50 + 1000 + 10000) / 2.5])
    torch.testing.assert_close(average_time(x, 2).flatten(), expected)


@torch.no_grad()
def test_the_map_holds_both_pathways_at_the_times_of_the_slow_one():
    net, clip = small(alpha=4).eval(), clip_of(10)
    slow, fast = net.encode(clip)
    features = net.feature_map(clip)
    assert features.shape[1:3] == (slow.shape[1] + fast.shape[1], 3)
    torch.testing.assert_close(features[:, : slow.shape[1]], slow)
