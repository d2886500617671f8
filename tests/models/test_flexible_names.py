import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from slowfast.models.flexible import FrameFlexible, RateSwitch

COUNTS = (2, 4, 8)


def flexible(net=None, num_frames=COUNTS, **kwargs) -> FrameFlexible:
    return perturb(FrameFlexible(net or MarkedNet(), num_frames, **kwargs))


# ---------------------------------------------------------------------------- checkpoint names


def test_checkpoint_names_are_the_published_ones():
    names = list(FrameFlexible(MarkedNet(), (16, 32), tags=("4", "8")).state_dict())
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    norms = [f"block.norms_{t}.{i}.{leaf}" for i in (0, 1) for t in (4, 8) for leaf in leaves]
    assert names == [
        "stem.weight",
        *[f"bn_{tag}.{leaf}" for tag in (4, 8) for leaf in leaves],
        "block.spatial.weight",
        "block.temporal.weight",
        *norms,
        "fc.weight",
        "fc.bias",
        "adaconv_4.weight",
        "adaconv_8.weight",
    ]


def test_names_of_a_network_that_is_a_plain_list_of_layers_keep_their_index():
    model = FrameFlexible(nn.Sequential(nn.Conv3d(3, 3, 1), nn.GroupNorm(1, 3)), COUNTS)
    assert "1_4.weight" in model.state_dict()


def assert_same_state(a: nn.Module, b: nn.Module) -> None:
    assert list(a.state_dict()) == list(b.state_dict())
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def test_a_state_dict_loads_into_a_fresh_model():
    model, fresh = flexible(), FrameFlexible(MarkedNet(), COUNTS)
    fresh.load_state_dict(model.state_dict())
    assert_same_state(fresh, model)


def test_a_saved_file_loads_safely(tmp_path):
    model, fresh = flexible(), FrameFlexible(MarkedNet(), COUNTS)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert_same_state(fresh, model)


def test_the_bare_network_has_the_same_names():
    model = flexible()
    assert list(model.net.state_dict()) == list(model.state_dict())
    fresh = FrameFlexible(MarkedNet(), COUNTS)
    fresh.net.load_state_dict(model.state_dict())
    assert_same_state(fresh, model)


def test_a_wrapper_only_adds_its_prefix():
    model, fresh = flexible(), nn.DataParallel(FrameFlexible(MarkedNet(), COUNTS))
    names = [f"module.{name}" for name in model.state_dict()]
    assert list(fresh.state_dict()) == names
    fresh.load_state_dict(dict(zip(names, model.state_dict().values(), strict=True)))
    assert_same_state(fresh.module, model)


def test_two_flexible_networks_can_live_in_a_bigger_one():
    pair = nn.ModuleDict({"a": flexible(), "b": flexible(num_frames=(3, 9))})
    fresh = nn.ModuleDict(
        {"a": FrameFlexible(MarkedNet(), COUNTS), "b": FrameFlexible(MarkedNet(), (3, 9))}
    )
    assert "a.bn_8.weight" in pair.state_dict() and "b.block.norms_9.1.bias" in pair.state_dict()
    fresh.load_state_dict(pair.state_dict())
    assert_same_state(fresh, pair)


def test_a_network_with_a_layer_called_net_keeps_its_names():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.x = nn.ModuleDict({"x": nn.Linear(2, 2)}), nn.LayerNorm(2)
            self.net["net"] = nn.ModuleDict({"x": nn.Linear(2, 2)})

    model, fresh = flexible(Outer()), FrameFlexible(Outer(), COUNTS)
    assert {"net.x.weight", "net.net.x.weight", "x_4.weight"} <= set(model.state_dict())
    fresh.load_state_dict(model.state_dict())
    assert_same_state(fresh, model)


def test_a_plain_checkpoint_fills_every_copy():
    net = perturb(ForeignNet())
    model = FrameFlexible(ForeignNet(), COUNTS)
    model.load_state_dict(net.state_dict())
    for num_frames in COUNTS:
        clip = clip_of(num_frames)
        assert torch.equal(model.eval()(clip), net.eval()(clip))


def test_strict_loading_of_a_plain_checkpoint_reports_the_gains_and_nothing_else():
    result = FrameFlexible(MarkedNet(), COUNTS).load_state_dict(
        MarkedNet().state_dict(), strict=False
    )
    assert not result.unexpected_keys
    assert all("adaconv" in key for key in result.missing_keys) and len(result.missing_keys) == 3


def test_unknown_names_are_unexpected_under_their_own_name():
    model = flexible()
    state = model.state_dict() | {"bn_16.weight": torch.zeros(8)}
    with pytest.raises(RuntimeError, match='Unexpected.*bn_16.weight"'):
        model.load_state_dict(state)


# ---------------------------------------------------------------------------- copies of the model


def test_a_deep_copy_has_one_rates_object_of_its_own():
    model = flexible()
    clone = copy.deepcopy(model)
    assert clone.rates is not model.rates
    switches = [module for module in clone.modules() if isinstance(module, RateSwitch)]
    assert {id(switch.rates) for switch in switches} == {id(clone.rates)}
    with model.rates.at("2"):
        assert clone.rates.active == "8"


def test_a_deep_copy_saves_and_loads_its_own_weights():
    model = flexible()
    clone = perturb(copy.deepcopy(model))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fresh = copy.deepcopy(FrameFlexible(MarkedNet(), COUNTS))
    fresh.load_state_dict(clone.state_dict())
    assert_same_state(fresh, clone)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.equal(weights["bn_4.weight"], clone.state_dict()["bn_4.weight"])
