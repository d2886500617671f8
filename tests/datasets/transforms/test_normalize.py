"""Pixels to floats: the exact arithmetic."""

import torch

from slowfast.datasets.transforms import Normalize


def random_pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (4, 10, 10, 3), generator=generator, dtype=torch.uint8)
    return frames.permute(0, 3, 1, 2)


def test_normalising_gives_channels_first_and_contiguous_memory():
    pixels = random_pixels()
    clip = Normalize([0.45, 0.5, 0.4], [0.225, 0.2, 0.25])(pixels)
    mean = torch.tensor([0.45, 0.5, 0.4]).view(3, 1, 1, 1)
    std = torch.tensor([0.225, 0.2, 0.25]).view(3, 1, 1, 1)
    expected = (pixels.float() / 255).transpose(0, 1).sub(mean).div(std)
    assert clip.dtype == torch.float32 and clip.is_contiguous()
    torch.testing.assert_close(clip, expected)


def test_bgr_is_the_rgb_clip_with_channels_reversed():
    pixels = random_pixels()
    statistics = [0.45, 0.5, 0.4], [0.225, 0.2, 0.25]
    rgb, bgr = Normalize(*statistics)(pixels), Normalize(*statistics, bgr=True)(pixels)
    assert torch.equal(bgr, rgb.flip(0))


def test_normalising_leaves_the_pixels_alone():
    pixels = random_pixels()
    before = pixels.clone()
    Normalize([0.45] * 3, [0.225] * 3)(pixels)
    assert torch.equal(pixels, before)
