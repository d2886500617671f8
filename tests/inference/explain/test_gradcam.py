"""Grad-CAM against gradients, weights and maps that are found in other ways."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, perturb
from helpers.linear_net import LinearNet
from slowfast.inference.explain.gradcam import Evidence, Explainer, finer_layer, resized
from slowfast.models import FrameFlexible
from tests.models.test_build import BACKBONES, COUNTS, clip_of, flexible_net, plain_net

# Networks that classify the mean of one map by a linear layer.
LINEAR = [name for name in BACKBONES if name not in ("MViT", "SlowFast", "X3D")]
WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 0.0, 2.0]])


def one(num_frames: int) -> torch.Tensor:
    return clip_of(num_frames, batch=1)


def by_backward(net: nn.Module, layer: nn.Module, clip: torch.Tensor, target: int) -> torch.Tensor:
    """(B, C, ...) of a layer's output, and the sum of its gradients over all that follows C."""
    kept = []

    def keep(_module, _args, output):
        output.retain_grad()
        kept.append(output)

    handle = layer.register_forward_hook(keep)
    net(clip)[0, target].backward()
    handle.remove()
    return kept[0].detach(), kept[0].grad


def test_in_a_linear_network_the_evidence_is_the_weighted_sum_of_the_colours():
    net, clip = LinearNet(WEIGHT, torch.tensor([3.0, -1.0])), torch.randn(1, 3, 4, 5, 5)
    for target in (0, 1):
        found = Explainer(net)(clip, target)
        red, green, blue = clip[0]
        expected = WEIGHT[target, 0] * red + WEIGHT[target, 1] * green + WEIGHT[target, 2] * blue
        torch.testing.assert_close(found.places, expected)
        assert found.target == target
        torch.testing.assert_close(found.heat(4, 5), expected.clamp(min=0))


@pytest.mark.parametrize("name", LINEAR)
def test_behind_a_linear_head_the_evidence_is_the_logit_of_each_place_without_its_bias(name):
    net, clip = perturb(plain_net(name), 0.05).eval(), one(4)
    found = Explainer(net)(clip, 3)
    with torch.no_grad():
        logits, places = net(clip, "places")
    bias = net.get_submodule(net.classifier).bias[3].detach()
    torch.testing.assert_close(found.places, places[0, 3] - bias, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.places.mean() + bias, logits[0, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits, logits[0], rtol=1e-4, atol=1e-4)


def test_slowfast_adds_what_both_pathways_say_at_the_times_of_the_fast_one():
    net, clip = perturb(plain_net("SlowFast"), 0.05).eval(), one(12)
    with torch.no_grad():
        slow, fast = (x[0] for x in net.encode(clip))
    weight = net.head.projection.weight[1].detach()
    parts = [
        torch.einsum("c,cthw->thw", w, x)
        for w, x in zip(weight.split([len(slow), len(fast)]), (slow, fast), strict=True)
    ]
    at = np.linspace(0, len(parts[0]) - 1, len(parts[1]))  # the slow frames reach from end to end
    rows = parts[0].flatten(1).T.numpy()
    moved = np.stack([np.interp(at, np.arange(len(parts[0])), row) for row in rows], 1)
    expected = parts[1] + torch.from_numpy(moved).reshape(parts[1].shape).float()
    torch.testing.assert_close(Explainer(net)(clip, 1).places, expected, rtol=1e-4, atol=1e-4)


def test_behind_a_head_that_is_not_linear_channels_weigh_what_moving_them_changes():
    net, clip = perturb(plain_net("X3D"), 0.05).eval().double(), one(3).double()
    step = 1e-6
    with torch.no_grad():
        encoded = net.encode(clip)
        weights = []
        for channel in range(encoded.shape[1]):
            moved = encoded.clone()
            moved[:, channel] += step
            weights.append((net.classify(moved) - net.classify(encoded))[0, 2] / step)
    expected = torch.einsum("c,cthw->thw", torch.stack(weights), encoded[0])
    found = Explainer(net)(clip, 2).places
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-4)


def test_of_a_class_token_the_tokens_that_it_looks_at_last_are_explained():
    net, clip = perturb(plain_net("MViT"), 0.05).eval(), one(4)
    tokens = []

    def keep(_module, args):
        args[0].retain_grad()
        tokens.extend(args)

    handle = net.blocks[-1].register_forward_pre_hook(keep)
    net(clip)[0, 2].backward()
    handle.remove()
    x, grid = tokens
    weights = x.grad[0, 1:].sum(0)
    expected = (x[0, 1:].detach() @ weights).reshape(grid)
    found = Explainer(net)(clip, 2)
    torch.testing.assert_close(found.places, expected, rtol=1e-3, atol=1e-4)
    assert found.places.abs().max() > 0


@pytest.mark.parametrize("mean_pooling", [False, True])
def test_without_a_class_token_all_tokens_are_the_map(mean_pooling):
    cls = ["MVIT.CLS_EMBED_ON", False, "MVIT.USE_MEAN_POOLING", mean_pooling]
    net, clip = plain_net("MViT", *cls).eval(), one(4)
    found = Explainer(net)(clip, 1)
    x, grid = net.encode(clip)
    x = x.detach().requires_grad_()
    net.classify((x, grid))[0, 1].backward()
    expected = (x[0].detach() @ x.grad[0].sum(0)).reshape(grid)
    torch.testing.assert_close(found.places, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"), [("R2Plus1D", "stages.0"), ("ResNet", "s1.pathway0_stem")]
)
def test_the_evidence_in_a_layer_is_that_of_its_gradients(name, layer):
    net, clip = perturb(plain_net(name), 0.05).eval(), one(4)
    output, grad = by_backward(net, net.get_submodule(layer), clip, 1)
    expected = torch.einsum("c,cthw->thw", grad[0].sum((1, 2, 3)), output[0])
    found = Explainer(net, layer)(clip, 1).places
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_block_of_video_swin_has_its_channels_last():
    net, clip = perturb(plain_net("VideoSwin"), 0.05).eval(), one(4)
    layer = "backbone.layers.1.blocks.0"
    output, grad = by_backward(net, net.get_submodule(layer), clip, 1)
    expected = output[0] @ grad[0].sum((0, 1, 2))
    found = Explainer(net, layer)(clip, 1).places
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_frames_of_an_image_network_are_the_times_of_a_layer():
    net, clip = perturb(plain_net("TSN"), 0.05).eval(), one(3)
    output, grad = by_backward(net, net.base_model.layer2[1], clip, 1)
    expected = torch.einsum("c,tchw->thw", grad.sum((0, 2, 3)), output)
    found = Explainer(net, "base_model.layer2.1")(clip, 1).places
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["R2Plus1D", "TSM", "UniFormer"])
def test_the_private_layers_of_the_clips_rate_are_explained(name):
    model = flexible_net(name).eval()
    explain = Explainer(model)
    linear = model.net.get_submodule(model.net.classifier)
    seen = []
    for count, tag in zip(COUNTS, model.rates.tags, strict=True):
        clip = one(count)
        with torch.no_grad(), model.rates.at(tag):
            features = model.net.feature_map(clip)[0]
        expected = torch.einsum("c,cthw->thw", linear.weight[0].detach(), features)
        torch.testing.assert_close(explain(clip, 0).places, expected, rtol=1e-3, atol=1e-4)
        with torch.no_grad(), model.rates.at(model.rates.tags[-1 if tag != "8" else 0]):
            other = model.net.feature_map(clip)[0]
        seen.append(torch.allclose(other, features, rtol=1e-3))
    assert not any(seen)  # or the rates would have been alike


@pytest.mark.parametrize("layer", ["", "stages.0"])
def test_the_model_is_left_as_it_was(layer):
    model = flexible_net("R2Plus1D").train()
    model.net.projection.bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    wishes = [p.requires_grad for p in model.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    explain = Explainer(model, layer)
    for count in (1, *COUNTS, 11):
        explain(one(count))
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == wishes
    assert all(p.grad is None for p in model.parameters())
    found = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert found == hooks and model.rates.active == model.rates.tags[-1]


def test_dropout_of_a_model_in_training_does_not_change_what_is_explained():
    model = plain_net("R2Plus1D", "MODEL.DROPOUT_RATE", 0.9).train()
    first, second = (Explainer(model)(one(4), 0) for _ in range(2))
    assert torch.equal(first.places, second.places)


def test_explaining_works_inside_inference_mode():
    net = LinearNet(WEIGHT)
    with torch.inference_mode():
        clip = torch.ones(1, 3, 2, 4, 4)
        assert Explainer(net)(clip, 1).places.mean() == 1.0


def test_without_a_target_the_most_likely_class_is_explained():
    net, clip = LinearNet(WEIGHT), torch.zeros(1, 3, 2, 4, 4)
    clip[:, 2] = 1  # blue, 0.5 against 2
    assert Explainer(net)(clip).target == 1


# ---------------------------------------------------------------------------- times and places


def test_each_frames_share_is_its_part_of_what_speaks_for_the_class():
    places = torch.zeros(4, 2, 2)
    places[0, 0, 0], places[2], places[3, 1, 1] = 2.0, 1.5, -8.0
    shares = Evidence(places, 0, torch.zeros(1)).shares(4)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.0, 0.75, 0.0]))


def test_where_nothing_speaks_for_a_class_heat_and_shares_are_zero():
    found = Evidence(torch.full((3, 2, 2), -1.0), 0, torch.zeros(1))
    assert not found.shares(3).any() and not found.heat(3, 8).any()


def test_fewer_times_than_frames_lie_in_the_middles_or_at_the_ends():
    places = torch.tensor([0.0, 3.0]).view(2, 1, 1)
    middles = resized(places, (4, 1, 1)).flatten()
    ends = resized(places, (4, 1, 1), at_ends=True).flatten()
    torch.testing.assert_close(middles, torch.tensor([0.0, 0.75, 2.25, 3.0]))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0, 2.0, 3.0]))


def test_heat_is_spread_over_the_pixels_of_each_frame_alone():
    places = torch.zeros(2, 2, 2)
    places[1, 0, 1] = 1.0
    heat = Evidence(places, 0, torch.zeros(1)).heat(2, 8)
    assert not heat[0].any()
    assert heat[1, 0, 7] == 1.0 and heat[1, 0, 0] == heat[1, 7, 7] == 0.0
    assert heat[1, 0, 3] == 0.375  # linear between the middles of two places


# ---------------------------------------------------------------------------- layers and errors


def test_a_finer_layer_is_the_last_one_with_enough_places():
    net, clip = plain_net("R2Plus1D"), one(2)  # 16 and 8 pixels, then 4 of 32
    layer = finer_layer(net, clip, 8)
    assert layer == "stages.0" and Explainer(net, layer)(clip).places.shape[1:] == (8, 8)
    assert finer_layer(net, clip, 64) == ""


def test_a_finer_layer_of_video_swin_is_measured_in_places_not_channels():
    net, clip = plain_net("VideoSwin"), one(2)
    layer = finer_layer(net, clip, 4)
    assert min(Explainer(net, layer)(clip).places.shape[1:]) >= 4


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("stage.0", "no layer 'stage.0' in R2Plus1D; there are stages.0"),
        ("projection", r"layer 'projection' gives no map of places but \(1, 5\)"),
    ],
)
def test_a_layer_without_places_is_refused(layer, words):
    with pytest.raises(ValueError, match=words):
        Explainer(plain_net("R2Plus1D"), layer)(one(2))


@pytest.mark.parametrize("flexible", [False, True])
def test_a_network_of_others_is_refused_in_one_sentence(flexible):
    net = FrameFlexible(ForeignNet(), (2, 4)) if flexible else ForeignNet()
    with pytest.raises(ValueError, match="ForeignNet shows no map of its features; take one of"):
        Explainer(net)


def test_classes_and_clips_that_are_none_are_refused():
    explain = Explainer(LinearNet(WEIGHT))
    with pytest.raises(ValueError, match="class 2 is outside 0 .. 1"):
        explain(torch.zeros(1, 3, 2, 4, 4), 2)
    with pytest.raises(ValueError, match=r"clips of shape \(2, 3, 2, 4, 4\) cannot be explained"):
        explain(torch.zeros(2, 3, 2, 4, 4))
