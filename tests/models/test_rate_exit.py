import re

import pytest
import torch

from slowfast.models import FrameFlexible, R2Plus1D
from slowfast.models.exits import NEVER
from slowfast.models.flexible import specialize
from slowfast.models.rate_exit import RateExit

RATES = (2, 4, 8)


@pytest.fixture
def model():
    """One block wide, with private layers that differ between rates and logits that spread."""
    torch.manual_seed(0)
    net = FrameFlexible(R2Plus1D(5, (4,), (1,), dropout=0.0), RATES).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(0.2 * torch.randn_like(parameter) * (".copies." in name))
        net.net.projection.weight.normal_(std=3)
        for module in net.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(12, 3, t, 16, 16, generator=generator) for t in RATES]


@pytest.fixture
def thresholds(model, clips):
    """Medians of those who come to each rate, so that every exit is taken."""
    with torch.no_grad():
        low, mid = (model(clip).softmax(1).amax(1) for clip in clips[:2])
    first = between(low)
    return [first, between(mid[low <= first])]


def between(values):
    """Of the middle two."""
    return values.sort().values[len(values) // 2 - 1 :][:2].mean().item()


def expected(model, clips, thresholds):
    """Video by video through the flexible network itself."""
    logits, exits = [], []
    for video in range(len(clips[0])):
        for rate, limit in enumerate([*thresholds, -1.0]):
            found = model(clips[rate][video : video + 1])
            if found.softmax(1).max() > limit:
                logits.append(found)
                exits.append(rate)
                break
    return torch.cat(logits), exits


@torch.no_grad()
def test_a_batch_takes_the_exits_and_logits_of_its_videos_alone(model, clips, thresholds):
    logits, exits = expected(model, clips, thresholds)
    found = RateExit(model, thresholds).infer(clips)
    assert found.exits.tolist() == exits and set(exits) == {0, 1, 2}
    torch.testing.assert_close(found.logits, logits, atol=1e-5, rtol=0)


def test_videos_one_by_one_give_what_the_batch_gives(model, clips, thresholds):
    network = RateExit(model, thresholds)
    batch = network.infer(clips)
    for video in range(len(clips[0])):
        alone = network.infer([clip[video : video + 1] for clip in clips])
        assert alone.exits.item() == batch.exits[video]
        torch.testing.assert_close(alone.logits[0], batch.logits[video], atol=1e-5, rtol=0)


def test_clips_are_asked_for_only_of_videos_that_are_unsure(model, clips, thresholds):
    asked = []

    def read(rate, rows):
        asked.append((rate, rows.tolist()))
        return clips[rate][rows]

    network = RateExit(model, thresholds)
    exits = network.infer_on_demand(read, 12).exits
    reaching = [(rate, (exits >= rate).nonzero()[:, 0].tolist()) for rate in range(3)]
    assert asked == reaching


def test_a_rate_that_nothing_can_pass_does_not_run(model, clips):
    network = RateExit(model, [0.5, NEVER])
    assert network.asked == [0, 2]
    rates = []
    network.infer_on_demand(lambda rate, rows: rates.append(rate) or clips[rate][rows], 12)
    assert rates == [0, 2]


@torch.no_grad()
def test_the_decision_over_known_logits_is_that_of_inference(model, clips, thresholds):
    network = RateExit(model, thresholds)
    known = torch.stack([model(clip) for clip in clips], dim=1)
    decided, inferred = network.decide(known), network.infer(clips)
    assert decided.exits.tolist() == inferred.exits.tolist()
    torch.testing.assert_close(decided.logits, inferred.logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_are_those_of_the_specialised_network(model, clips):
    found = RateExit(model, [NEVER, NEVER]).infer(clips)
    torch.testing.assert_close(found.logits, specialize(model, 8)(clips[2]))


def test_confidence_that_is_no_number_leaves_at_the_highest_rate(model, clips):
    broken = [torch.full_like(clip, torch.nan) for clip in clips]
    assert RateExit(model, [0.0, 0.0]).infer(broken).exits.tolist() == [2] * 12


def test_a_video_with_a_clip_of_another_rate_is_refused(model, clips):
    with pytest.raises(ValueError, match="8 frames is none of the rate of 2"):
        RateExit(model, [0.5, 0.5]).infer(clips[::-1])


def test_another_number_of_thresholds_is_refused(model):
    with pytest.raises(ValueError, match=re.escape("each rate but the highest of (2, 4, 8): 2")):
        RateExit(model, [0.5])
