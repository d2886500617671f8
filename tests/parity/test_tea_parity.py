"""TEA and TEA-FFN against the original 2D code of FFN.

The original pools a window of 7x7; below 224 pixels its numbers are with a global average instead.
From the second epoch on it may train with another rate's clip length; the numbers here are those
of the first.
"""

import pytest
import torch

from helpers.fixture_weights import read_fixture
from helpers.parity import close, filled
from helpers.parity2d import (
    FORCED,
    LENGTHS,
    assert_forced_logits,
    assert_logits,
    assert_logits_of_three_rates,
    assert_plain_training,
    assert_plain_training_in_float64,
    assert_training,
    assert_training_in_float64,
    clip_of,
)
from slowfast.models import TEA, FrameFlexible

PLAIN, FFN = read_fixture("tea_r50"), read_fixture("tea_ffn_r50")
lengths = pytest.mark.parametrize("num_frames", LENGTHS)


@pytest.fixture(scope="module")
def plain():
    return filled(TEA(num_classes=174, dropout=0.0), PLAIN)


@pytest.fixture(scope="module")
def ffn():
    net = TEA(num_classes=174, dropout=0.0)
    return filled(FrameFlexible(net, (4, 8, 16), alter=False), FFN)


@lengths
def test_plain_logits_equal_the_originals_at_any_length(plain, num_frames):
    assert_logits(plain, PLAIN, num_frames)


@lengths
def test_flexible_logits_equal_the_originals_at_any_length(ffn, num_frames):
    assert_logits(ffn, FFN, num_frames)


@torch.no_grad()
def test_logits_at_224_pixels_equal_the_originals(plain, ffn):
    clip = clip_of(4, pixels=224, batch=1)
    close(plain(clip), PLAIN["eval_224"]["T4:b1"])
    close(ffn(clip), FFN["eval_224"]["T4:b1"])


@pytest.mark.parametrize("case", FORCED)
def test_any_length_through_any_rates_layers_gives_the_originals_logits(ffn, case):
    assert_forced_logits(ffn, FFN, case)


def test_three_clips_at_once_give_the_originals_logits(ffn):
    assert_logits_of_three_rates(ffn, FFN)


@pytest.mark.parametrize("num_frames", [4, 8, 16])
def test_plain_training_gives_the_originals_loss_gradients_and_statistics(plain, num_frames):
    assert_plain_training(plain, PLAIN, num_frames)


def test_a_training_step_gives_the_originals_losses_gradients_and_statistics(ffn):
    assert_training(ffn, FFN)


@pytest.mark.slow
def test_plain_training_in_float64_gives_the_originals_loss_and_gradients(plain):
    assert_plain_training_in_float64(plain, PLAIN, 16)


@pytest.mark.slow
def test_a_training_step_in_float64_gives_the_originals_losses_and_gradients(ffn):
    assert_training_in_float64(ffn, FFN)
