"""UniFormer against the original and against the original UniFormer-FFN."""

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
from slowfast.models import FrameFlexible, UniFormer
from slowfast.objectives import cross_entropy

FFN, PLAIN = read_fixture("uniformer_ffn"), read_fixture("uniformer_s")
COUNTS = {"L": 4, "M": 8, "H": 16}


@pytest.fixture(scope="module")
def ffn():
    return filled(FrameFlexible(UniFormer(174, drop_path=0.0), (4, 8, 16)), FFN)


@pytest.fixture(scope="module")
def plain():
    return filled(UniFormer(174, drop_path=0.0), PLAIN)


@pytest.fixture(scope="module")
def per_rate(ffn):
    return step(ffn, batch_of(clips_of(FFN), FFN), "per_rate")


def test_the_published_number_of_parameters_is_matched():
    with torch.device("meta"):
        net = UniFormer(num_classes=174)
        model = FrameFlexible(copy.deepcopy(net), num_frames=(4, 8, 16))
    assert sum(p.numel() for p in net.parameters()) == 21_284_462
    assert sum(p.numel() for p in model.parameters()) == 21_343_406


def test_the_larger_network_has_the_published_number_of_parameters():
    with torch.device("meta"):
        net = UniFormer(174, depth="B")
    assert sum(p.numel() for p in net.parameters()) == 49_697_262


@torch.no_grad()
def test_logits_equal_the_originals_at_every_rate(ffn):
    for rate, clip in zip(RATES, clips_of(FFN), strict=True):
        close(ffn(clip), FFN["eval_logits"][rate])


@torch.no_grad()
def test_every_clip_through_every_rates_private_layers_gives_the_originals_logits(ffn):
    for seen, clip in zip(RATES, clips_of(FFN), strict=True):
        for private in RATES:
            with ffn.rates.at(TAGS[private]):
                logits = ffn.net(clip)
            close(logits, FFN["cross_rate_logits"][f"input_{seen}_params_{private}"])


def test_a_training_step_gives_the_originals_losses_gradients_and_statistics(per_rate):
    parts, logits, model = per_rate
    expected = FFN["train"]
    for part, name in (("ce_16", "ce_H"), ("kl_8", "kl_M"), ("kl_4", "kl_L")):
        assert parts[part].item() == pytest.approx(expected[name], abs=1e-4)
    for rate in RATES:
        close(logits[COUNTS[rate]], expected["logits"][rate])
    assert_gradients(model, expected, rtol=1e-3)
    assert_running_statistics(model, expected)


@pytest.mark.slow  # of a narrow network, in float64, in tests/models/test_build.py
def test_backward_per_rate_gives_the_joint_gradient(ffn, per_rate):
    joint = step(ffn, batch_of(clips_of(FFN), FFN), "joint")[2]
    assert largest_relative_difference(gradients(per_rate[2]), gradients(joint)) < 1e-5


def test_soft_labels_give_the_originals_loss(per_rate):
    target = torch.full((2, 174), 0.1 / 174)
    labels = torch.tensor(FFN["train"]["labels"])
    for row, (own, other) in enumerate(zip(labels, labels.flip(0), strict=True)):
        target[row, own] += 0.9 * 0.7
        target[row, other] += 0.9 * 0.3
    loss = cross_entropy(per_rate[1][16], target)
    assert loss.item() == pytest.approx(FFN["train"]["soft_ce_H_lam0.7_smooth0.1"], abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["T16", "T8", "T4"])
def test_plain_logits_equal_the_originals(plain, name):
    given = PLAIN["inputs"][name]
    close(plain(input_tensor(given["name"], given["shape"])), PLAIN["eval_logits"][name])


def test_plain_training_gives_the_originals_loss_and_gradients(plain):
    expected, model = PLAIN["train"], copy.deepcopy(plain).train()
    given = PLAIN["inputs"][expected["input"]]
    logits = model(input_tensor(given["name"], given["shape"]))
    loss = cross_entropy(logits, torch.tensor(expected["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["ce"], abs=1e-4)
    close(logits.detach(), expected["logits"])
    assert_gradients(model, expected, rtol=1e-3)
