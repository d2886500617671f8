"""Networks whose private layers belong to pairs of frame count and size."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.foreign_net import ForeignNet, perturb
from slowfast.models.flexible import (
    FrameFlexible,
    Rate,
    Rates,
    add_rates,
    all_rates,
    sized,
    specialize,
)
from slowfast.models.flexible.specialize import Specialized

COUNTS, SIZES = (2, 4), (8, 12, 16)


def flexible() -> FrameFlexible:
    torch.manual_seed(0)
    return perturb(FrameFlexible(ForeignNet(), COUNTS, sizes=SIZES)).eval()


def clip_of(num_frames: int, size: int) -> torch.Tensor:
    return torch.randn(2, 3, num_frames, size, size)


def test_rates_are_all_pairs_from_few_pixels_to_many():
    rates = Rates(None, (4, 8), (10, 20))
    assert list(map(str, rates.all)) == ["4x10", "8x10", "4x20", "8x20"] == list(rates.tags)
    # 4 frames of 20 pixels and 16 of 10 are as many pixels: more frames count as dearer.
    assert list(map(str, all_rates((4, 16), (10, 20)))) == ["4x10", "4x20", "16x10", "16x20"]


def test_a_single_frame_count_may_have_several_sizes():
    assert Rates(None, (8,), (10, 20)).tags == ("8x10", "8x20")
    with pytest.raises(ValueError, match="two or more trained frame counts"):
        Rates(None, (8,), (10,))


@pytest.mark.parametrize("sizes", [(20, 10), (10, 10), (0, 10), (10.0, 20)])
def test_sizes_are_rising_positive_integers(sizes):
    with pytest.raises(ValueError, match="sizes="):
        Rates(None, (4, 8), sizes)


@pytest.mark.parametrize("num_frames", [1, 3, 4, 6, 11, 40])
@pytest.mark.parametrize("size", [60, 112, 130, 158, 300])
def test_the_nearest_pair_is_the_one_of_the_fewest_doublings_of_frames_and_pixels(num_frames, size):
    counts, sizes = (4, 8, 16), (112, 160, 224)

    def doublings(pair):
        frames, side = pair
        return abs(math.log2(num_frames / frames)) + abs(math.log2(size**2 / side**2))

    pairs = [(t, s) for t in counts for s in sizes]
    found = Rates(None, counts, sizes).rate(Rates(None, counts, sizes).nearest(num_frames, size))
    assert doublings(found) == pytest.approx(min(map(doublings, pairs)))


def test_a_tie_between_pairs_goes_to_the_dearer_one():
    rates = Rates(None, (4, 16), (10, 20))
    assert rates.nearest(8, 20) == "16x20"  # one doubling from either count


def test_without_a_size_the_largest_is_meant():
    assert Rates(None, (4, 8), (10, 20)).nearest(4) == "4x20"


@pytest.mark.parametrize("num_frames", COUNTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_clip_runs_the_private_layers_of_its_own_pair_alone(num_frames, size):
    model, clip = flexible(), clip_of(num_frames, size)
    before = model(clip)
    own = f"{num_frames}x{size}"
    state = {name: t for name, t in model.state_dict().items() if t.is_floating_point()}
    for name, tensor in state.items():
        if "x" in name and f"_{own}." not in name:
            tensor.add_(1.0)
    torch.testing.assert_close(model(clip), before, rtol=0, atol=0)
    for name, tensor in state.items():
        if f"_{own}.weight" in name:
            tensor.add_(1.0)
    assert not torch.allclose(model(clip), before)


def test_a_wide_clip_counts_by_its_pixels():
    model = flexible()
    assert model.tag_of(torch.empty(1, 3, 4, 9, 16)) == "4x12"


def test_a_specialised_network_is_that_of_its_pair():
    model = flexible()
    for rate in model.rates.all:
        clip = clip_of(*rate)
        plain = specialize(model, rate.num_frames, size=rate.size)
        torch.testing.assert_close(plain(clip), model(clip), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(Specialized(model)(clip), plain(clip))


def test_plain_weights_fill_every_pair():
    net = perturb(ForeignNet()).eval()
    model = FrameFlexible(ForeignNet(), COUNTS, sizes=SIZES, alter=False).eval()
    model.load_state_dict(net.state_dict())
    for rate in model.rates.all:
        clip = clip_of(*rate)
        torch.testing.assert_close(model(clip), net(clip))


def test_frame_counts_are_not_added_to_pairs():
    with pytest.raises(ValueError, match="not to pairs with sizes"):
        add_rates(flexible(), [3], "nearest")


def test_sized_clips_are_resized_from_the_given_ones_cheap_to_dear():
    clips = tuple(torch.randn(2, 3, t, 16, 16) for t in COUNTS)
    found = sized(clips, SIZES)
    assert list(found) == list(all_rates(COUNTS, SIZES))
    assert found[Rate(4, 16)] is clips[1]
    frame = F.interpolate(clips[0][:, :, 1], (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[Rate(2, 8)][:, :, 1], frame)
    assert all(clip.shape[2:] == (*rate, rate.size) for rate, clip in found.items())


def test_without_sizes_clips_stay_as_they_are():
    clips = (torch.randn(1, 3, 2, 8, 8), torch.randn(1, 3, 4, 8, 8))
    found = sized(clips)
    assert list(found) == [2, 4] and found[2] is clips[0] and found[4] is clips[1]
