import pytest
import torch

from helpers.foreign_net import perturb
from slowfast.engine.optimization.layer_decay import depths
from slowfast.models import FrameFlexible, VideoSwin
from slowfast.models.flexible import RateSwitch
from slowfast.weights import load_weights

SMALL = {"dim": 8, "depths": (2, 2), "num_heads": (1, 2), "drop_path": 0.0, "head_dropout": 0.0}
VIDEO = {"patch": (2, 4, 4), "window": (4, 3, 3)}
IMAGE = {"patch": (1, 4, 4), "window": (1, 3, 3)}


def small(seed: int = 0, **kwargs) -> VideoSwin:
    torch.manual_seed(seed)
    return perturb(VideoSwin(5, **SMALL | VIDEO | kwargs), 0.1).eval()


def image_state(**kwargs) -> tuple[VideoSwin, dict[str, torch.Tensor]]:
    """A network of single frames, and its weights as those of an image network are written."""
    net = small(seed=1, **IMAGE | kwargs)
    state = {}
    for name, tensor in net.state_dict().items():
        name = name.removeprefix("backbone.").replace("cls_head.fc_cls.", "head.")
        state[name] = tensor.squeeze(2) if name == "patch_embed.proj.weight" else tensor
    for stage in range(2):
        state[f"layers.{stage}.blocks.1.attn.relative_position_index"] = torch.zeros(9, 9)
        state[f"layers.{stage}.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    return net, state


def logits_of(net: torch.nn.Module, clip: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net(clip)


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 33, 47), (7, 50, 32), (16, 20, 12), (3, 1, 1)])
def test_clips_of_any_length_and_resolution_give_logits(shape):
    logits = logits_of(small(), torch.randn(2, 3, *shape))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@pytest.mark.parametrize("patch, grid", [((2, 4, 4), (3, 4, 5)), ((4, 4, 4), (2, 4, 5))])
def test_patches_and_merging_are_filled_up_with_zeros(patch, grid):
    # 5 frames of 29 x 33 pixels: 8 x 9 patches, of which each 2 x 2 are merged.
    assert small(patch=patch).feature_map(torch.randn(1, 3, 5, 29, 33)).shape[2:] == grid


def test_a_frame_that_fills_up_is_black():
    net, clip = small(), torch.randn(1, 3, 3, 32, 32)
    filled = torch.cat([clip, torch.zeros(1, 3, 1, 32, 32)], dim=2)
    torch.testing.assert_close(logits_of(net, clip), logits_of(net, filled))


def test_blocks_before_the_first_shift_see_their_window_alone():
    net = small(depths=(1, 1), window=(1, 4, 4))
    clip, other = torch.randn(1, 3, 2, 64, 64), torch.randn(1, 3, 2, 64, 64)
    other[..., :32, :32] = clip[..., :32, :32]  # the first of 2 x 2 windows of the second stage
    with torch.no_grad():
        a, b = net.feature_map(clip), net.feature_map(other)
    torch.testing.assert_close(a[..., :4, :4], b[..., :4, :4])
    assert (a[..., 4:, 4:] != b[..., 4:, 4:]).any()


@pytest.mark.parametrize("num_frames", [8, 16])
def test_image_weights_see_in_a_still_clip_what_they_saw_in_the_image(num_frames):
    image_net, state = image_state()
    net = small()
    report = load_weights(net, {"model": state})
    assert report.format == "swin" and not report.missing and len(report.ignored) == 4
    assert set(report.inflated) == {"backbone.patch_embed.proj.weight"}
    image = torch.randn(2, 3, 1, 48, 48)
    expected = logits_of(image_net, image)
    still = image.expand(-1, -1, num_frames, -1, -1)
    torch.testing.assert_close(logits_of(net, still), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_image_weights_of_other_windows_are_interpolated():
    _, state = image_state(window=(1, 5, 5))
    net = small()
    report = load_weights(net, state)
    name = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    assert report.resized[name] == ((81, 1), (7 * 25, 1))
    table = net.state_dict()[name].view(7, 5, 5)
    assert torch.equal(table[0], table[6])
    original = state["layers.0.blocks.0.attn.relative_position_bias_table"].view(9, 9)
    torch.testing.assert_close(table[3, 2, 2], original[4, 4])  # no distance stays no distance


def test_weights_of_windows_with_fewer_frames_are_interpolated_in_time():
    source, net = small(seed=1), small(window=(8, 3, 3))
    report = load_weights(net, source.state_dict())
    assert report.format == "video_swin" and not report.missing
    name = "backbone.layers.1.blocks.1.attn.relative_position_bias_table"
    assert report.resized[name] == ((7 * 25, 2), (15 * 25, 2))
    found, given = (m.state_dict()[name].view(-1, 25, 2) for m in (net, source))
    torch.testing.assert_close(found[7], given[3])
    torch.testing.assert_close(found.mean(0), given.mean(0), rtol=0.2, atol=0.02)


def test_the_indices_that_other_programs_store_are_set_aside():
    source, net = small(seed=1), small()
    index = {"backbone.layers.0.blocks.0.attn.relative_position_index": torch.zeros(36, 36)}
    report = load_weights(net, {"state_dict": source.state_dict() | index})
    assert set(report.ignored) == set(index)
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(logits_of(net, clip), logits_of(source, clip))


@pytest.mark.parametrize("student", ["low", "alone"])
def test_a_student_that_is_stored_with_its_teacher_is_loaded_alone(student):
    source, net = small(seed=1), small()
    state = {
        name.replace("backbone.", "backbone.low_res_path."): tensor
        for name, tensor in source.state_dict().items()
    }
    if student == "low":
        state["backbone.high_res_path.patch_embed.proj.weight"] = torch.zeros(16, 3, 2, 4, 4)
        state["cls_head.fc_cls_t.weight"] = torch.zeros(5, 32)
    assert load_weights(net, {"state_dict": state}).format == "reskd"
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(logits_of(net, clip), logits_of(source, clip))


def test_plain_weights_fill_every_rate():
    source = small(seed=1)
    model = FrameFlexible(small(), (2, 4), alter=False).eval()
    load_weights(model, source.state_dict())
    for count in (2, 4):
        clip = torch.randn(1, 3, count, 32, 32)
        torch.testing.assert_close(logits_of(model, clip), logits_of(source, clip))


def test_each_norm_and_each_block_is_private_to_a_rate():
    model = FrameFlexible(small(), (2, 4))
    private = [n for n, m in model.net.named_modules() if isinstance(m, RateSwitch)]
    blocks = 4
    norms = 2 * blocks + 3  # and those of the patches, the merging and the end
    assert len([n for n in private if n.endswith("adaconv")]) == blocks
    assert len(private) == blocks + norms


def test_the_layers_of_layer_decay_are_the_patches_each_block_and_the_head():
    net = small()
    found = depths((n for n, _ in net.named_parameters()), net.depth_order)
    assert found["backbone.patch_embed.proj.weight"] == 0
    assert found["backbone.layers.0.blocks.1.norm1.weight"] == 2
    assert found["backbone.layers.0.downsample.norm.weight"] == 3
    assert found["backbone.layers.1.blocks.1.mlp.fc1.weight"] == 4
    assert found["backbone.norm.weight"] == found["cls_head.fc_cls.weight"] == 5


def test_stages_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="must name the same stages"):
        small(depths=(1, 1, 1))
    with pytest.raises(ValueError, match=r"window=\[7, 7\] must be frames, height and width"):
        small(window=(7, 7))
