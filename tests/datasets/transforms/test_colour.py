"""Colour operations, against Pillow, whose rounding the published runs have, and by hand."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from slowfast.datasets.transforms import ColorJitter, colour


def frame(kind: str) -> np.ndarray:
    """`(H, W, 3)` uint8: noise, noise of few values, a ramp or one colour."""
    random = np.random.default_rng(0)
    if kind == "noise":
        return random.integers(0, 256, (21, 30, 3), dtype=np.uint8)
    if kind == "pale":
        return random.integers(90, 160, (40, 50, 3), dtype=np.uint8)
    if kind == "ramp":
        return (np.arange(32 * 16 * 3).reshape(32, 16, 3) // 7).astype(np.uint8)
    return np.full((20, 24, 3), (10, 200, 77), dtype=np.uint8)


KINDS = ["noise", "pale", "ramp", "one"]


def pixels_of(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def assert_equals_pillow(pixels: torch.Tensor, image: Image.Image) -> None:
    assert pixels.dtype == torch.uint8
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.0, 0.1, 0.63, 1.0, 1.37, 1.9])
@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
    ids=lambda value: value.__name__,
)
def test_enhancing_equals_pillow(change, enhancer, factor, kind):
    image = frame(kind)
    expected = enhancer(Image.fromarray(image)).enhance(factor)
    assert_equals_pillow(change(pixels_of(image), factor), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_a_frame_equal_pillow(kind):
    image = frame(kind)
    pixels, reference = pixels_of(image), Image.fromarray(image)
    assert_equals_pillow(colour.autocontrast(pixels), ImageOps.autocontrast(reference))
    assert_equals_pillow(colour.equalize(pixels), ImageOps.equalize(reference))
    assert_equals_pillow(colour.invert(pixels), ImageOps.invert(reference))


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_posterizing_equals_pillow(bits):
    image = frame("noise")
    expected = ImageOps.posterize(Image.fromarray(image), bits)
    assert_equals_pillow(colour.posterize(pixels_of(image), bits), expected)


@pytest.mark.parametrize("threshold", [0, 1, 128, 255, 256])
def test_solarizing_equals_pillow(threshold):
    image = frame("noise")
    expected = ImageOps.solarize(Image.fromarray(image), threshold)
    assert_equals_pillow(colour.solarize(pixels_of(image), threshold), expected)


def test_solarize_add_brightens_the_darker_half():
    pixels = torch.tensor([0, 100, 127, 128, 250], dtype=torch.uint8).view(1, 1, 1, 5)
    added = colour.solarize_add(pixels.expand(1, 3, 1, 5), 110)
    assert added[0, 0, 0].tolist() == [110, 210, 237, 128, 250]


def test_posterizing_to_no_bits_is_black():
    assert colour.posterize(pixels_of(frame("noise")), 0).max() == 0


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.2, 0.5])
def test_turning_the_hue_equals_the_colour_circle_of_the_standard_library(turn):
    image = frame("noise")
    turned = colour.hue(pixels_of(image), turn)[0].permute(1, 2, 0).reshape(-1, 3)
    for before, after in zip(image.reshape(-1, 3), turned.tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = [255 * x for x in colorsys.hsv_to_rgb((h + turn) % 1, s, v)]
        assert after == pytest.approx(expected, abs=0.51)


def test_red_turned_by_a_third_is_green():
    red = torch.tensor([200, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert colour.hue(red, 1 / 3).flatten().tolist() == [0, 200, 0]


def test_frames_do_not_know_each_other():
    both = torch.cat([pixels_of(frame("noise")), pixels_of(frame("noise")) // 4 + 90])
    for change in (colour.autocontrast, colour.equalize, lambda x: colour.contrast(x, 1.5)):
        alone = torch.cat([change(both[:1]), change(both[1:])])
        assert torch.equal(change(both), alone)


# ---------------------------------------------------------------------------- jitter


def jittered(pixels: torch.Tensor, seed: int = 0, **strengths: float) -> torch.Tensor:
    return ColorJitter(**strengths)(pixels, torch.Generator().manual_seed(seed))


def test_jitter_of_no_strength_changes_nothing():
    pixels = pixels_of(frame("noise"))
    assert torch.equal(jittered(pixels), pixels)


@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation", "hue"])
def test_jitter_is_the_same_for_all_frames_and_differs_between_samples(what):
    still = pixels_of(frame("pale")).expand(4, -1, -1, -1)
    first, other = (jittered(still, seed, **{what: 0.4}) for seed in (0, 1))
    assert first.dtype == torch.uint8
    assert torch.equal(first, first[:1].expand_as(first))
    assert not torch.equal(first, other)


def test_brightness_jitter_stays_within_its_strength():
    pixels = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    values = [int(jittered(pixels, seed, brightness=0.4).max()) for seed in range(200)]
    assert 59 <= min(values) < 65 and 135 < max(values) <= 140


def test_jitter_orders_its_changes_at_random(monkeypatch):
    orders, order = set(), []
    for name in ("brightness", "contrast", "saturation"):
        change = lambda pixels, factor, name=name: order.append(name) or pixels  # noqa: E731
        monkeypatch.setattr(colour, name, change)
    for seed in range(50):
        jittered(pixels_of(frame("one")), seed, brightness=0.4, contrast=0.4, saturation=0.4)
        orders.add(tuple(order))
        order.clear()
    assert len(orders) == 6


def test_a_hue_of_more_than_half_the_circle_is_refused():
    with pytest.raises(ValueError, match=r"COLOR_HUE=0.6 must be 0 to 0.5"):
        ColorJitter(hue=0.6)
