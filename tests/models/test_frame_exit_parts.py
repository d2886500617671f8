"""FrameExit's backbones, what its stages train, and what other code makes of it."""

import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet
from helpers.frame_exits import CLASSES, EXITS, clip_of, small, splitting, with_statistics
from slowfast.models import TSN, X3D, FrameExit, build_model, to_scores
from slowfast.models.exits import Exits
from slowfast.models.flexible import specialize
from tests.models.test_build import BACKBONES, cfg_of, said

# ---------------------------------------------------------------------------- backbones


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_every_network_of_the_project_can_be_the_backbone(name):
    overrides = ("FRAME_EXIT.BACKBONE", name, "DATA.NUM_FRAMES", 8, "FRAME_EXIT.CLIP_LENGTH", 4)
    depth = ("RESNET.DEPTH", 50) if name == "TEA" else ()
    torch.manual_seed(0)
    net = with_statistics(build_model(cfg_of("FrameExit", *overrides, *depth)), 8)
    clip = clip_of(8, batch=6)
    exits = net(clip)
    assert exits.logits.shape == (6, 2, 5) and exits.logits.isfinite().all()
    first, gates = splitting(net, clip)
    found = net.infer(clip, first, gates)
    expected = net.decide(exits, first, gates)
    assert torch.equal(found.exits, expected.exits)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert 0 < (found.exits == 0).sum() < 6


def test_the_features_of_the_backbone_may_be_pooled_themselves():
    net = small(hidden_dim=0)
    assert net.classifiers[0].in_features == 64  # ResNet-18 of width 8
    assert net(clip_of()).logits.shape == (3, EXITS, CLASSES)


def test_on_larger_crops_a_dense_head_has_the_mean_of_its_positions():
    x3d = X3D(3, width_factor=0.5, depth_factor=0.5, dim_c5=16, head_window=(1, 1))
    net = small(x3d, hidden_dim=0, clip_length=2)
    clip = clip_of(2, size=64)
    assert x3d(clip).shape == (3, 4, 16)
    torch.testing.assert_close(net.features(clip), x3d(clip).mean(1))


def test_a_backbone_that_does_not_name_its_classifier_is_refused():
    with pytest.raises(ValueError, match="ForeignNet cannot be a FRAME_EXIT.BACKBONE"):
        FrameExit(ForeignNet())


def test_a_network_of_exits_is_no_backbone_of_another():
    with pytest.raises(ValueError, match="'FrameExit' has exits already"):
        build_model(cfg_of("FrameExit", "FRAME_EXIT.BACKBONE", "FrameExit"))


# ---------------------------------------------------------------------------- training


TRAINED = {
    "classifiers": {"backbone", "mlp", "classifiers"},
    "gates": {"gates"},
    "joint": {"backbone", "mlp", "classifiers", "gates"},
}


@pytest.mark.parametrize("stage", TRAINED)
def test_a_stage_trains_its_parts_alone(stage):
    net = small(stage=stage)
    net.train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1, 0.9)
    for _ in range(2):
        optimizer.zero_grad()
        said(net(clip_of())).square().sum().backward()
        optimizer.step()
        net.train()
    changed = {n for n, tensor in net.state_dict().items() if not torch.equal(tensor, before[n])}
    assert {name.partition(".")[0] for name in changed} == TRAINED[stage]
    trainable = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert trainable == TRAINED[stage]


def test_gates_do_not_change_what_they_look_at():
    net = small().train()
    net(clip_of()).gate_logits.square().sum().backward()
    learnt = {n.partition(".")[0] for n, p in net.named_parameters() if p.grad is not None}
    assert learnt == {"gates"}


def test_frozen_features_are_in_training_what_they_are_in_testing():
    net = small(stage="gates", dropout=0.5)
    expected = net(clip_of()).logits
    assert torch.equal(net.train()(clip_of()).logits, expected)
    assert not torch.equal(small(dropout=0.5).train()(clip_of()).logits, expected)


def test_mixed_precision_trains():
    net = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        exits = net(clip_of())
    assert exits.gates.dtype == torch.float32
    said(exits).float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="stage='all' must be one of classifiers, gates, joint"):
        small(stage="all")


# ---------------------------------------------------------------------------- around it


def test_the_scores_of_a_network_are_those_of_its_last_exit():
    exits = Exits(torch.tensor([[[0.0, 9.0], [2.0, 0.0]]]), torch.zeros(1, 1))
    torch.testing.assert_close(to_scores(exits), torch.tensor([[2.0, 0.0]]).softmax(-1))


@torch.no_grad()
def test_the_specialised_network_says_the_same_without_norms():
    net, clip = small(), clip_of()
    folded = specialize(net, EXITS)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    torch.testing.assert_close(said(folded(clip)), said(net(clip)), atol=1e-5, rtol=1e-4)
    assert torch.equal(folded.infer(clip, 0.2).exits, net.infer(clip, 0.2).exits)


@torch.no_grad()
def test_a_checkpoint_brings_back_exits_and_gates():
    net, again = small(), small(TSN(18, num_classes=3, width=8))
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    again.load_state_dict(net.state_dict())
    assert torch.equal(said(again(clip_of())), said(net(clip_of())))
