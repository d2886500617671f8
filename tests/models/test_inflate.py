import pytest
import torch
import torch.nn.functional as F

from slowfast.models import ResNet
from slowfast.models.inflate import inflate

KERNEL = torch.randn(4, 3, 5, 5)
SHAPES = {"conv": (4, 3, 3, 5, 5)}


@pytest.mark.parametrize("kernel", [KERNEL, KERNEL.unsqueeze(2)])
def test_a_still_clip_gives_the_images_map(kernel):
    image = torch.randn(2, 3, 8, 8)
    weight = inflate({"conv": kernel}, SHAPES)["conv"]
    still = image.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(F.conv3d(still, weight).squeeze(2), F.conv2d(image, KERNEL))


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_a_centred_kernel_gives_every_frame_its_own_map(frames):
    clip = torch.randn(1, 3, 4, 8, 8)
    weight = inflate({"conv": KERNEL}, {"conv": (4, 3, frames, 5, 5)}, centre=True)["conv"]
    found = F.conv3d(clip, weight, padding=(frames // 2, 0, 0))
    expected = torch.stack([F.conv2d(frame, KERNEL) for frame in clip.unbind(2)], dim=2)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["slow", "slow_i3d"])
def test_a_video_network_starts_as_the_image_network_it_is_inflated_from(arch):
    def net_of(arch: str) -> ResNet:
        return ResNet(18, num_classes=5, arch=arch, width=8).eval()

    image, video, clip = net_of("2d"), net_of(arch), torch.randn(2, 3, 4, 32, 32)
    shapes = {name: tensor.shape for name, tensor in video.state_dict().items()}
    video.load_state_dict(inflate(image.state_dict(), shapes, centre=True))
    torch.testing.assert_close(video(clip), image(clip))


def test_what_needs_no_time_passes_as_it_is():
    state = {
        "conv": torch.randn(4, 3, 3, 5, 5),
        "other_time": torch.randn(4, 3, 5, 5, 5),
        "bias": torch.randn(4),
        "head": torch.randn(10, 4),
        "unknown": KERNEL,
    }
    shapes = SHAPES | {"other_time": (4, 3, 3, 5, 5), "bias": (4,), "head": (5, 4)}
    found = inflate(state, shapes)
    assert found.keys() == state.keys() and all(found[name] is state[name] for name in state)


def test_the_given_weights_stay_as_they_are():
    state = {"conv": KERNEL}
    inflate(state, SHAPES)
    assert state["conv"] is KERNEL


def test_another_size_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"conv is \(4, 3, 5, 5\) .* \(4, 3, 3, 7, 7\)"):
        inflate({"conv": KERNEL}, {"conv": (4, 3, 3, 7, 7)})
