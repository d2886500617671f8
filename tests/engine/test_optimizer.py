import pytest
import torch
from torch import nn

from slowfast.config import get_cfg
from slowfast.engine.optimizer import build_optimizer, clip_gradients, parameter_groups
from slowfast.layers.alter import Gain
from slowfast.models import MViT, make_frame_flexible
from slowfast.models.flexible import Rates


def net():
    return nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), Gain(4), nn.LayerNorm(2))


def decays(model, **kwargs):
    """Weight decay by parameter name."""
    groups = parameter_groups(model, 0.5, 0.25, **kwargs)
    by_id = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    return {name: by_id[id(p)] for name, p in model.named_parameters()}


def test_batch_norm_has_its_own_decay_and_gains_decay_fully():
    found = decays(net(), exempt_1d=False)
    assert found["1.weight"] == found["1.bias"] == 0.25
    assert found["0.weight"] == found["0.bias"] == found["2.weight"] == found["3.bias"] == 0.5


def test_one_dimensional_parameters_can_be_exempt():
    found = decays(net(), exempt_1d=True)
    assert found["0.bias"] == found["3.weight"] == 0.0
    assert found["1.weight"] == 0.25 and found["2.weight"] == 0.5


def test_positions_of_tokens_can_be_exempt():
    net = MViT(depth=1, dim=16, num_frames=2, crop_size=8, rel_pos_temporal=True)
    positions = {"cls_token", "pos_embed", "blocks.0.attn.rel_pos_t"}
    found = decays(net, exempt_1d=False, exempt_positions=True)
    assert {name for name, decay in found.items() if decay == 0} == positions
    assert set(decays(net, exempt_1d=False).values()) == {0.5}


def test_private_norms_decay_like_norms():
    model = make_frame_flexible(net(), Rates(("2", "4"), (2, 4)))
    found = {name: decay for name, decay in decays(model, exempt_1d=False).items() if ".1." in name}
    assert all(decay in (0.25, 0.5) for decay in found.values())
    groups = parameter_groups(model, 0.5, 0.25, exempt_1d=False)
    assert sum(len(g["params"]) for g in groups if g["weight_decay"] == 0.25) == 4


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_method_takes_a_step(name):
    cfg = get_cfg()
    cfg.SOLVER.OPTIMIZING_METHOD = name
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    build_optimizer(model, cfg).step()
    assert not torch.equal(before, model.weight)


def test_clipping_returns_the_norm_before_it():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], None, 1.0) == 5
    assert parameter.grad.norm() == pytest.approx(1, rel=1e-5)


def test_clipping_by_value_bounds_every_entry():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, -4.0])
    clip_gradients([parameter], 2.0, None)
    assert parameter.grad.tolist() == [2, -2]
