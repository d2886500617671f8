import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import perturb
from slowfast.config import get_cfg
from slowfast.layers.shift import TemporalShift
from slowfast.models import TSM, TSN, FrameFlexible, build_model
from slowfast.models.flexible import specialize
from slowfast.models.resnet2d import BasicBlock, Bottleneck
from slowfast.report.cost import gflops
from slowfast.weights import load_weights

COUNTS = (2, 4, 8)
LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def small(kind=TSM, **kwargs) -> TSN:
    torch.manual_seed(0)
    return kind(**{"depth": 18, "num_classes": 5, "width": 8, "dropout": 0.0} | kwargs)


def flexible(**kwargs) -> FrameFlexible:
    return perturb(FrameFlexible(small(**kwargs), COUNTS), 0.03)


def clip_of(num_frames: int, batch: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, num_frames, size, size)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---------------------------------------------------------------------------- architecture


@pytest.mark.parametrize(
    ("num_classes", "plain", "flexible"),
    [
        (51, 23_612_531, 23_758_131),
        (101, 23_714_981, 23_860_581),
        (174, 23_864_558, 24_010_158),
        (339, 24_202_643, 24_348_243),
        (400, 24_327_632, 24_473_232),
    ],
)
def test_the_published_numbers_of_parameters_are_matched(num_classes, plain, flexible):
    with torch.device("meta"):
        net = TSM(50, num_classes)
        assert parameters(net) == parameters(TSN(50, num_classes)) == plain
        assert parameters(FrameFlexible(net, (4, 8, 16))) == flexible


@pytest.mark.parametrize(("num_frames", "cost"), [(4, 16.35), (8, 32.70), (16, 65.39)])
def test_the_published_costs_are_matched(num_frames, cost):
    with torch.device("meta"):
        net = TSM(50, num_classes=174)
    assert gflops(net, (1, 3, num_frames, 224, 224)) == pytest.approx(cost, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "blocks", "kind"),
    [
        (18, (2, 2, 2, 2), BasicBlock),
        (34, (3, 4, 6, 3), BasicBlock),
        (50, (3, 4, 6, 3), Bottleneck),
        (101, (3, 4, 23, 3), Bottleneck),
        (152, (3, 8, 36, 3), Bottleneck),
    ],
)
def test_the_depth_sets_number_and_kind_of_blocks(depth, blocks, kind):
    net = small(depth=depth).base_model
    assert tuple(len(getattr(net, f"layer{i}")) for i in range(1, 5)) == blocks
    assert sum(type(module) is kind for module in net.modules()) == sum(blocks)


def shifted_blocks(net: TSN) -> list[str]:
    return [
        name.removeprefix("base_model.layer").removesuffix(".shift")
        for name, module in net.named_modules()
        if isinstance(module, TemporalShift)
    ]


def test_every_block_shifts_or_every_second_of_a_stage_or_none():
    assert shifted_blocks(small()) == ["1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1"]
    assert shifted_blocks(small(depth=50, shift_every=2)) == [
        *("1.0", "1.2", "2.0", "2.2", "3.0", "3.2", "3.4", "4.0", "4.2")
    ]
    assert shifted_blocks(small(TSN)) == []


def test_the_configuration_sets_which_blocks_and_channels_shift():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.MODEL_NAME", "TSM", "RESNET.WIDTH_PER_GROUP", 8])
    cfg.merge_from_list(["TSM.SHIFT_EVERY", 2, "TSM.FOLD_DIV", 4, "RESNET.DEPTH", 18])
    net = build_model(cfg)
    assert shifted_blocks(net) == ["1.0", "2.0", "3.0", "4.0"]
    assert net.base_model.layer1[0].shift.fold_div == 4


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_the_branch_sees_shifted_and_then_altered_frames_and_the_shortcut_neither(depth):
    model = flexible(depth=depth).eval()
    block, tag = model.net.base_model.layer2[0], "4"
    x = torch.rand(8, block.conv1.in_channels, 6, 6)
    with model.rates.at(tag):
        y = block.shift(x, 4) * (1 + block.adaconv.copies[tag].weight[:, 0])
        y = block.bn1(block.conv1(y)).relu()
        y = block.bn2(block.conv2(y))
        y = y if depth == 18 else block.bn3(block.conv3(y.relu()))
        expected = (y + block.downsample(x)).relu()
        torch.testing.assert_close(block(x, 4), expected)


@torch.no_grad()
def test_the_logits_of_tsn_are_the_mean_over_frames():
    net, clip = small(TSN).eval(), clip_of(5)
    by_frame = torch.stack([net(clip[:, :, t : t + 1]) for t in range(5)])
    torch.testing.assert_close(net(clip), by_frame.mean(0))


def test_convolutions_start_at_the_scale_of_their_outputs_and_the_classifier_small():
    net = small(depth=50, width=64, num_classes=174)
    weight = net.base_model.layer3[1].conv1.weight  # 1024 to 256
    assert weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert net.new_fc.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert net.new_fc.bias.eq(0).all()


def test_blocks_start_as_identity_when_asked():
    for depth, last in ((18, "bn2"), (50, "bn3")):
        block = small(depth=depth, zero_init_final_bn=True).base_model.layer3[1]
        assert getattr(block, last).weight.eq(0).all() and block.bn1.weight.eq(1).all()


# ---------------------------------------------------------------------------- frames and videos


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [*COUNTS, 3, 11])
def test_no_rate_lets_one_video_see_another(num_frames):
    model, clip = flexible().eval(), clip_of(num_frames, batch=4)
    changed = clip.clone()
    changed[1] = clip_of(num_frames, batch=1)[0]
    same = model(clip).isclose(model(changed), atol=1e-6).all(dim=1)
    assert same.tolist() == [True, False, True, True]


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_that_are_no_multiple_of_the_highest_count_train_at_every_rate(batch):
    model = flexible().train()
    for count in COUNTS:
        model(clip_of(count, batch, size=64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 70), (96, 64)])
def test_any_resolution_is_taken(size):
    assert small().eval()(torch.randn(1, 3, 2, *size)).shape == (1, 5)


@torch.no_grad()
def test_channels_last_weights_give_the_same_logits():
    net, clip = small(depth=50).eval(), clip_of(4)
    expected = net(clip)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(clip), expected)


# ---------------------------------------------------------------------------- checkpoint names


def shortcuts(state: dict) -> set[str]:
    return {key for key in state if key.startswith("base_model.layer2.0.downsample")}


def test_plain_names_are_torchvisions_under_base_model():
    state = small().state_dict()
    prefix = "base_model.layer2.0.downsample"
    assert shortcuts(state) == {f"{prefix}.0.weight", *(f"{prefix}.1.{leaf}" for leaf in LEAVES)}
    assert {"base_model.conv1.weight", "base_model.bn1.bias", "new_fc.weight"} <= set(state)
    assert set(small(dropout=0.5).state_dict()) == set(small(TSN).state_dict()) == set(state)


def test_flexible_names_are_those_of_the_published_ffn():
    prefix = "base_model.layer2.0.downsample"
    expected = {f"{prefix}_bn_{tag}.{leaf}" for tag in COUNTS for leaf in LEAVES}
    assert shortcuts(flexible().state_dict()) == expected | {f"{prefix}_conv.weight"}


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for count in (*COUNTS, 5):
        clip = clip_of(count)
        assert torch.equal(a.eval()(clip), b.eval()(clip))


@torch.no_grad()
def test_both_kinds_of_checkpoints_load_into_their_network():
    for model, fresh in (
        (perturb(small(), 0.03), small()),
        (flexible(), FrameFlexible(small(), COUNTS)),
    ):
        fresh.load_state_dict(model.state_dict())
        assert_same(fresh, model)


@torch.no_grad()
@pytest.mark.parametrize("load", [lambda m, s: m.load_state_dict(s, strict=False), load_weights])
def test_a_plain_checkpoint_fills_every_copy(load):
    plain, model = perturb(small(), 0.03), FrameFlexible(small(), COUNTS)
    gains = [tensor.zero_() for name, tensor in model.named_parameters() if "adaconv" in name]
    report = load(model, plain.state_dict())
    missing = report.missing if hasattr(report, "missing") else report.missing_keys
    assert len(missing) == len(gains) and all("adaconv" in name for name in missing)
    assert_same(model, plain)


def test_a_flexible_checkpoint_does_not_load_into_a_plain_network():
    with pytest.raises(RuntimeError, match=r"(?s)downsample\.0\.weight.*downsample_conv"):
        small().load_state_dict(flexible().state_dict())


@torch.no_grad()
def test_a_copy_of_one_rate_has_the_plain_names_again():
    model = flexible().eval()
    assert set(specialize(model, 4, fold_norms=False).state_dict()) == set(small().state_dict())
    for fold_norms in (False, True):
        single, clip = specialize(model, 4, fold_norms), clip_of(4)
        torch.testing.assert_close(single(clip), model(clip), rtol=1e-4, atol=1e-4)


def test_specialising_folds_every_norm_and_gain():
    net = specialize(flexible(depth=50), 4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert not any("adaconv" in name for name in net.state_dict())


def test_a_copied_network_keeps_its_names():
    model = flexible()
    assert list(copy.deepcopy(model).state_dict()) == list(model.state_dict())


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, "depth=20; TSM has 18, 34, 50, 101, 152"),
        ({"shift_every": 0}, "shift_every=0 must be 1 or more"),
        ({"fold_div": 1}, "fold_div=1 must be at least 2"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
