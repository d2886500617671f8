import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet
from helpers.source import ROOT
from slowfast.config import get_cfg, load_cfg
from slowfast.engine.optimization.optimizer import (
    build_optimizer,
    clip_gradients,
    parameter_groups,
    set_learning_rate,
)
from slowfast.layers.alter import Gain
from slowfast.models import TSM, FrameFlexible, MViT, make_frame_flexible
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


# ---------------------------------------------------------------------------- listed parameters


def test_parameters_with_a_listed_name_do_not_decay():
    found = decays(net(), exempt_1d=False, exempt_names=["2.weight", "1.b"])
    assert found["2.weight"] == found["1.bias"] == 0
    assert found["0.weight"] == 0.5 and found["1.weight"] == 0.25


def test_listed_names_may_be_those_of_checkpoints():
    model = FrameFlexible(ForeignNet(), (2, 4))
    found = decays(model, exempt_1d=False, exempt_names=["norms_4", "stem"])
    exempt = {name for name, decay in found.items() if decay == 0}
    copies = {f"net.block.norms.{i}.copies.4.{leaf}" for i in (0, 1) for leaf in ("weight", "bias")}
    assert exempt == {"net.stem.weight"} | copies


def test_a_listed_name_that_no_parameter_has_is_named():
    with pytest.raises(ValueError, match="SOLVER.NO_WEIGHT_DECAY names 'positons'"):
        parameter_groups(net(), 0.5, 0.25, exempt_1d=False, exempt_names=["positons"])


# ---------------------------------------------------------------------------- learning rates


def test_layers_have_learning_rates_of_their_own():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.LAYER_DECAY", 0.5, "SOLVER.ZERO_WD_1D_PARAM", True])
    model = MViT(depth=2, dim=16, num_frames=2, crop_size=8)
    optimizer = build_optimizer(model, cfg)
    set_learning_rate(optimizer, 0.8)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert found["cls_token"] == found["patch_embed.proj.bias"] == 0.1
    assert found["blocks.0.norm1.weight"] == 0.2 and found["blocks.1.attn.qkv.weight"] == 0.4
    assert found["norm.weight"] == found["head.projection.weight"] == 0.8
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(model.blocks[0].norm1.weight)] == decay[id(model.cls_token)] == 0


def learning_rates(model, *overrides, base=0.1):
    """The learning rate of each parameter, by name."""
    cfg = get_cfg()
    cfg.merge_from_list(list(overrides))
    optimizer = build_optimizer(model, cfg)
    set_learning_rate(optimizer, base)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rates[id(p)] for name, p in model.named_parameters()}


def test_biases_have_a_learning_rate_of_their_own_and_those_of_norms_do_not():
    model = FrameFlexible(TSM(18, num_classes=3), (2, 4))
    found = learning_rates(model, "SOLVER.BIAS_LR_SCALE", 2.0, "MODEL.NUM_CLASSES", 3)
    assert {name for name, rate in found.items() if rate == 0.2} == {"net.new_fc.bias"}
    assert set(found.values()) == {0.1, 0.2}
    found = learning_rates(net(), "SOLVER.BIAS_LR_SCALE", 2.0)
    assert {name for name, rate in found.items() if rate == 0.2} == {"0.bias"}


def test_the_classifier_has_five_times_and_its_bias_ten_times_the_learning_rate_as_published():
    keys = ["SOLVER.BIAS_LR_SCALE", 2.0, "SOLVER.CLASSIFIER_LR_SCALE", 5.0, "MODEL.NUM_CLASSES", 3]
    found = learning_rates(TSM(18, num_classes=3), *keys)
    assert found.pop("new_fc.weight") == 0.5 and found.pop("new_fc.bias") == 1.0
    assert set(found.values()) == {0.1}


def test_all_factors_on_the_learning_rate_multiply():
    keys = ["SOLVER.LAYER_DECAY", 0.5, "SOLVER.BIAS_LR_SCALE", 2.0]
    keys += ["SOLVER.CLASSIFIER_LR_SCALE", 4.0, "MODEL.NUM_CLASSES", 3]
    model = MViT(3, depth=2, dim=16, num_frames=2, crop_size=8)
    found = learning_rates(model, *keys, base=0.8)
    assert found["patch_embed.proj.weight"] == 0.1 and found["patch_embed.proj.bias"] == 0.2
    assert found["blocks.0.norm1.bias"] == 0.2
    assert found["head.projection.weight"] == 3.2 and found["head.projection.bias"] == 6.4


PUBLISHED_SCALES = {  # of biases and of the classifier
    "configs/SSv1/TSM_R50": (2, 5),
    "configs/Kinetics/TEA_R50": (2, 5),
    "projects/ffn/configs/SSv2/TSM_R50_FFN": (2, 5),
    "projects/res_kd/configs/ActivityNet/TSN_R152": (2, 1),
    "projects/res_kd/configs/ActivityNet/RESKD_R50_R50": (2, 1),
    "projects/res_kd/configs/ActivityNet/TSN_R50_112": (1, 1),
    "projects/res_kd/configs/Kinetics/RESKD_SLOWONLY_R50": (1, 1),
    "projects/res_kd/configs/Kinetics/RESKD_SWIN_B_S": (1, 10),
}


@pytest.mark.parametrize("name", PUBLISHED_SCALES)
def test_the_yamls_have_the_published_factors(name):
    solver = load_cfg(ROOT / f"{name}.yaml").SOLVER
    assert (solver.BIAS_LR_SCALE, solver.CLASSIFIER_LR_SCALE) == PUBLISHED_SCALES[name]


def test_a_network_without_a_classifier_of_the_classes_is_named():
    keys = ["SOLVER.CLASSIFIER_LR_SCALE", 5.0, "MODEL.NUM_CLASSES", 3]
    with pytest.raises(ValueError, match=r"SOLVER.CLASSIFIER_LR_SCALE=5.0 finds no classifier"):
        learning_rates(TSM(18, num_classes=4), *keys)


def test_without_layer_decay_groups_are_those_of_weight_decay_alone():
    groups = parameter_groups(net(), 0.5, 0.25, exempt_1d=True)
    assert [group["weight_decay"] for group in groups] == [0.25, 0.5, 0.0]
    assert {group["lr_scale"] for group in groups} == {1.0}


def test_a_state_from_before_there_were_scales_sets_the_plain_rate():
    optimizer = build_optimizer(net(), get_cfg())
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["lr_scale"]
    optimizer.load_state_dict(state)
    set_learning_rate(optimizer, 0.3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


def test_what_is_frozen_is_in_no_group():
    model = net().requires_grad_(False)
    model[2].requires_grad_(True)
    groups = parameter_groups(model, 0.5, 0.25, exempt_1d=False)
    assert [group["params"] for group in groups] == [[model[2].weight]]
