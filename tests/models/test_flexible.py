import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from slowfast.layers.alter import Alter, Gain
from slowfast.models.flexible import (
    FrameFlexible,
    Rates,
    RateSwitch,
    make_frame_flexible,
)

COUNTS = (2, 4, 8)


def flexible(net=None, num_frames=COUNTS, **kwargs) -> FrameFlexible:
    return perturb(FrameFlexible(net or MarkedNet(), num_frames, **kwargs))


def plain_with_weights_of(model: FrameFlexible, tag: str) -> nn.Module:
    """The plain network of one rate, built by hand from the checkpoint names."""
    state = model.state_dict()
    others = [t for t in model.rates.tags if t != tag]
    plain = {}
    for name, tensor in state.items():
        if not any(f"_{other}." in name for other in others):
            plain[name.replace(f"_{tag}.", ".")] = tensor
    gain = plain.pop("adaconv.weight")
    net = MarkedNet()
    net.load_state_dict(plain)
    net.adaconv = Gain(gain.shape[0])
    net.adaconv.load_state_dict({"weight": gain})
    return net.eval()


# ---------------------------------------------------------------------------- rates


def test_the_highest_rate_is_active_outside_of_at():
    rates = Rates(("a", "b"), (4, 8))
    with rates.at("a"):
        assert rates.active == "a"
    assert rates.active == "b"


def test_at_restores_the_rate_when_its_block_raises():
    rates = Rates(("a", "b", "c"), (4, 8, 16))
    with rates.at("b"):
        with pytest.raises(KeyError), rates.at("a"):
            raise KeyError
        assert rates.active == "b"


@pytest.mark.parametrize(
    ("num_frames", "trained"),
    [(1, 4), (5, 4), (6, 8), (7, 8), (11, 8), (12, 16), (13, 16), (16, 16), (99, 16)],
)
def test_nearest_takes_the_closest_trained_count_and_the_higher_one_at_a_tie(num_frames, trained):
    assert Rates(("4", "8", "16"), (4, 8, 16)).nearest(num_frames) == str(trained)


def test_an_unknown_tag_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="'5'.*4, 8"), Rates(("4", "8"), (4, 8)).at("5"):
        pass


@pytest.mark.parametrize(
    "num_frames", [(), (8,), (8, 4), (4, 4), (0, 4), (-1, 4), (4, 8.0), ("4", 8)]
)
def test_rates_take_two_or_more_rising_positive_integers(num_frames):
    with pytest.raises(ValueError, match="num_frames="):
        Rates(tuple("abcdef"[: len(num_frames)]), num_frames)


@pytest.mark.parametrize(
    ("num_frames", "sizes", "problem"),
    [
        (8, (), r"num_frames=8 must be all trained frame counts, like \(4, 8, 16\)"),
        (None, (), "num_frames=None must be all"),
        ((4, 8), 112, r"sizes=112 must be all trained sides in pixels, like \(112, 224\)"),
    ],
)
def test_one_number_instead_of_all_is_refused_with_what_is_wanted(num_frames, sizes, problem):
    net = MarkedNet()
    with pytest.raises(ValueError, match=problem):
        FrameFlexible(net, num_frames, sizes=sizes)
    assert not any(isinstance(module, RateSwitch) for module in net.modules())


@pytest.mark.parametrize("tags", [("4",), ("4", "4"), ("4", "8", "16"), ("4", ""), ("4", "a.b")])
def test_rates_take_a_distinct_tag_without_dots_per_count(tags):
    with pytest.raises(ValueError, match="tags="):
        Rates(tags, (4, 8))


# ---------------------------------------------------------------------------- forward


@pytest.mark.parametrize("num_frames", range(1, 12))
def test_a_clip_runs_as_the_plain_network_of_the_nearest_rate(num_frames):
    model = flexible().eval()
    clip = clip_of(num_frames)
    expected = plain_with_weights_of(model, model.rates.nearest(num_frames))(clip)
    torch.testing.assert_close(model(clip), expected)


def test_private_copies_of_perturbed_rates_give_different_logits():
    model = flexible().eval()
    clip, logits = clip_of(4), []
    for tag in model.rates.tags:
        with model.rates.at(tag):
            logits.append(model.net(clip))
    assert not torch.allclose(logits[0], logits[1]) and not torch.allclose(logits[1], logits[2])


@pytest.mark.parametrize("pack", [tuple, list])
def test_several_clips_give_one_output_each_in_their_order(pack):
    model = flexible().eval()
    clips = pack(clip_of(n) for n in (8, 2, 4))
    outputs = model(clips)
    assert isinstance(outputs, tuple)
    for clip, output in zip(clips, outputs, strict=True):
        torch.testing.assert_close(output, model(clip))


def test_without_sizes_an_input_need_not_be_like_an_image():
    assert flexible(time_dim=0).tag_of(torch.empty(4)) == "4"


def test_low_rate_clip_does_not_change_high_rate_logits():
    model = flexible().train()
    other = copy.deepcopy(model)
    _, high = model((clip_of(2, seed=1), clip_of(8)))
    _, same = other((clip_of(2, seed=2), clip_of(8)))
    assert torch.equal(high, same)


def test_a_video_does_not_change_the_logits_of_another_in_eval():
    model = flexible().eval()
    clip = clip_of(4)
    changed = torch.cat([clip[:1], clip_of(4, seed=3)[1:]])
    torch.testing.assert_close(model(clip)[0], model(changed)[0])


def test_an_eval_forward_changes_no_state():
    model = flexible().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model((clip_of(2), clip_of(5), clip_of(8)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.rates.active == "8"


def test_training_at_a_rate_touches_only_its_own_statistics():
    model = flexible().train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model(clip_of(4))
    changed = {
        name for name, buffer in model.named_buffers() if not torch.equal(before[name], buffer)
    }
    assert changed == {name for name in before if ".copies.4." in name}


def test_a_clip_without_time_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(B, 3, T, H, W\)"):
        flexible()(torch.zeros(3, 4))


def test_another_dimension_can_be_time():
    class FramesFirst(MarkedNet):
        def forward(self, clip):
            return super().forward(clip.transpose(1, 2))

    model = flexible(FramesFirst(), time_dim=1).eval()
    clip = clip_of(2)
    expected = plain_with_weights_of(model, "2")(clip)
    torch.testing.assert_close(model(clip.transpose(1, 2)), expected)


def test_more_than_four_rates_work():
    model = flexible(num_frames=(1, 2, 3, 5, 8, 13)).eval()
    for num_frames in model.rates.num_frames:
        expected = plain_with_weights_of(model, str(num_frames))(clip_of(num_frames))
        torch.testing.assert_close(model(clip_of(num_frames)), expected)


# ---------------------------------------------------------------------------- conversion


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm3d,
        nn.SyncBatchNorm,
        nn.InstanceNorm3d,
        lambda dim: nn.GroupNorm(2, dim),
        type("OwnNorm", (nn.BatchNorm3d,), {}),
    ],
)
def test_any_norm_becomes_private(norm):
    model = FrameFlexible(ForeignNet(norm=norm), COUNTS)
    switches = [module for module in model.modules() if isinstance(module, RateSwitch)]
    assert len(switches) == 3
    assert len({id(layer) for switch in switches for layer in switch.copies.values()}) == 9


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_token_norms_become_private(norm):
    net = make_frame_flexible(nn.Sequential(nn.Linear(4, 4), norm(4)), Rates(("a", "b"), (1, 2)))
    assert isinstance(net[1], RateSwitch) and isinstance(net[1].copies["b"], norm)


def test_conversion_is_in_place_and_keeps_every_other_layer():
    net = MarkedNet()
    stem, fc = net.stem, net.fc
    assert make_frame_flexible(net, Rates(("a", "b"), (2, 4))) is net
    assert net.stem is stem and net.fc is fc


def test_conversion_changes_no_logits_without_marks():
    net = perturb(ForeignNet()).eval()
    clip = clip_of(4)
    expected = net(clip)
    model = FrameFlexible(net, COUNTS)
    assert not model.net.bn.training
    assert torch.equal(model(clip), expected)


def test_marks_become_gains_with_a_standard_deviation_of_one_thousandth():
    (switch,) = FrameFlexible(nn.Sequential(Alter(4096)), COUNTS).net
    for gain in switch.copies.values():
        assert gain.weight.std().item() == pytest.approx(1e-3, rel=0.1)
    assert len({gain.weight[0].item() for gain in switch.copies.values()}) == 3


def test_without_alter_marks_stay_marks():
    model = FrameFlexible(MarkedNet(), COUNTS, alter=False)
    assert isinstance(model.net.adaconv, Alter)
    assert not [name for name in model.state_dict() if "adaconv" in name]


def test_gains_take_the_type_of_the_network():
    model = FrameFlexible(MarkedNet().double(), COUNTS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_a_layer_used_in_two_places_becomes_one_switch():
    norm = nn.BatchNorm3d(3)
    net = nn.Sequential(norm, nn.ReLU(), norm)
    make_frame_flexible(net, Rates(("a", "b"), (2, 4)))
    assert isinstance(net[0], RateSwitch) and net[0] is net[2]
    assert len(list(net.parameters())) == 4


def test_a_norm_made_of_norms_is_one_private_layer():
    class Outer(nn.LayerNorm):
        def __init__(self):
            super().__init__(4)
            self.inner = nn.LayerNorm(4)

    net = make_frame_flexible(nn.Sequential(Outer()), Rates(("a", "b"), (2, 4)))
    assert sum(isinstance(module, RateSwitch) for module in net.modules()) == 1


def test_a_switch_reads_as_its_active_copy():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # reads norm1.weight in forward
    model = perturb(FrameFlexible(layer, COUNTS, time_dim=1)).eval()
    tokens = torch.randn(2, 4, 8)
    with torch.no_grad():
        fast = model(tokens)
    torch.testing.assert_close(fast, model(tokens))  # the path with gradients calls the norms
    with model.rates.at("4"):
        assert model.net.norm1.weight is model.net.norm1.copies["4"].weight
    assert not hasattr(model.net.norm1, "nothing")


def test_a_network_is_not_converted_twice():
    model = FrameFlexible(ForeignNet(), COUNTS)
    for net in (model, model.net, nn.Sequential(model)):
        with pytest.raises(ValueError, match="already"):
            FrameFlexible(net, COUNTS)


def test_a_network_with_nothing_to_make_private_is_refused_by_name():
    with pytest.raises(ValueError, match="Linear has no norm"):
        FrameFlexible(nn.Linear(2, 2), COUNTS)


def test_a_norm_alone_is_no_network():
    with pytest.raises(ValueError, match="BatchNorm3d is itself"):
        FrameFlexible(nn.BatchNorm3d(2), COUNTS)


def test_a_tag_that_would_make_two_equal_names_is_refused_and_the_network_kept():
    net = nn.ModuleDict({"norm": nn.LayerNorm(2), "norm_4": nn.LayerNorm(2)})
    with pytest.raises(ValueError, match="norm_4.*other tags"):
        make_frame_flexible(net, Rates(("4", "8"), (4, 8)))
    assert isinstance(net["norm"], nn.LayerNorm) and isinstance(net["norm_4"], nn.LayerNorm)
