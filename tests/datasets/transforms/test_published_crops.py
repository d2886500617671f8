"""The published crops, against the numbers of the originals with the originals' random draws."""

import numpy as np
import pytest
import torch

from helpers.fixture_weights import input_tensor, read_fixture
from slowfast.datasets.transforms import Normalize, ScaledCrops, ScaledRandomCrop, cut, cut_all
from slowfast.datasets.transforms.published import scale_to

PYSLOWFAST = read_fixture("pyslowfast_sampling")
FRAMEEXIT = read_fixture("frameexit_frames")["transform"]


class NumpyDraws:
    """NumPy's global generator, seeded, as PySlowFast uses it."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    def integer(self, low: int, high: int) -> int:
        return int(self.random.randint(low, high + 1))


def assert_within(levels: float, values: torch.Tensor, expected: list[float]) -> None:
    """Normalised `values` differ from `expected` by at most `levels` of 255."""
    assert (values - torch.tensor(expected)).abs().max() <= levels / 255 / 0.22


@pytest.mark.parametrize("case", PYSLOWFAST["crops"]["cases"], ids=str)
def test_test_crops_lie_where_those_of_pyslowfast_lie(case):
    height, width, short_side, scaled, size, corners = case
    assert [*scale_to(short_side, height, width, False)[:2]] == scaled
    boxes = ScaledCrops(size, 3, short_side).boxes(height, width)
    assert [[box.top, box.left] for box in boxes] == corners
    assert ScaledCrops(size, 1, short_side).boxes(height, width) == [boxes[1]]
    assert ScaledCrops(size, 1, short_side, at_start=True).boxes(height, width) == [boxes[0]]


# The originals resize floats.  The same code does it on floats here, to equal numbers, and on uint8
# within a level of 255.
@pytest.mark.parametrize(("dtype", "levels"), [(torch.float32, 1e-3), (torch.uint8, 1.01)])
def test_test_crops_have_the_pixels_of_pyslowfast(dtype, levels):
    record = PYSLOWFAST["normalized"]
    frames = (input_tensor("u8", [4, 48, 64, 3]).clamp(-2, 2) * 60 + 128).to(torch.uint8)
    boxes = ScaledCrops(record["size"], 3, record["short_side"]).boxes(48, 64)
    crops = [crop.clone() for crop in cut_all(frames.to(dtype), boxes, record["size"])]
    for pixels, view in zip(crops, record["views"], strict=True):
        clip = Normalize([0.45] * 3, [0.225] * 3)(pixels)
        assert list(clip.shape) == view["shape"]
        assert_within(levels, clip.flatten()[:5], view["first5"])
        assert clip.mean() == pytest.approx(view["sum"] / clip.numel(), abs=levels / 300)


@pytest.mark.parametrize("case", PYSLOWFAST["random_crops"]["cases"], ids=str)
def test_random_crops_equal_those_of_pyslowfast_with_its_draws(case):
    seed, inverse, low, high, size, first, total = case
    frames = input_tensor("jit", [3, 2, 40, 50]).permute(1, 2, 3, 0)  # floats, never rounded
    box = ScaledRandomCrop(size, (low, high), inverse, flip=True).draw(40, 50, NumpyDraws(seed))
    clip = cut(frames, box, size).transpose(0, 1)
    torch.testing.assert_close(clip.flatten()[:5], torch.tensor(first), rtol=1e-5, atol=1e-5)
    assert clip.double().sum() == pytest.approx(total, abs=1e-2)


def test_random_crops_of_pyslowfast_never_reach_the_last_place():
    crop = ScaledRandomCrop(16, (18, 18))
    boxes = [crop.boxes(18, 20, torch.Generator().manual_seed(s))[0] for s in range(200)]
    assert {box.top for box in boxes} == {0, 1}
    assert {box.left for box in boxes} == {0, 1, 2, 3}


@pytest.mark.parametrize(("dtype", "levels"), [(torch.float32, 1e-3), (torch.uint8, 1.01)])
@pytest.mark.parametrize("case", FRAMEEXIT, ids=lambda case: case["input"])
def test_frameexit_crops_have_its_pixels(case, dtype, levels):
    frame = (input_tensor(case["input"], case["shape"]) * 50 + 120).clamp(0, 255).to(torch.uint8)
    crops = ScaledCrops(224, 1, 224, even=True)
    (box,) = crops.boxes(*case["shape"][:2])
    pixels = cut(frame[None].to(dtype), box, 224)
    values = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(pixels).flatten()
    assert_within(levels, values[: len(case["first"])], case["first"])
    assert_within(levels, values[-len(case["last"]) :], case["last"])
    assert values.mean() == pytest.approx(case["sum"] / len(values), abs=levels / 300)


def test_a_crop_larger_than_the_scaled_frame_is_refused():
    with pytest.raises(ValueError, match=r"TEST_CROP_SIZE=312 does not fit .* is 256"):
        ScaledCrops(312, 1, 256)
