from unittest.mock import patch

import pytest
import torch
from torch import nn

from helpers.foreign_net import perturb
from slowfast.layers.alter import Gain
from slowfast.models import TEA, FrameFlexible
from slowfast.models.flexible import specialize
from slowfast.models.tea import MotionExcitation, TEABlock
from slowfast.models.tsn import BLOCKS_PER_STAGE
from slowfast.report.cost import gflops

COUNTS = (2, 4, 8)


def small(**kwargs) -> TEA:
    torch.manual_seed(0)
    with patch.dict(BLOCKS_PER_STAGE, {50: (2, 1, 1, 1)}):
        return TEA(**{"num_classes": 5, "width": 8, "dropout": 0.0} | kwargs)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("num_classes", "plain", "flexible"),
    [
        (51, 24_204_253, 24_349_309),
        (101, 24_306_703, 24_451_759),
        (174, 24_456_280, 24_601_336),
        (339, 24_794_365, 24_939_421),
        (400, 24_919_354, 25_064_410),
    ],
)
def test_the_published_numbers_of_parameters_are_matched(num_classes, plain, flexible):
    with torch.device("meta"):
        net = TEA(50, num_classes)
        assert parameters(net) == plain
        assert parameters(FrameFlexible(net, (4, 8, 16), alter=False)) == flexible


def test_the_published_cost_is_matched_but_for_the_temporal_convolutions():
    """These, 0.074 of the published 34.53 billion at 8 frames, run as sums, which do not count."""
    with torch.device("meta"):
        net = TEA(num_classes=174)
    assert gflops(net, (1, 3, 8, 224, 224)) == pytest.approx(34.53 - 0.074, abs=0.01)


def test_groups_are_26_52_104_and_208_channels_wide():
    with torch.device("meta"):
        net = TEA().base_model
    stages = [getattr(net, f"layer{i}") for i in range(1, 5)]
    assert [stage[1].convs[0].in_channels for stage in stages] == [26, 52, 104, 208]
    assert [stage[1].me.conv1.out_channels for stage in stages] == [6, 13, 26, 52]


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 6])
def test_motion_excitation_gates_by_the_mean_difference_of_neighbouring_frames(num_frames):
    me = perturb(MotionExcitation(32)).eval()
    x = torch.randn(6, 32, 5, 7)
    squeezed = me.bn1(me.conv1(x)).unflatten(0, (-1, num_frames))
    convolved = me.conv2(squeezed.flatten(0, 1)).unflatten(0, (-1, num_frames))
    difference = torch.zeros_like(squeezed)
    difference[:, :-1] = convolved[:, 1:] - squeezed[:, :-1]
    pooled = difference.flatten(0, 1).mean((2, 3), keepdim=True)
    gate = me.bn3(me.conv3(pooled)).sigmoid() - 0.5
    torch.testing.assert_close(me(x, num_frames), x + x * gate)


@torch.no_grad()
@pytest.mark.parametrize("parallel", [False, True])
def test_groups_join_one_after_the_other_but_in_the_first_block_of_a_stage(parallel):
    torch.manual_seed(0)
    block, x = TEABlock(64, 16, parallel=parallel).eval(), torch.randn(4, 64, 8, 8)
    nn.init.zeros_(block.conv3.weight[:, : block.convs[0].in_channels])  # its own way out
    before = block(x, 4)
    block.bns[0].bias.fill_(1.0)  # what the first group gives
    assert torch.equal(block(x, 4), before) == parallel


def test_temporal_convolutions_start_as_identity_and_the_last_as_two_shifts():
    block = small(width=64).base_model.layer1[1]
    *first, last = (shift.conv.weight[:, 0] for shift in block.shifts)
    assert all(weight.eq(torch.tensor([0.0, 1.0, 0.0])).all() for weight in first)
    assert last[:13].eq(torch.tensor([0.0, 0.0, 1.0])).all()
    assert last[13:].eq(torch.tensor([1.0, 0.0, 0.0])).all()


@pytest.mark.parametrize("width", [1, 3, 8, 10, 11])
def test_any_width_trains(width):
    net = small(width=width)
    net(torch.randn(2, 3, 3, 32, 32)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@torch.no_grad()
def test_any_resolution_is_taken():
    assert small().eval()(torch.randn(1, 3, 2, 40, 70)).shape == (1, 5)


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [*COUNTS, 3, 11])
def test_no_rate_lets_one_video_see_another(num_frames):
    model = perturb(FrameFlexible(small(), COUNTS), 0.03).eval()
    clip = torch.randn(3, 3, num_frames, 32, 32)
    changed = clip.clone()
    changed[1] = clip[1].roll(1, dims=0).flip(1)
    same = model(clip).isclose(model(changed), atol=1e-6).all(dim=1)
    assert same.tolist() == [True, False, True]


def test_gains_are_there_only_when_asked_for():
    published, altered = FrameFlexible(small(), COUNTS, alter=False), FrameFlexible(small(), COUNTS)
    assert not any("adaconv" in name for name in published.state_dict())
    assert sum(isinstance(m, Gain) for m in altered.modules()) == 5 * len(COUNTS)


@torch.no_grad()
@pytest.mark.parametrize("alter", [True, False])
def test_a_network_of_one_rate_without_norms_gives_the_same_logits(alter):
    model = perturb(FrameFlexible(small(), COUNTS, alter=alter), 0.03).eval()
    clip, single = torch.randn(2, 3, 4, 32, 32), specialize(model, 4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in single.modules())
    torch.testing.assert_close(single(clip), model(clip), rtol=1e-4, atol=1e-4)


def test_depths_without_bottlenecks_are_refused():
    with pytest.raises(ValueError, match="depth=18; TEA has 50, 101, 152"):
        TEA(18)
