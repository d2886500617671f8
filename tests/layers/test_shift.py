import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slowfast.layers.shift import (
    TemporalDepthwise,
    TemporalShift,
    temporal_depthwise,
    temporal_shift,
)


def three_copies(x: torch.Tensor, num_frames: int, fold_div: int = 8) -> torch.Tensor:
    """The shift as its definition reads."""
    fold = x.shape[1] // fold_div
    videos = x.unflatten(0, (-1, num_frames))
    shifted = torch.zeros_like(videos)
    shifted[:, :-1, :fold] = videos[:, 1:, :fold]
    shifted[:, 1:, fold : 2 * fold] = videos[:, :-1, fold : 2 * fold]
    shifted[:, :, 2 * fold :] = videos[:, :, 2 * fold :]
    return shifted.flatten(0, 1)


def convolved_in_time(x: torch.Tensor, weight: torch.Tensor, num_frames: int) -> torch.Tensor:
    """`conv1d` on the frames of each pixel."""
    pixels = x.unflatten(0, (-1, num_frames)).permute(0, 3, 4, 2, 1)
    moved = F.conv1d(pixels.flatten(0, 2), weight, padding=1, groups=len(weight))
    return moved.view(pixels.shape).permute(0, 4, 3, 1, 2).flatten(0, 1)


def frames(channels: int = 16, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randn(6, channels, 3, 4, dtype=dtype, generator=generator)


layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
lengths = pytest.mark.parametrize("num_frames", [1, 2, 3, 6])


# ---------------------------------------------------------------------------- shift


@layouts
@lengths
@pytest.mark.parametrize(("channels", "fold_div"), [(16, 8), (19, 8), (5, 8), (7, 2), (9, 3)])
def test_a_part_comes_from_the_next_frame_and_a_part_from_the_one_before(
    layout, num_frames, channels, fold_div
):
    x = frames(channels).contiguous(memory_format=layout)
    shifted = temporal_shift(x, num_frames, fold_div)
    assert torch.equal(shifted, three_copies(x, num_frames, fold_div))
    assert torch.equal(TemporalShift(fold_div)(x, num_frames), shifted)
    assert shifted.is_contiguous(memory_format=layout)


@lengths
def test_the_gradient_of_the_shift_and_its_gradient_are_right(num_frames):
    x = frames(8)[:, :, :1, :2].requires_grad_()
    torch.autograd.gradcheck(lambda x: temporal_shift(x, num_frames, 4), x)
    torch.autograd.gradgradcheck(lambda x: temporal_shift(x, num_frames, 4), x)


def test_the_shift_keeps_no_map_for_the_backward_pass():
    kept = []
    x = frames().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda kept: kept):
        temporal_shift(x, 3)
    assert not kept


# ---------------------------------------------------------------------------- temporal convolution


@layouts
@lengths
def test_the_temporal_convolution_is_that_of_each_pixel(layout, num_frames):
    x = frames(5).contiguous(memory_format=layout)
    weight = torch.randn(5, 1, 3, dtype=torch.float64)
    y = temporal_depthwise(x, weight, num_frames)
    torch.testing.assert_close(y, convolved_in_time(x, weight, num_frames), rtol=0, atol=1e-12)
    assert y.is_contiguous(memory_format=layout)


@lengths
def test_the_gradient_of_the_temporal_convolution_and_its_gradient_are_right(num_frames):
    x = frames(3)[:, :, :2, :2].requires_grad_()
    weight = torch.randn(3, 1, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda *a: temporal_depthwise(*a, num_frames), (x, weight))
    torch.autograd.gradgradcheck(lambda *a: temporal_depthwise(*a, num_frames), (x, weight))


@pytest.mark.parametrize("dim", [1, 6, 7])
def test_a_temporal_convolution_starts_as_identity(dim):
    x = frames(dim, torch.float32)
    assert torch.equal(TemporalDepthwise(dim)(x, 3), x)


@pytest.mark.parametrize("dim", [1, 6, 7])
def test_or_it_starts_as_two_half_shifts(dim):
    x, half = frames(dim, torch.float32), dim // 2
    videos = x.unflatten(0, (2, 3))
    expected = torch.zeros_like(videos)
    expected[:, :2, :half] = videos[:, 1:, :half]
    expected[:, 1:, half:] = videos[:, :2, half:]
    assert torch.equal(TemporalDepthwise(dim, shift=True)(x, 3), expected.flatten(0, 1))


# ---------------------------------------------------------------------------- both


class Moves(nn.Module):
    """Clips `(B, 16, T, H, W)` through both."""

    def __init__(self):
        super().__init__()
        self.shift, self.conv = TemporalShift(), TemporalDepthwise(16)
        nn.init.normal_(self.conv.conv.weight)

    def forward(self, clip):
        x = clip.transpose(1, 2).flatten(0, 1)
        return self.conv(self.shift(x, clip.shape[2]), clip.shape[2])


def clip_of(num_videos: int, num_frames: int = 4) -> torch.Tensor:
    return torch.randn(num_videos, 16, num_frames, 3, 5)


@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_nothing_passes_from_one_video_to_another(num_frames):
    torch.manual_seed(0)
    clip = clip_of(3, num_frames).requires_grad_()
    middle = Moves()(clip).unflatten(0, (3, num_frames))[1]
    middle.square().sum().backward()
    assert clip.grad[1].ne(0).any() and clip.grad[[0, 2]].eq(0).all()


def test_a_longer_video_cannot_be_taken_for_several():
    """The shift of 4 frames is not that of 2 times 2."""
    x = frames()[:4]
    assert not torch.equal(temporal_shift(x, 4), temporal_shift(x, 2))


def test_half_precision_stays():
    x = frames(16, torch.bfloat16)
    assert temporal_shift(x, 3).dtype == torch.bfloat16
    weight = torch.ones(16, 1, 3, requires_grad=True)  # float32, as in mixed-precision training
    y = temporal_depthwise(x, weight, 3)
    y.sum().backward()
    assert y.dtype == torch.bfloat16 and weight.grad.dtype == torch.float32


@torch.no_grad()
def test_an_exported_program_takes_any_number_of_videos():
    batch = torch.export.Dim("batch")
    moves = Moves()
    exported = torch.export.export(moves, (clip_of(2),), dynamic_shapes=({0: batch},)).module()
    for num_videos in (1, 2, 5):
        clip = clip_of(num_videos)
        assert torch.equal(exported(clip), moves(clip))


def test_compiled_outputs_and_gradients_are_the_same():
    torch.compiler.reset()
    moves = Moves()
    compiled = torch.compile(moves, backend="aot_eager", fullgraph=True)
    found = []
    for function in (moves, compiled):
        torch.manual_seed(0)
        clip = clip_of(2).requires_grad_()
        moves.zero_grad()
        y = function(clip)
        y.square().sum().backward()
        found.append((y, clip.grad, moves.conv.conv.weight.grad))
    torch.testing.assert_close(*found)


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("num_frames", [0, 4, 7])
def test_frames_that_are_no_whole_videos_are_refused(num_frames):
    with pytest.raises(ValueError, match=f"6 frames are no videos of num_frames={num_frames}"):
        temporal_shift(frames(), num_frames)
    with pytest.raises(ValueError, match="6 frames are no videos"):
        temporal_depthwise(frames(2), torch.ones(2, 1, 3), num_frames)


@pytest.mark.parametrize("make", [TemporalShift, lambda d: temporal_shift(frames(), 3, d)])
def test_a_part_that_is_more_than_half_is_refused(make):
    with pytest.raises(ValueError, match="fold_div=1 must be at least 2"):
        make(1)
