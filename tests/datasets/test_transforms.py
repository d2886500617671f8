"""Crops and colours: every crop reachable, one for all frames, and the exact arithmetic."""

import pytest
import torch
from torch.nn.functional import interpolate

from slowfast.datasets.transforms import Box, Normalize, RandomCrop, UniformCrops, cut


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_frames(num_frames: int, height: int, width: int) -> torch.Tensor:
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator(), dtype=torch.uint8)


def draws(crop: RandomCrop, height: int, width: int, count: int = 400) -> list[Box]:
    return [crop.boxes(height, width, generator(seed))[0] for seed in range(count)]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (24, 24), (21, 23)])
def test_random_crops_stay_inside_and_reach_the_first_and_last_offset(height, width):
    boxes = draws(RandomCrop(16, (24, 24)), height, width)
    side = round(min(height, width) * 16 / 24)
    assert {box.side for box in boxes} == {side}
    assert {box.top for box in boxes} == set(range(height - side + 1))
    assert {box.left for box in boxes} == set(range(width - side + 1))


def test_jitter_draws_the_short_side_uniformly():
    short_sides = torch.tensor([b.side for b in draws(RandomCrop(224, (256, 320)), 2560, 3400)])
    short_sides = 2560 * 224 / short_sides
    assert 256 <= short_sides.min() < 258 and 318 < short_sides.max() <= 320
    assert short_sides.mean() == pytest.approx(288, abs=3)


def test_inverse_jitter_is_uniform_in_one_over_the_short_side():
    sides = torch.tensor(
        [b.side for b in draws(RandomCrop(128, (128, 512), inverse=True), 4096, 4096)]
    )
    assert sides.double().mean() == pytest.approx((4096 + 1024) / 2, rel=0.05)


def test_half_of_the_samples_are_mirrored_and_none_without_flip():
    assert sum(box.flip for box in draws(RandomCrop(8, (8, 9), flip=True), 20, 20)) in range(
        160, 240
    )
    assert not any(box.flip for box in draws(RandomCrop(8, (8, 9)), 20, 20))


def test_a_short_side_below_the_crop_is_refused():
    with pytest.raises(ValueError, match=r"TRAIN_JITTER_SCALES=\[200, 320\] .*TRAIN_CROP_SIZE=224"):
        RandomCrop(224, (200, 320))


@pytest.mark.parametrize(
    ("height", "width", "offsets"),  # of PySlowFast, whose centre rounds up
    [
        (256, 340, [(0, 0), (0, 42), (0, 84)]),
        (340, 256, [(0, 0), (42, 0), (84, 0)]),
        (256, 341, [(0, 0), (0, 43), (0, 85)]),
        (256, 256, [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_uniform_crops_lie_along_the_long_side(height, width, offsets):
    boxes = UniformCrops(224, 3).boxes(height, width)
    assert [(box.top, box.left) for box in boxes] == offsets
    assert {box.side for box in boxes} == {256}
    assert UniformCrops(224, 1).boxes(height, width) == [boxes[1]]


def test_other_numbers_of_crops_are_refused():
    with pytest.raises(ValueError, match=r"NUM_SPATIAL_CROPS=2 must be 1 or 3"):
        UniformCrops(224, 2)


def test_cutting_at_size_copies_pixels():
    frames = random_frames(3, 12, 15)
    square = cut(frames, Box(2, 5, 8), 8)
    assert torch.equal(square, frames[:, 2:10, 5:13].permute(0, 3, 1, 2))


def test_cutting_mirrors_left_and_right():
    frames = random_frames(3, 12, 15)
    mirrored = cut(frames, Box(2, 5, 8, flip=True), 8)
    assert torch.equal(mirrored, cut(frames, Box(2, 5, 8), 8).flip(3))


@pytest.mark.parametrize("size", [5, 9, 20])
def test_resizing_in_uint8_is_the_antialiased_one_in_float_rounded(size):
    frames = random_frames(2, 16, 18)
    exact = frames[:, 1:15, 3:17].permute(0, 3, 1, 2).double()
    exact = interpolate(exact, (size, size), mode="bilinear", antialias=True)
    assert (cut(frames, Box(1, 3, 14), size) - exact).abs().max() < 1.01


def test_normalising_gives_channels_first_and_contiguous_memory():
    pixels = cut(random_frames(4, 10, 10), Box(0, 0, 10), 10)
    clip = Normalize([0.45, 0.5, 0.4], [0.225, 0.2, 0.25])(pixels)
    mean = torch.tensor([0.45, 0.5, 0.4]).view(3, 1, 1, 1)
    std = torch.tensor([0.225, 0.2, 0.25]).view(3, 1, 1, 1)
    expected = (pixels.float() / 255).transpose(0, 1).sub(mean).div(std)
    assert clip.dtype == torch.float32 and clip.is_contiguous()
    torch.testing.assert_close(clip, expected)


def test_bgr_is_the_rgb_clip_with_channels_reversed():
    pixels = cut(random_frames(4, 10, 10), Box(0, 0, 10), 10)
    statistics = [0.45, 0.5, 0.4], [0.225, 0.2, 0.25]
    rgb, bgr = Normalize(*statistics)(pixels), Normalize(*statistics, bgr=True)(pixels)
    assert torch.equal(bgr, rgb.flip(0))


def test_normalising_leaves_the_pixels_alone():
    pixels = cut(random_frames(4, 10, 10), Box(0, 0, 10), 10)
    before = pixels.clone()
    Normalize([0.45] * 3, [0.225] * 3)(pixels)
    assert torch.equal(pixels, before)
