"""Random erasing: one place in all frames and rates, of the right size, filled as asked."""

import pytest
import torch

from slowfast.datasets.transforms import RandomErasing

FRAMES, SIZE = 6, 40


def patches(erasing: RandomErasing, seed: int) -> list:
    return erasing.patches(FRAMES, SIZE, torch.Generator().manual_seed(seed))


def erased(erasing: RandomErasing, seed: int, where: list[int]) -> torch.Tensor:
    """A clip of sevens, `(3, len(where), 40, 40)`, after erasing."""
    clip = torch.full((3, len(where), SIZE, SIZE), 7.0)
    for patch in patches(erasing, seed):
        patch.put(clip, torch.tensor(where))
    return clip


def test_only_the_asked_share_of_samples_is_erased():
    count = sum(bool(patches(RandomErasing(0.25), seed)) for seed in range(400))
    assert 75 <= count <= 125
    assert not any(patches(RandomErasing(0.0), seed) for seed in range(50))


def test_a_rectangle_covers_a_fiftieth_to_a_third_of_the_frame():
    for seed in range(200):
        (patch,) = patches(RandomErasing(1.0), seed)
        height, width = patch.values.shape[2:]
        assert 0.017 < height * width / SIZE**2 < 0.36
        assert 0.26 < height / width < 3.8
        assert 0 <= patch.top <= SIZE - height and 0 <= patch.left <= SIZE - width


def test_several_rectangles_share_the_area():
    counts = set()
    for seed in range(100):
        found = patches(RandomErasing(1.0, count=3), seed)
        counts.add(len(found))
        areas = [patch.values[0, 0].numel() / SIZE**2 for patch in found]
        assert max(areas) < 0.36 / len(found)
    assert counts == {1, 2, 3}


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_all_frames_are_erased_at_one_place(mode):
    clip = erased(RandomErasing(1.0, mode), 0, [0, 2, 5])
    covered = (clip != 7).all(dim=0)
    assert covered.any() and not covered.all()
    assert torch.equal(covered, covered[:1].expand_as(covered))
    inside = clip[:, covered].view(3, 3, -1)
    if mode == "const":
        assert (inside == 0).all()
    elif mode == "rand":  # a colour per frame
        assert (inside == inside[..., :1]).all() and len(inside[..., 0].unique()) == 9
    else:
        assert inside.mean() == pytest.approx(0, abs=0.1)
        assert inside.std() == pytest.approx(1, abs=0.1)
        assert len(inside.unique()) > 0.99 * inside.numel()


def test_a_frame_has_the_same_noise_at_every_rate():
    erasing = RandomErasing(1.0)
    low, high = erased(erasing, 3, [1, 4]), erased(erasing, 3, [0, 1, 2, 4])
    assert torch.equal(low, high[:, [1, 3]])
    assert not torch.equal(high[:, 0], high[:, 1])


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="RE_MODE='noise' must be one of pixel, rand, const"):
        RandomErasing(0.5, "noise")
