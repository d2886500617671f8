"""Crops: every place and size reachable, inside the frame, and the exact arithmetic of cutting."""

from math import log

import pytest
import torch
from torch.nn.functional import interpolate

from slowfast.datasets.transforms import (
    Box,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    Scale,
    UniformCrops,
    cut,
    cut_all,
)

SIZES = [(20, 30), (30, 20), (24, 24), (21, 23)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_frames(num_frames: int, height: int, width: int) -> torch.Tensor:
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator(), dtype=torch.uint8)


def draws(crop, height: int, width: int, count: int = 400) -> list[Box]:
    return [crop.boxes(height, width, generator(seed))[0] for seed in range(count)]


# ---------------------------------------------------------------------------- short-side jitter


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_random_crops_stay_inside_and_reach_the_first_and_last_offset(height, width):
    boxes = draws(RandomCrop(16, (24, 24)), height, width)
    side = round(min(height, width) * 16 / 24)
    assert {box.height for box in boxes} == {box.width for box in boxes} == {side}
    assert {box.top for box in boxes} == set(range(height - side + 1))
    assert {box.left for box in boxes} == set(range(width - side + 1))


def test_jitter_draws_the_short_side_uniformly():
    sides = torch.tensor([b.height for b in draws(RandomCrop(224, (256, 320)), 2560, 3400)])
    short_sides = 2560 * 224 / sides
    assert 256 <= short_sides.min() < 258 and 318 < short_sides.max() <= 320
    assert short_sides.mean() == pytest.approx(288, abs=3)


def test_inverse_jitter_is_uniform_in_one_over_the_short_side():
    sides = [b.height for b in draws(RandomCrop(128, (128, 512), inverse=True), 4096, 4096)]
    assert torch.tensor(sides).double().mean() == pytest.approx((4096 + 1024) / 2, rel=0.05)


@pytest.mark.parametrize("kind", [RandomResizedCrop, MultiScaleCrop])
def test_half_of_the_samples_are_mirrored_and_none_without_flip(kind):
    assert sum(box.flip for box in draws(kind(8, flip=True), 20, 20)) in range(160, 240)
    assert not any(box.flip for box in draws(kind(8), 20, 20))


def test_half_of_the_jittered_samples_are_mirrored_and_none_without_flip():
    mirrored = sum(box.flip for box in draws(RandomCrop(8, (8, 9), flip=True), 20, 20))
    assert mirrored in range(160, 240)
    assert not any(box.flip for box in draws(RandomCrop(8, (8, 9)), 20, 20))


def test_a_short_side_below_the_crop_is_refused():
    with pytest.raises(ValueError, match=r"TRAIN_JITTER_SCALES=\[200, 320\] .*TRAIN_CROP_SIZE=224"):
        RandomCrop(224, (200, 320))


# ---------------------------------------------------------------------------- resized crop


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (7, 5), (1, 9)])
def test_resized_crops_stay_inside_the_frame(height, width):
    for box in draws(RandomResizedCrop(16), height, width):
        assert 0 <= box.top and box.top + box.height <= height and box.height > 0
        assert 0 <= box.left and box.left + box.width <= width and box.width > 0


def test_resized_crops_have_uniform_areas_and_log_uniform_aspects():
    boxes = draws(RandomResizedCrop(16, (0.1, 0.5), (0.5, 2.0)), 1000, 1000, 1000)
    area = torch.tensor([b.height * b.width / 1e6 for b in boxes])
    ratio = torch.tensor([log(b.width / b.height) for b in boxes])
    assert 0.099 < area.min() < 0.11 and 0.49 < area.max() < 0.501
    assert area.mean() == pytest.approx(0.3, abs=0.01)
    assert ratio.min() > -log(2) - 0.01 and ratio.max() < log(2) + 0.01
    assert ratio.mean() == pytest.approx(0, abs=0.05)


def test_resized_crops_reach_every_place():
    boxes = draws(RandomResizedCrop(4, (0.25, 0.25), (1.0, 1.0)), 6, 6, 400)
    assert {(b.top, b.left) for b in boxes} == {(y, x) for y in range(4) for x in range(4)}


def test_a_crop_that_never_fits_is_the_largest_centred_one():
    crop = RandomResizedCrop(16, (1.0, 1.0), (1.0, 1.0))
    assert crop.boxes(20, 30, generator()) == [Box(0, 5, 20, 20)]
    wide = RandomResizedCrop(16, (1.0, 1.0), (0.5, 2.0))
    assert wide.boxes(10, 90, generator()) == [Box(0, 35, 10, 20)]


@pytest.mark.parametrize(
    ("area", "aspect", "message"),
    [
        ((0.5, 0.1), (0.75, 1.3), "SCALES_RELATIVE"),
        ((0.0, 1.0), (0.75, 1.3), "SCALES_RELATIVE"),
        ((0.1,), (0.75, 1.3), "SCALES_RELATIVE"),
        ((0.1, 1.0), (1.3, 0.75), "ASPECT_RELATIVE"),
    ],
)
def test_ranges_that_do_not_rise_are_refused(area, aspect, message):
    with pytest.raises(ValueError, match=message):
        RandomResizedCrop(16, area, aspect)


# ---------------------------------------------------------------------------- multi-scale crop


def test_multi_scale_crops_have_four_sizes_that_differ_by_one_step():
    boxes = draws(MultiScaleCrop(224), 240, 320, 2000)
    sides = [240, 210, 180, 158]  # of which none is near 224
    expected = {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    assert {(box.height, box.width) for box in boxes} == expected


def test_multi_scale_crops_are_at_thirteen_places():
    crop = MultiScaleCrop(100, scales=(0.5,))
    boxes = draws(crop, 200, 300, 1000)
    quarters = {(box.top / 25, box.left / 50) for box in boxes}
    inner = {(1, 1), (1, 3), (3, 1), (3, 3)}
    assert quarters == {(y, x) for y in (0, 2, 4) for x in (0, 2, 4)} | inner
    assert len(quarters) == 13


@pytest.mark.parametrize(("short_side", "snapped"), [(222, 224), (226, 224), (221, 221)])
def test_a_side_within_three_pixels_of_the_size_becomes_the_size(short_side, snapped):
    (box,) = MultiScaleCrop(224, scales=(1.0,)).boxes(short_side + 9, short_side, generator())
    assert box.height == snapped
    assert box.width == min(snapped, short_side)


# ---------------------------------------------------------------------------- uniform crops


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
    assert {(box.height, box.width) for box in boxes} == {(256, 256)}
    assert UniformCrops(224, 1).boxes(height, width) == [boxes[1]]


def test_other_numbers_of_crops_are_refused():
    with pytest.raises(ValueError, match=r"NUM_SPATIAL_CROPS=2 must be 1 or 3"):
        UniformCrops(224, 2)


# ---------------------------------------------------------------------------- cutting


def test_cutting_at_size_copies_pixels():
    frames = random_frames(3, 12, 15)
    square = cut(frames, Box(2, 5, 8, 8), 8)
    assert torch.equal(square, frames[:, 2:10, 5:13].permute(0, 3, 1, 2))


def test_cutting_mirrors_left_and_right():
    frames = random_frames(3, 12, 15)
    mirrored = cut(frames, Box(2, 5, 8, 8, flip=True), 8)
    assert torch.equal(mirrored, cut(frames, Box(2, 5, 8, 8), 8).flip(3))


@pytest.mark.parametrize("size", [5, 9, 20])
@pytest.mark.parametrize("width", [14, 11])
def test_resizing_in_uint8_is_the_antialiased_one_in_float_rounded(size, width):
    frames = random_frames(2, 16, 18)
    exact = frames[:, 1:15, 3 : 3 + width].permute(0, 3, 1, 2).double()
    exact = interpolate(exact, (size, size), mode="bilinear", antialias=True)
    pixels = cut(frames, Box(1, 3, 14, width), size)
    assert pixels.dtype == torch.uint8
    assert (pixels - exact).abs().max() < 1.01


@pytest.mark.parametrize("antialias", [True, False])
def test_a_scaled_box_is_cut_out_of_the_resized_frame(antialias):
    frames = random_frames(2, 16, 20)
    exact = frames.permute(0, 3, 1, 2).double()
    exact = interpolate(exact, (8, 10), mode="bilinear", antialias=antialias)
    pixels = cut(frames, Box(1, 2, 6, 6, scale=Scale(8, 10, antialias)), 6)
    assert (pixels - exact[:, :, 1:7, 2:8]).abs().max() < 1.01


def test_boxes_of_one_scale_resize_the_frame_once(monkeypatch):
    import slowfast.datasets.transforms.crops as module

    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(module, "interpolate", counted)
    scale = Scale(8, 10, antialias=False)
    boxes = [Box(0, left, 8, 8, scale=scale) for left in range(3)]
    assert len(cut_all(random_frames(2, 16, 20), boxes, 8)) == 3
    assert len(calls) == 1
