import copy
import logging

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from slowfast.layers.alter import Alter
from slowfast.models.flexible import RULES, FrameFlexible, add_rates, recalibrate

COUNTS = (4, 16)


def flexible(net: nn.Module | None = None, counts=COUNTS, **kwargs) -> FrameFlexible:
    """The same weights in every call."""
    torch.manual_seed(0)
    return perturb(FrameFlexible(net or MarkedNet(), counts, **kwargs)).eval()


def batches_of(*num_frames: int, batches: int = 3, batch: int = 4) -> list:
    return [tuple(clip_of(t, batch, seed=b) for t in num_frames) for b in range(batches)]


def private(model: FrameFlexible, tag: str) -> dict[str, torch.Tensor]:
    """The private tensors of one rate by their plain names."""
    names = {name: name.replace(f"_{tag}.", ".") for name in model.state_dict()}
    return {plain: model.state_dict()[name] for name, plain in names.items() if plain != name}


# ---------------------------------------------------------------------------- all rules


@pytest.mark.parametrize("how", RULES)
@torch.no_grad()
def test_trained_rates_are_left_as_they_are(how):
    model = flexible()
    before = copy.deepcopy(model.state_dict())
    logits = [model(clip_of(t)) for t in COUNTS]
    add_rates(model, [3, 8, 20], how, batches_of(3, 8, 20))
    for name, tensor in before.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert all(torch.equal(model(clip_of(t)), a) for t, a in zip(COUNTS, logits, strict=True))


@pytest.mark.parametrize("how", RULES)
def test_checkpoints_hold_the_new_rates_as_if_they_had_been_trained(how):
    model = flexible()
    add_rates(model, [8, 2], how, batches_of(2, 8))
    again = FrameFlexible(MarkedNet(), (2, 4, 8, 16)).eval()
    assert list(again.state_dict()) == list(model.state_dict())
    again.load_state_dict(model.state_dict())
    for num_frames in (1, 2, 4, 6, 8, 11, 16):
        assert torch.equal(again(clip_of(num_frames)), model(clip_of(num_frames)))


@pytest.mark.parametrize("how", RULES)
def test_a_count_that_is_trained_already_gets_no_second_rate(how):
    model = flexible()
    before = copy.deepcopy(model.state_dict())
    add_rates(model, COUNTS, how)
    assert model.rates.num_frames == COUNTS and model.rates.tags == ("4", "16")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_every_new_rate_comes_from_the_trained_ones_and_not_from_another_new_one():
    model, before = flexible(), flexible()
    add_rates(model, [9, 10], "nearest")  # 10 is as far from 4 as from 16, and nearer to 9
    assert torch.equal(model(clip_of(9)), before(clip_of(9)))
    assert torch.equal(model(clip_of(10)), before(clip_of(10)))


def test_a_new_rate_has_a_tag_of_its_own_where_the_count_labels_another():
    model = flexible(counts=(16, 32, 64), tags=("4", "8", "16"))
    add_rates(model, [8, 48], "nearest")
    assert model.rates.num_frames == (8, 16, 32, 48, 64)
    assert model.rates.tags == ("8frames", "4", "8", "48", "16")
    assert model.rates.nearest(8) == "8frames" and model.rates.nearest(32) == "8"


def test_a_layer_used_in_two_places_keeps_one_copy_per_rate():
    net = ForeignNet()
    net.block.norms[1] = net.block.norms[0]
    model = flexible(net)
    add_rates(model, [8], "interpolated")
    switch = model.net.block.norms[0]
    assert switch is model.net.block.norms[1] and list(switch.copies) == ["4", "8", "16"]


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="how='closest' must be one of nearest"):
        add_rates(flexible(), [8], "closest")


@pytest.mark.parametrize("num_frames", [0, -2])
def test_a_count_below_one_is_refused_and_the_network_kept(num_frames):
    model = flexible()
    with pytest.raises(ValueError, match="must be positive"):
        add_rates(model, [8, num_frames], "nearest")
    assert model.rates.num_frames == COUNTS and "bn_8.weight" not in model.state_dict()


def test_a_name_that_is_taken_is_refused_and_the_network_kept():
    net = MarkedNet()
    net.bn_8 = nn.Identity()
    model = flexible(net)
    with pytest.raises(ValueError, match="'bn_8', which is taken"):
        add_rates(model, [8], "nearest")
    assert model.rates.num_frames == COUNTS


# ---------------------------------------------------------------------------- nearest, interpolated


@pytest.mark.parametrize("num_frames", [1, 2, 9, 10, 11, 30])
def test_nearest_gives_the_logits_without_a_rate_of_its_own(num_frames):
    model = flexible()
    expected = model(clip_of(num_frames))
    add_rates(model, [num_frames], "nearest")
    assert torch.equal(model(clip_of(num_frames)), expected)


def test_interpolation_halfway_is_the_mean_of_weights_statistics_and_gains():
    model = flexible()
    add_rates(model, [10], "interpolated")
    low, new, high = (private(model, tag) for tag in ("4", "10", "16"))
    assert low.keys() == new.keys() and any("adaconv" in name for name in new)
    for name, tensor in new.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (low[name] + high[name]) / 2)


def test_interpolation_is_linear_in_the_frame_count():
    model = flexible()
    add_rates(model, [7, 13], "interpolated")
    low, a, b, high = (private(model, tag) for tag in ("4", "7", "13", "16"))
    for name in ("bn.running_var", "adaconv.weight", "block.norms.1.bias"):
        torch.testing.assert_close(a[name], 0.75 * low[name] + 0.25 * high[name])
        torch.testing.assert_close(b[name], 0.25 * low[name] + 0.75 * high[name])


@pytest.mark.parametrize("num_frames", [1, 2, 17, 64])
def test_interpolation_beyond_the_trained_counts_is_the_nearest(num_frames):
    model = flexible()
    expected = model(clip_of(num_frames))
    add_rates(model, [num_frames], "interpolated")
    assert torch.equal(model(clip_of(num_frames)), expected)


def test_interpolation_uses_the_two_neighbours_only():
    model = flexible(counts=(4, 8, 16))
    add_rates(model, [12], "interpolated")
    expected = (private(model, "8")["bn.weight"] + private(model, "16")["bn.weight"]) / 2
    torch.testing.assert_close(private(model, "12")["bn.weight"], expected)


# ---------------------------------------------------------------------------- recalibrated


class OneNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.mark, self.bn, self.drop = Alter(3), nn.BatchNorm3d(3), nn.Dropout(0.5)

    def forward(self, clip):
        return self.drop(self.bn(self.mark(clip)))


def test_recalibrated_statistics_are_those_of_all_values_at_once():
    model = flexible(OneNorm())
    sizes = (5, 1, 3)  # batches may differ in size
    clips = [10 * b + clip_of(8, size, seed=b) for b, size in enumerate(sizes)]
    add_rates(model, [8], "recalibrated", [(clip,) for clip in clips])
    with model.rates.at("8"):
        seen = model.net.mark(torch.cat(clips)).transpose(0, 1).flatten(1).double()
    new = private(model, "8")
    torch.testing.assert_close(new["bn.running_mean"].double(), seen.mean(1))
    torch.testing.assert_close(new["bn.running_var"].double(), seen.var(1), rtol=1e-5, atol=0)


def test_recalibration_changes_statistics_only():
    model, nearest = flexible(), flexible()
    add_rates(model, [8], "recalibrated", batches_of(8))
    add_rates(nearest, [8], "nearest")
    changed = {
        name
        for name, tensor in nearest.state_dict().items()
        if not torch.equal(tensor, model.state_dict()[name])
    }
    layers = ("bn_8", "block.norms_8.0", "block.norms_8.1")
    leaves = ("running_mean", "running_var")
    assert changed == {f"{layer}.{leaf}" for layer in layers for leaf in leaves}


def test_recalibrating_a_trained_rate_on_its_training_data_keeps_its_logits():
    torch.manual_seed(0)
    model = FrameFlexible(ForeignNet(), COUNTS).train()
    batches = batches_of(4, batches=20, batch=8)
    for _ in range(3):
        for (clip,) in batches:
            model(clip)
    clip = clip_of(4, seed=99)
    expected = model.eval()(clip)
    recalibrate(model, [4], batches)
    error = (model(clip) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.05


def test_recalibration_does_not_depend_on_the_statistics_it_replaces():
    model, other = flexible(), flexible()
    for norm in (other.net.bn, *other.net.block.norms):
        norm.copies["4"].reset_running_stats()
    for network in (model, other):
        recalibrate(network, [4], batches_of(4))
    assert torch.equal(model(clip_of(4)), other(clip_of(4)))


@pytest.mark.parametrize("training", [True, False])
def test_recalibration_leaves_every_module_in_its_mode_and_no_hook(training):
    model = flexible().train(training)
    model.net.drop.eval()
    modes = [module.training for module in model.modules()]
    recalibrate(model, [4], batches_of(4))
    assert modes == [module.training for module in model.modules()]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
    assert all(norm.momentum == 0.1 and not norm._forward_hooks for norm in norms)


def test_recalibrating_without_clips_of_a_count_is_refused_and_statistics_stay():
    model = flexible()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"no clips of \[16\] frames"):
        recalibrate(model, [4, 16], batches_of(4))
    for name, tensor in before.items():
        if "num_batches" not in name:
            assert torch.equal(model.state_dict()[name], tensor), name


def test_a_network_without_batch_norm_says_so_and_runs_the_nearest(caplog):
    model = flexible(ForeignNet(norm=lambda dim: nn.GroupNorm(2, dim)))
    expected = model(clip_of(8))
    with caplog.at_level(logging.WARNING):
        add_rates(model, [8], "recalibrated", batches_of(8))
    assert "ForeignNet has no BatchNorm to recalibrate" in caplog.text
    assert torch.equal(model(clip_of(8)), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("how", RULES)
def test_new_rates_are_on_the_device_of_the_network(how):
    model = flexible().cuda()
    add_rates(model, [8], how, [[clip.cuda() for clip in clips] for clips in batches_of(8)])
    assert model(clip_of(8).cuda()).isfinite().all()
