"""RandAugment: what is drawn, what each operation does, and one draw for all frames."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast.datasets.draws import TorchDraws
from slowfast.datasets.transforms import RandAugment, geometry
from slowfast.datasets.transforms.randaugment import OPERATIONS

SPEC = "rand-m7-n4-mstd0.5-inc1"


def picture(height: int = 24, width: int = 30) -> np.ndarray:
    """A smooth colourful frame: interpolations of it differ by little."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 5 + k) * np.cos(y / (4 + k)) for k in range(3)]
    return (127 + 120 * np.stack(waves, 2)).astype(np.uint8)


def pixels_of(image: np.ndarray, num_frames: int = 1) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].repeat(num_frames, 1, 1, 1)


def eroded(mask: np.ndarray, edge: bool = False) -> np.ndarray:
    """The places whose neighbours up to two pixels away are in `mask`; `edge`: and beyond it."""
    padded = np.pad(mask, 2, constant_values=edge)
    return np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).all((2, 3))


def plans(augment: RandAugment, count: int = 3000) -> list:
    draws = TorchDraws(torch.Generator().manual_seed(0))
    return [entry for _ in range(count) for entry in augment.plan(draws)]


# ---------------------------------------------------------------------------- specification


def test_the_specification_gives_magnitude_operations_and_deviation():
    assert RandAugment.from_spec(SPEC) == RandAugment(7, 4, 0.5, "bicubic")
    assert RandAugment.from_spec("rand-m9-mstd0.5-inc1") == RandAugment(9, 2, 0.5)
    assert RandAugment.from_spec("rand-m9-inc1", "bilinear") == RandAugment(9, 2, 0, "bilinear")


@pytest.mark.parametrize(
    "spec", ["augmix-m3", "rand-m7-n4", "rand-m7-x3-inc1", "rand-m11-inc1", "rand-m7-n4-w0-inc1"]
)
def test_other_specifications_are_refused_with_an_example(spec):
    with pytest.raises(ValueError, match=f"AA_TYPE='{spec}'.*rand-m7-n4-mstd0.5-inc1"):
        RandAugment.from_spec(spec)


def test_other_interpolations_are_refused():
    with pytest.raises(ValueError, match="INTERPOLATION='nearest' must be bicubic or bilinear"):
        RandAugment(7, interpolation="nearest")


# ---------------------------------------------------------------------------- draws


def test_half_of_the_operations_are_applied_and_all_fifteen_alike():
    seen = Counter(name for name, _ in plans(RandAugment(7, 4)))
    assert set(seen) == set(OPERATIONS) and len(seen) == 15
    assert sum(seen.values()) == pytest.approx(3000 * 4 / 2, rel=0.05)
    assert min(seen.values()) > 0.75 * 6000 / 15


@pytest.mark.parametrize(
    ("name", "arguments"),  # at magnitude 10
    [
        ("rotate", {-30, 30}),
        ("shear_x", {-0.3, 0.3}),
        ("shear_y", {-0.3, 0.3}),
        ("translate_x", {-0.45, 0.45}),
        ("translate_y", {-0.45, 0.45}),
        ("brightness", {0.1, 1.9}),
        ("sharpness", {0.1, 1.9}),
        ("posterize", {0}),
        ("solarize", {0}),
        ("solarize_add", {110}),
        ("invert", {None}),
    ],
)
def test_the_strongest_arguments_are_those_of_timm(name, arguments):
    drawn = {a if a is None else round(a, 9) for n, a in plans(RandAugment(10)) if n == name}
    assert drawn == arguments


def test_strengths_deviate_around_the_magnitude_and_stay_within_the_scale():
    angles = [abs(a) / 3 for n, a in plans(RandAugment(9, 4, 0.5)) if n == "rotate"]
    assert np.mean(angles) == pytest.approx(9, abs=0.1)
    assert max(angles) == pytest.approx(10) and min(angles) > 6.5


# ---------------------------------------------------------------------------- operations


@pytest.mark.parametrize(
    "name", sorted(set(OPERATIONS) - {"autocontrast", "equalize", "invert", "posterize"})
)
def test_operations_of_no_strength_change_nothing(name):
    pixels = pixels_of(picture())
    argument = OPERATIONS[name].argument(0.0)
    assert torch.equal(RandAugment(0).apply(name, pixels, argument), pixels)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("name", "argument", "transform"),
    [
        ("shear_x", 0.2, (1, 0.2, 0, 0, 1, 0)),
        ("shear_y", -0.25, (1, 0, 0, -0.25, 1, 0)),
        ("translate_x", 0.25, (1, 0, 0.25 * 30, 0, 1, 0)),
        ("translate_y", -0.3, (1, 0, 0, 0, 1, -0.3 * 24)),
        ("rotate", 17.0, 17.0),
    ],
)
def test_geometry_equals_pillow_inside_the_frame(name, argument, transform, interpolation):
    method = getattr(Image.Resampling, interpolation.upper())

    def by_pillow(array: np.ndarray, fill: int) -> np.ndarray:
        image, colour = Image.fromarray(array), (fill,) * 3
        if name == "rotate":
            return np.asarray(image.rotate(transform, method, fillcolor=colour)).astype(int)
        form = Image.Transform.AFFINE
        moved = image.transform(image.size, form, transform, method, fillcolor=colour)
        return np.asarray(moved).astype(int)

    image = picture()
    warped = RandAugment(9, interpolation=interpolation).apply(name, pixels_of(image), argument)
    warped = warped[0].permute(1, 2, 0).numpy()
    # Pillow shows the frame's edge sharply, here it fades into the grey: leave two pixels out.
    shown = by_pillow(np.full_like(image, 255), 0)[..., 0] == 255
    inside, outside = eroded(shown), eroded(~shown, edge=True)
    difference = np.abs(warped - by_pillow(image, geometry.GREY))
    assert inside.sum() > 150
    assert difference[inside].max() <= (1 if interpolation == "bilinear" else 2)
    assert (warped[outside] == geometry.GREY).all()


def test_translating_by_whole_pixels_copies_them():
    image = picture()
    moved = RandAugment(9).apply("translate_x", pixels_of(image), 3 / 30)
    assert torch.equal(moved[..., :-3], pixels_of(image)[..., 3:])
    assert (moved[..., -3:] == geometry.GREY).all()


def test_a_quarter_turn_is_exact():
    pixels = pixels_of(picture(24, 24))
    turned = geometry.warp(pixels, geometry.rotate(24, 24, 90.0))
    assert torch.equal(turned, pixels.rot90(1, (2, 3)))


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations_keep_shape_and_uint8_and_a_still_video_still(name):
    operation = OPERATIONS[name]
    still = pixels_of(picture(), 3)
    for memory in (torch.contiguous_format, torch.channels_last):
        pixels = still.contiguous(memory_format=memory)
        before = pixels.clone()
        changed = RandAugment(9).apply(
            name, pixels, operation.argument and operation.argument(0.83)
        )
        assert changed.dtype == torch.uint8 and changed.shape == pixels.shape
        assert torch.equal(changed, changed[:1].expand_as(changed))
        assert not torch.equal(changed, before)
        assert torch.equal(pixels, before)  # the input is left alone


def test_all_frames_get_the_same_draw_and_seeds_differ():
    still, augment = pixels_of(picture(), 5), RandAugment.from_spec(SPEC)
    results = []
    for seed in range(20):
        changed = augment(still, torch.Generator().manual_seed(seed))
        assert torch.equal(changed, changed[:1].expand_as(changed))
        assert torch.equal(changed, augment(still, torch.Generator().manual_seed(seed)))
        results.append(changed)
    assert len({tuple(result.flatten().tolist()) for result in results}) > 15
