"""SlowFast against PySlowFast and against the original SlowFast-FFN."""

import copy

import pytest
import torch

from helpers.fixture_weights import input_tensor, read_fixture
from helpers.parity import (
    RATES,
    TAGS,
    assert_gradients,
    assert_running_statistics,
    batch_of,
    clips_of,
    close,
    filled,
    gradients,
    largest_relative_difference,
    step,
)
from slowfast.models import FrameFlexible, SlowFast, to_scores
from slowfast.models.slowfast import slow_indices
from slowfast.objectives import cross_entropy, distillation_kl

FFN, PLAIN = read_fixture("slowfast_ffn"), read_fixture("slowfast_r50_16x8")
COUNTS = {"L": 16, "M": 32, "H": 64}
# Batch statistics over few samples amplify rounding: the fixture's own float32 logits are 5e-5 off
# those in float64.  The gradients of private layers, sums of both signs, suffer most.
TRAIN_ATOL, GRADIENT_RTOL = 2e-4, 2e-2


def flexible() -> FrameFlexible:
    net = SlowFast(50, num_classes=174, dropout=0.0)
    return FrameFlexible(net, num_frames=(16, 32, 64), tags=("4", "8", "16"))


@pytest.fixture(scope="module")
def ffn():
    return filled(flexible(), FFN)


@pytest.fixture(scope="module")
def plain():
    return filled(SlowFast(50, num_classes=174, dropout=0.0, head_window=(2, 2)), PLAIN)


@pytest.fixture(scope="module")
def per_rate(ffn):
    return step(ffn, batch_of(clips_of(FFN), FFN), "per_rate")


# ---------------------------------------------------------------------------- frame-flexible


def test_the_published_number_of_parameters_is_matched():
    with torch.device("meta"):
        net = SlowFast(50, num_classes=174)
        model = FrameFlexible(copy.deepcopy(net), num_frames=(16, 32, 64))
    assert sum(p.numel() for p in net.parameters()) == 34_045_558
    assert sum(p.numel() for p in model.parameters()) == 34_212_606


@pytest.mark.parametrize("rate", RATES)
def test_slow_frames_are_those_of_the_original(rate):
    assert slow_indices(COUNTS[rate], 4).tolist() == FFN["inputs"][rate]["slow_indices"]


@torch.no_grad()
def test_logits_equal_the_originals_at_every_rate(ffn):
    for rate, clip in zip(RATES, clips_of(FFN), strict=True):
        logits = ffn(clip)
        close(logits, FFN["eval_logits"][rate])
        close(to_scores(logits), FFN["eval_softmax"][rate], atol=1e-5)


@torch.no_grad()
def test_a_rates_clip_through_the_private_layers_of_another_gives_the_originals_logits(ffn):
    low = clips_of(FFN)[0]
    for rate in RATES:
        with ffn.rates.at(TAGS[rate]):
            close(ffn.net(low), FFN["cross_rate_logits"][f"input_L_params_{rate}"])


def test_a_training_step_gives_the_originals_losses_gradients_and_statistics(per_rate):
    parts, logits, model = per_rate
    expected = FFN["train"]
    for part, name in (("ce_64", "ce_H"), ("kl_32", "kl_M"), ("kl_16", "kl_L")):
        assert parts[part].item() == pytest.approx(expected[name], abs=1e-4)
    for rate in RATES:
        close(logits[COUNTS[rate]], expected["logits"][rate], atol=TRAIN_ATOL)
    assert_gradients(model, expected, GRADIENT_RTOL)
    assert_running_statistics(model, expected)


@pytest.mark.slow  # of a narrow network, in float64, in tests/models/test_build.py
def test_backward_per_rate_gives_the_joint_gradient(ffn, per_rate):
    joint = step(ffn, batch_of(clips_of(FFN), FFN), "joint")[2]
    assert largest_relative_difference(gradients(per_rate[2]), gradients(joint)) < 1e-5


def test_the_originals_packing_of_slow_frames_trains_to_its_numbers(ffn):
    """It picks them from the clips laid end to end, high, low, middle."""
    expected = FFN["train_reference_packing"]
    model, (low, middle, high) = copy.deepcopy(ffn).train(), clips_of(FFN)
    packed = torch.cat([high, low, middle], dim=2)[:, :, slow_indices(112, 4)]
    slow = dict(zip("HLM", packed.split([16, 4, 8], dim=2), strict=True))
    logits = {}
    for rate, fast in (("H", high), ("M", middle), ("L", low)):
        with model.rates.at(TAGS[rate]):
            logits[rate] = model.net.forward_pathways(slow[rate], fast)
        close(logits[rate].detach(), expected["logits"][rate], atol=TRAIN_ATOL)
    losses = {
        "ce_H": cross_entropy(logits["H"], torch.tensor(expected["labels"])),
        "kl_L": distillation_kl(logits["L"], logits["H"]),
        "kl_M": distillation_kl(logits["M"], logits["H"]),
    }
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name], abs=1e-4)
    sum(losses.values()).backward()
    assert_gradients(model, expected, GRADIENT_RTOL)
    assert_running_statistics(model, expected)


@pytest.mark.slow
def test_a_training_step_in_float64_gives_the_originals_logits_and_gradients(ffn):
    clips = tuple(clip.double() for clip in clips_of(FFN))
    _, logits, model = step(copy.deepcopy(ffn).double(), batch_of(clips, FFN), "per_rate")
    for rate in RATES:
        close(logits[COUNTS[rate]], FFN["train"]["logits"][rate])
    assert_gradients(model, FFN["train"], rtol=1e-2)


# ---------------------------------------------------------------------------- plain


@torch.no_grad()
@pytest.mark.parametrize("name", ["T64_64px", "T32_64px", "T16_64px"])
def test_plain_logits_equal_the_originals(plain, name):
    given = PLAIN["inputs"][name]
    logits = plain(input_tensor(given["name"], given["fast_shape"]))
    expected = torch.tensor(PLAIN["eval_logits"][name]).flatten(1)
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_larger_crop_gives_the_originals_dense_logits_and_scores(plain):
    given = PLAIN["inputs"]["T64_96px"]
    logits = plain(input_tensor(given["name"], given["fast_shape"]))
    assert logits.shape == (2, 4, 174)
    expected = torch.tensor(PLAIN["eval_logits"]["T64_96px"]).flatten(1, 3)
    torch.testing.assert_close(logits[..., : expected.shape[-1]], expected, atol=1e-4, rtol=1e-5)
    close(to_scores(logits), PLAIN["eval_softmax"]["T64_96px"], atol=1e-5)


def test_plain_training_gives_the_originals_loss_and_gradients(plain):
    expected, model = PLAIN["train"], copy.deepcopy(plain).train()
    given = PLAIN["inputs"][expected["input"]]
    logits = model(input_tensor(given["name"], given["fast_shape"]))
    loss = cross_entropy(logits, torch.tensor(expected["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["ce"], abs=1e-4)
    close(logits.detach(), expected["logits"], atol=TRAIN_ATOL)
    found = gradients(model)
    for name, norm in expected["grad_l2"].items():
        assert found[name].norm().item() == pytest.approx(norm, rel=GRADIENT_RTOL), name
