import pytest
import torch

from slowfast.config import get_cfg
from slowfast.models import X3D, FrameFlexible


def small(**kwargs) -> X3D:
    torch.manual_seed(0)
    arguments = {"num_classes": 5, "width_factor": 0.5, "depth_factor": 0.5, "dim_c5": 16}
    return X3D(**arguments | {"dropout": 0.0} | kwargs)


def on_meta(**kwargs) -> X3D:
    with torch.device("meta"):
        return X3D(**kwargs)


def stages(net: X3D) -> list[list[torch.nn.Module]]:
    return [[block for _, block in getattr(net, f"s{i}").named_children()] for i in (2, 3, 4, 5)]


def clip_of(num_frames: int, size: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, num_frames, size, size)


# ---------------------------------------------------------------------------- shape


@pytest.mark.parametrize(("factor", "blocks"), [(2.2, [3, 5, 11, 7]), (5.0, [5, 10, 25, 15])])
def test_the_depth_factor_sets_the_published_numbers_of_blocks(factor, blocks):
    assert [len(stage) for stage in stages(on_meta(depth_factor=factor))] == blocks


def test_stages_have_the_published_widths_inside_and_outside():
    net = on_meta()
    blocks = [stage[-1].branch2 for stage in stages(net)]
    assert net.s1.pathway0_stem.conv.out_channels == 24
    assert [b.a.in_channels for b in blocks] == [24, 48, 96, 192]
    assert [b.b.out_channels for b in blocks] == [54, 108, 216, 432]


def test_the_first_stage_is_wider_when_asked():
    net = on_meta(scale_res2=True)
    assert net.s1.pathway0_stem.conv.out_channels == 24
    assert [stage[-1].branch2.a.in_channels for stage in stages(net)] == [48, 96, 192, 384]


def test_every_second_block_has_squeeze_and_excitation():
    for stage in stages(on_meta()):
        excites = [hasattr(block.branch2.se, "fc1") for block in stage]
        assert excites == [i % 2 == 0 for i in range(len(stage))]


def test_the_middle_convolution_works_within_each_channel_or_in_groups():
    for net, groups in ((small(), 18), (small(channelwise=False, num_groups=2), 2)):
        middle = net.s2.pathway0_res0.branch2.b
        assert (middle.in_channels, middle.groups) == (18, groups)
        net(clip_of(2)).sum().backward()


def test_the_stride_is_on_the_middle_convolution_unless_told_otherwise():
    for first, expected in ((False, (1, 2)), (True, (2, 1))):
        block = small(stride_1x1=first).s4.pathway0_res0.branch2
        assert (block.a.stride[1], block.b.stride[1]) == expected


@torch.no_grad()
def test_the_stem_halves_the_size_once():
    assert small().s1([clip_of(3, size=50)])[0].shape == (2, 8, 3, 25, 25)


@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "size"), [(1, 32), (2, 45), (7, 33), (3, 182)])
def test_any_length_and_any_size_from_32_pixels_give_logits(num_frames, size):
    assert small().eval()(clip_of(num_frames, size)).shape == (2, 5)


# ---------------------------------------------------------------------------- head


def test_the_published_head_has_no_norm_behind_the_pooling():
    names = {name for name, _ in small().head.named_parameters()}
    extra = {name for name, _ in small(norm_lin5=True).head.named_parameters()} - names
    assert extra == {"lin_5_bn.weight", "lin_5_bn.bias"}


@torch.no_grad()
def test_a_larger_crop_gives_logits_of_each_position_of_the_window():
    net = small(head_window=(1, 1)).eval()
    logits = net(clip_of(3, size=64))
    assert logits.shape == (2, 4, 5)
    assert small(head_window=(2, 2)).eval()(clip_of(3, size=64)).shape == (2, 5)


@pytest.mark.parametrize(("crop", "side"), [(160, 5), (182, 6), (224, 7), (312, 10)])
def test_the_window_is_the_training_crop_over_32_rounded_up(crop, side):
    cfg = get_cfg()
    cfg.merge_from_list(["DATA.TRAIN_CROP_SIZE", crop, "X3D.DIM_C5", 16])
    assert X3D.from_cfg(cfg).head.pool.window == (side, side)
    cfg.FFN.ENABLE = True
    assert X3D.from_cfg(cfg).head.pool.window is None


# ---------------------------------------------------------------------------- start and training


def test_blocks_start_as_identity_when_asked():
    block = small(zero_init_final_bn=True).s4.pathway0_res1.branch2
    assert block.c_bn.weight.eq(0).all() and block.b_bn.weight.eq(1).all()


def test_squeeze_and_excitation_starts_without_bias():
    se = small().s3.pathway0_res0.branch2.se
    assert se.fc1.bias.eq(0).all() and se.fc2.bias.eq(0).all()


def test_the_probability_to_drop_a_block_rises_to_the_last_stage():
    rates = [stage[0].branch2.drop_path.p for stage in stages(small(drop_connect=0.5))]
    assert rates == pytest.approx([0.2, 0.3, 0.4, 0.5])


def test_a_dropped_block_passes_its_input():
    block = small(drop_connect=0.9).s4.pathway0_res1
    x = torch.rand(64, block.branch2.a.in_channels, 1, 2, 2)
    passed = [torch.equal(y, x[i]) for i, y in enumerate(block(x))]
    assert 32 < sum(passed) < 64  # 0.72 of 64
    assert not any(torch.equal(y, x[i]) for i, y in enumerate(block.eval()(x)))


@torch.no_grad()
def test_gains_act_before_each_residual_branch_and_not_on_its_shortcut():
    model = FrameFlexible(small(), (2, 4)).eval()
    block = model.net.s4.pathway0_res1
    x = torch.rand(1, block.branch2.a.in_channels, 2, 4, 4)
    gain = block.branch2.adaconv.copies["4"]
    gain.weight.copy_(torch.randn_like(gain.weight))
    with model.rates.at("4"):
        found = block(x)
        scaled = x * (1 + gain.weight[:, 0])
        gain.weight.zero_()
        torch.testing.assert_close(found, (block.branch2(scaled) + x).relu())
