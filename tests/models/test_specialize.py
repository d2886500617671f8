import copy
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from helpers import foreign_net
from helpers.foreign_net import ForeignNet, MarkedNet, perturb
from slowfast.layers.alter import Alter, Gain
from slowfast.layers.conv import Conv3d
from slowfast.models import FrameFlexible
from slowfast.models.flexible import (
    Rates,
    RateSwitch,
    Specialized,
    make_frame_flexible,
    specialize,
)
from tests.models.test_build import (
    BACKBONES,
    COUNTS,
    SIZE,
    clip_of,
    every_backbone,
    flexible_net,
    plain_net,
)


@cache
def trained_net(name: str) -> FrameFlexible:
    """A flexible network whose parameters and statistics differ between rates; not to change."""
    model = flexible_net(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, buffer in model.named_buffers():
            if buffer.is_floating_point():
                noise = torch.rand(buffer.shape, generator=generator)
                buffer += noise if key.endswith("running_var") else 0.2 * noise - 0.1
    return model.eval()


def assert_equal_logits(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    assert (a - b).abs().max() <= tolerance * b.abs().max()


def has(net: nn.Module, *kinds: type) -> bool:
    return any(isinstance(module, kinds) for module in net.modules())


# ---------------------------------------------------------------------------- every network

# Behind these marks come a LayerNorm and a shortcut: no weight can take over what a gain does.
KEEPS_GAINS = {"MViT", "VideoSwin"}
every_folded_network = pytest.mark.parametrize("name", sorted(set(BACKBONES) - KEEPS_GAINS))


@every_backbone
@pytest.mark.parametrize("fold_norms", [True, False])
@torch.no_grad()
def test_a_specialised_network_gives_the_logits_of_every_rate_and_between(name, fold_norms):
    model = trained_net(name)
    for num_frames in (*COUNTS, 3, 11):
        clip = clip_of(num_frames)
        found = specialize(model, num_frames, fold_norms)(clip)
        assert_equal_logits(found, model(clip), 1e-4)


@every_backbone
@torch.no_grad()
def test_folding_is_exact_up_to_rounding(name):
    model = copy.deepcopy(trained_net(name)).double()
    for num_frames in COUNTS:
        clip = clip_of(num_frames).double()
        assert_equal_logits(specialize(model, num_frames)(clip), model(clip), 1e-11)


@every_backbone
def test_nothing_of_the_rates_is_left(name):
    net = specialize(trained_net(name), COUNTS[0])
    assert not has(net, RateSwitch, FrameFlexible)


@every_folded_network
def test_every_gain_that_the_network_marks_is_folded(name):
    assert not has(specialize(trained_net(name), COUNTS[0]), Gain)


@every_backbone
def test_every_batch_norm_is_folded(name):
    assert not has(specialize(trained_net(name), COUNTS[0]), nn.modules.batchnorm._BatchNorm)


@every_folded_network
@torch.no_grad()
def test_without_its_norms_folded_the_state_dict_is_the_plain_networks(name):
    model, plain = trained_net(name), plain_net(name).eval()
    net = specialize(model, COUNTS[1], fold_norms=False)
    assert list(net.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain(clip_of(COUNTS[1])), net(clip_of(COUNTS[1])))


@every_folded_network
@torch.no_grad()
def test_a_folded_state_dict_loads_into_another_specialised_network(name):
    net = specialize(trained_net(name), COUNTS[1])
    again = specialize(plain_net(name), COUNTS[1])
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(clip_of(COUNTS[1])), net(clip_of(COUNTS[1])))


@every_backbone
@torch.no_grad()
def test_the_original_is_left_as_it_was(name):
    model = copy.deepcopy(trained_net(name)).train()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    net = specialize(model, COUNTS[0])
    for parameter in net.parameters():
        parameter.zero_()
    assert modes == [module.training for module in model.modules()]
    assert not any(module.training for module in net.modules())
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@every_backbone
@torch.no_grad()
def test_a_plain_network_keeps_its_logits_without_its_norms(name):
    plain = specialize(trained_net(name), COUNTS[2], fold_norms=False)
    folded = specialize(plain, COUNTS[0])
    for num_frames in (*COUNTS, 3):
        assert_equal_logits(folded(clip_of(num_frames)), plain(clip_of(num_frames)), 1e-4)


@every_backbone
@torch.no_grad()
def test_a_specialised_network_can_be_exported(name):
    net, clip = specialize(trained_net(name), 4), clip_of(4)
    exported = torch.export.export(net, (clip,)).module()
    torch.testing.assert_close(exported(clip), net(clip))


@every_backbone
def test_folding_keeps_the_memory_layout_of_the_weights(name):
    plain, net = plain_net(name), specialize(trained_net(name), 4)
    strides = {key: p.stride() for key, p in plain.named_parameters() if key.endswith("weight")}
    assert {strides[key] == p.stride() for key, p in net.named_parameters() if key in strides} == {
        True
    }


# ---------------------------------------------------------------------------- other networks


def foreign(net: nn.Module | None = None) -> FrameFlexible:
    return perturb(FrameFlexible(net or MarkedNet(), COUNTS)).eval()


def two_layers(*layers: nn.Module, **declared: tuple) -> nn.Module:
    """`layers` one after another in a block that declares its folds and is no `nn.Sequential`."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    for name, value in declared.items():
        setattr(Chain, name, value)
    return perturb(Chain()).eval().double()


def assert_folds(net: nn.Module, x: torch.Tensor, remaining: int) -> None:
    """Equal outputs, with `remaining` norms and gains left."""
    folded = specialize(net, 1)
    torch.testing.assert_close(folded(x), net(x))
    left = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm | Gain)]
    assert len(left) == remaining


X = torch.randn(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
IN_ORDER = (("layers.0", "layers.1"),)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 8, 50])
@torch.no_grad()
def test_a_network_that_declares_nothing_keeps_its_norms_and_logits(num_frames):
    model = foreign()
    net, clip = specialize(model, num_frames), foreign_net.clip_of(num_frames)
    assert torch.equal(net(clip), model(clip))
    assert has(net, Gain) and has(net, nn.BatchNorm3d) and not has(net, RateSwitch)


def test_a_network_converted_without_the_wrapper_is_specialised_too():
    net = perturb(make_frame_flexible(ForeignNet(), rates := Rates(("2", "4"), (2, 4)))).eval()
    clip = foreign_net.clip_of(3)
    for tag, num_frames in (("2", 1), ("4", 3)):
        with rates.at(tag):
            expected = net(clip)
        assert torch.equal(specialize(net, num_frames)(clip), expected)


def test_a_layer_that_is_used_twice_stays_one_layer():
    net = ForeignNet()
    net.block.norms[1] = net.block.norms[0]
    model = foreign(net)
    clip = foreign_net.clip_of(4)
    found = specialize(model, 4)
    assert torch.equal(found(clip), model(clip))
    assert found.block.norms[0] is found.block.norms[1]


@torch.no_grad()
def test_neighbours_in_a_sequential_fold_undeclared():
    layers = nn.Conv3d(4, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.BatchNorm3d(6)
    net = perturb(nn.Sequential(*layers)).eval().double()
    assert_folds(net, X, remaining=1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("layer", [nn.Conv3d, Conv3d])
@torch.no_grad()
def test_gains_and_norms_fold_into_convolutions_of_any_number_of_groups(layer, groups):
    norm, conv = nn.BatchNorm3d(4), layer(4, 8, 1, groups=groups)
    assert_folds(two_layers(norm, conv, folds=IN_ORDER), X, remaining=0)
    gain, conv = Gain(4), layer(4, 8, 3, padding=1, groups=groups, bias=False)
    assert_folds(two_layers(gain, conv, folds=IN_ORDER), X, remaining=0)
    conv, norm = layer(4, 8, 3, groups=groups), nn.BatchNorm3d(8, affine=False)
    assert_folds(two_layers(conv, norm, folds=IN_ORDER), X, remaining=0)


@torch.no_grad()
def test_a_norm_in_front_of_padding_stays():
    net = two_layers(nn.BatchNorm3d(4), nn.Conv3d(4, 4, 3, padding=1), folds=IN_ORDER)
    assert_folds(net, X, remaining=1)


@torch.no_grad()
def test_a_norm_without_running_statistics_stays():
    norm = nn.BatchNorm3d(4, track_running_stats=False)
    assert_folds(two_layers(nn.Conv3d(4, 4, 1), norm, folds=IN_ORDER), X, remaining=1)


@torch.no_grad()
def test_a_norm_with_a_computation_of_its_own_stays():
    class NormAndReLU(nn.BatchNorm3d):
        def forward(self, x):
            return super().forward(x).relu()

    net = two_layers(nn.Conv3d(4, 4, 1), NormAndReLU(4), folds=IN_ORDER)
    assert_folds(net, X, remaining=1)


@torch.no_grad()
def test_a_convolution_that_computes_its_weight_is_left_alone():
    net = two_layers(weight_norm(nn.Conv3d(4, 4, 1)), nn.BatchNorm3d(4), folds=IN_ORDER)
    assert_folds(net, X, remaining=1)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 5, 3)])
@torch.no_grad()
def test_a_gain_in_front_of_a_residual_convolution_folds_into_it_alone(kernel):
    class Residual(nn.Module):
        residual_folds = (("mark", "conv"),)

        def __init__(self):
            super().__init__()
            self.mark = Gain(4)
            padding = [size // 2 for size in kernel]
            self.conv = Conv3d(4, 4, kernel, padding=padding, groups=4)

        def forward(self, x):
            x = self.mark(x)
            return x + self.conv(x)

    assert_folds(perturb(Residual()).eval().double(), X, remaining=0)


def test_a_folded_gain_is_a_mark_again():
    mark = specialize(flexible_net("R2Plus1D"), 4).stages[0].adaconv
    assert type(mark) is Alter and mark.dim == 2 and mark.kernel_dims == 3


def test_a_network_of_half_precision_stays_one():
    net = specialize(flexible_net("R2Plus1D").bfloat16(), 4)
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.bfloat16}
    assert net(torch.zeros(1, 3, 4, SIZE, SIZE, dtype=torch.bfloat16)).isfinite().all()


# ---------------------------------------------------------------------------- all rates


@torch.no_grad()
def test_specialised_networks_are_made_once_per_rate_that_runs():
    model = flexible_net("R2Plus1D").eval()
    scorer = Specialized(model)
    for num_frames in (1, 2, 3, 4, 5, 2):
        assert_equal_logits(scorer(clip_of(num_frames)), model(clip_of(num_frames)), 1e-5)
    assert list(scorer.nets) == ["2", "4"]


@torch.no_grad()
def test_a_plain_network_is_specialised_once():
    net = plain_net("R2Plus1D").eval()
    scorer = Specialized(net)
    for num_frames in (1, 8):
        assert_equal_logits(scorer(clip_of(num_frames)), net(clip_of(num_frames)), 1e-5)
    assert len(scorer.nets) == 1


def test_another_dimension_may_be_time():
    model = foreign_net.perturb(FrameFlexible(nn.Sequential(nn.LayerNorm(3)), (2, 8), time_dim=1))
    clip = torch.randn(4, 7, 3)
    assert torch.equal(Specialized(model)(clip), model(clip))
