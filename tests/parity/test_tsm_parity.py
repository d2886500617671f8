"""TSM against the original 2D code of FFN and mmaction, and TSM-FFN against the former.

In training the original shifts 4- and 8-frame clips as if they were one of 16, across videos; the
numbers here are those of the original with each clip's own length, as it is tested.
"""

import pytest
import torch

from helpers.fixture_weights import fill_state_dict, input_tensor, read_fixture
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
)
from slowfast.models import TSM, FrameFlexible
from slowfast.weights import load_weights

PLAIN, FFN, MMACTION = map(read_fixture, ("tsm_r50", "tsm_ffn_r50", "tsm_r50_mmaction"))
lengths = pytest.mark.parametrize("num_frames", LENGTHS)


@pytest.fixture(scope="module")
def plain():
    return filled(TSM(50, num_classes=174, dropout=0.0), PLAIN)


@pytest.fixture(scope="module")
def ffn():
    return filled(FrameFlexible(TSM(50, num_classes=174, dropout=0.0), (4, 8, 16)), FFN)


@lengths
def test_plain_logits_equal_the_originals_at_any_length(plain, num_frames):
    assert_logits(plain, PLAIN, num_frames)


@lengths
def test_flexible_logits_equal_the_originals_at_any_length(ffn, num_frames):
    assert_logits(ffn, FFN, num_frames)


@pytest.mark.parametrize("case", FORCED)
def test_any_length_through_any_rates_layers_gives_the_originals_logits(ffn, case):
    assert_forced_logits(ffn, FFN, case)


def test_three_clips_at_once_give_the_originals_logits(ffn):
    assert_logits_of_three_rates(ffn, FFN)


def test_plain_training_gives_the_originals_loss_gradients_and_statistics(plain):
    assert_plain_training(plain, PLAIN, 4)


def test_a_training_step_gives_the_originals_losses_gradients_and_statistics(ffn):
    assert_training(ffn, FFN)


@pytest.mark.slow
@pytest.mark.parametrize("num_frames", [4, 8, 16])
def test_plain_training_in_float64_gives_the_originals_loss_and_gradients(plain, num_frames):
    assert_plain_training_in_float64(plain, PLAIN, num_frames)


@pytest.mark.slow
def test_a_training_step_in_float64_gives_the_originals_losses_and_gradients(ffn):
    assert_training_in_float64(ffn, FFN)


@torch.no_grad()
def test_logits_equal_those_of_mmaction():
    net = TSM(50, num_classes=174).eval()
    report = load_weights(net, fill_state_dict(MMACTION["layout"]))
    assert len(report.loaded) == len(MMACTION["layout"]) == len(net.state_dict())
    for case in MMACTION["cases"]:
        clip = input_tensor(case["input"], case["shape"]).transpose(1, 2)
        # It takes 16 frames for two clips of 8 and averages their scores.
        logits = torch.cat([net(part) for part in clip.split(8, dim=2)])
        close(logits, case["logits"])
