import copy

import pytest
import torch
from torch import nn

from slowfast.layers.conv import Conv2d, Conv3d, plain_convolutions

CASES = {
    "pointwise": dict(kernel_size=1),
    "pointwise with stride": dict(kernel_size=1, stride=(1, 2, 2)),
    "pointwise with padding": dict(kernel_size=1, padding=(0, 1, 1)),
    "spatial": dict(kernel_size=(1, 3, 3), padding=(0, 1, 1)),
    "spatial with stride and dilation": dict(
        kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 2, 2), dilation=(1, 2, 2)
    ),
    "spatial in groups": dict(kernel_size=(1, 3, 3), padding=(0, 1, 1), groups=2),
    "patches": dict(kernel_size=(1, 2, 2), stride=(1, 2, 2)),
    "temporal": dict(kernel_size=(3, 1, 1), padding=(1, 0, 0)),
    "temporal without bias": dict(kernel_size=(5, 1, 1), padding=(2, 0, 0), bias=False),
    "temporal with dilation": dict(kernel_size=(3, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1)),
    "temporal without padding": dict(kernel_size=(3, 1, 1)),
    "temporal with stride": dict(kernel_size=(7, 1, 1), stride=(4, 1, 1), padding=(3, 0, 0)),
    "temporal in groups": dict(kernel_size=(3, 1, 1), padding=(1, 0, 0), groups=2),
    "depthwise": dict(kernel_size=3, padding=1, groups=4),
    "depthwise, 5 frames": dict(kernel_size=5, padding=2, groups=4),
    "depthwise, wider out": dict(kernel_size=3, padding=1, groups=4, out_channels=8),
    "depthwise with spatial stride": dict(kernel_size=3, stride=(1, 8, 4), padding=1, groups=4),
    "depthwise with stride": dict(kernel_size=3, stride=2, padding=1, groups=4),
    "dense, keeping the length": dict(kernel_size=(9, 3, 3), padding=(4, 1, 1)),
    "dense": dict(kernel_size=(3, 4, 4), stride=(2, 4, 4), padding=(1, 0, 0)),
    "circular": dict(kernel_size=(3, 1, 1), padding=(1, 0, 0), padding_mode="circular"),
}


def pair(case: str) -> tuple[Conv3d, nn.Conv3d]:
    """The layer and PyTorch's, with the same weights, in float64."""
    arguments = {"in_channels": 4, "out_channels": 4} | CASES[case]
    ours, theirs = Conv3d(**arguments).double(), nn.Conv3d(**arguments).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("num_frames", [5, 8])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_conv3d(case, num_frames):
    ours, theirs = pair(case)
    results = []
    for layer in (ours, theirs):
        torch.manual_seed(0)
        x = torch.randn(2, 4, num_frames, 8, 9, dtype=torch.float64, requires_grad=True)
        y = layer(x)
        (y * torch.randn(y.shape, dtype=torch.float64)).sum().backward()
        results.append([y, x.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_a_norm_behind_a_single_frame_has_the_gradient_of_plain_memory(case):
    """PyTorch's backward pass of BatchNorm misreads some strides that a size of 1 leaves open."""
    layer, _ = pair(case)
    x = torch.randn(2, 4, max(layer.kernel_size[0] - 2 * layer.padding[0], 1), 8, 8).double()
    norms, grads = [nn.BatchNorm3d(layer.out_channels).double() for _ in range(2)], []
    for form in layer.forms:
        y = layer.compute(x, layer.weight, form).detach()
        torch.manual_seed(0)
        grad = torch.randn(y.shape).double()
        for norm, clip in zip(norms, (y, y.contiguous()), strict=True):
            clip = clip.clone(memory_format=torch.preserve_format).requires_grad_()
            norm.zero_grad()
            norm(clip).backward(grad)
            grads.append([clip.grad, norm.weight.grad])
        torch.testing.assert_close(grads[-2], grads[-1])


@pytest.mark.parametrize("case", CASES)
def test_every_form_of_a_convolution_is_equal(case):
    ours, theirs = pair(case)
    x = torch.randn(2, 4, 6, 8, 9, dtype=torch.float64)
    expected = theirs(x)
    for form in ours.forms:
        torch.testing.assert_close(ours.compute(x, ours.weight, form), expected)
        with torch.no_grad():
            torch.testing.assert_close(ours.compute(x, ours.weight, form), expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [(1, 3, 3), (5, 8, 9)])
def test_the_form_is_one_of_those_that_fit(case, size):
    layer, _ = pair(case)
    assert layer.form(torch.zeros(1, 4, *size)) in layer.forms


@pytest.mark.parametrize(
    ("arguments", "training", "inference"),
    [
        (dict(out_channels=512, kernel_size=(3, 1, 1), padding=(1, 0, 0)), "taps", "time"),
        (dict(out_channels=64, kernel_size=(3, 1, 1), padding=(1, 0, 0)), "time", "time"),
        (dict(out_channels=512, kernel_size=(7, 1, 1), stride=(4, 1, 1)), "time", "time"),
        (dict(kernel_size=(3, 1, 1), padding=(1, 0, 0), groups=512), "time", "time"),
        (dict(kernel_size=3, padding=1, groups=512), "taps", "volume"),
        (dict(out_channels=64, kernel_size=(1, 3, 3), padding=(0, 1, 1)), "volume", "volume"),
        (dict(out_channels=64, kernel_size=3, padding=1), "volume", "volume"),
        (dict(out_channels=64, kernel_size=1), "frames", "frames"),
        (dict(out_channels=64, kernel_size=1, stride=(1, 2, 2)), "frames", "frames"),
    ],
)
def test_forms_are_those_that_were_measured_as_fastest(arguments, training, inference):
    layer = Conv3d(**{"in_channels": 512, "out_channels": 512} | arguments)
    x = torch.zeros(2, 512, 8, 7, 7)
    assert layer.form(x) == training
    with torch.no_grad():
        assert layer.form(x) == inference


def test_a_single_small_clip_is_not_left_to_the_slower_library():
    x = torch.zeros(1, 512, 4, 7, 7)
    assert Conv3d(512, 64, (1, 3, 3), padding=(0, 1, 1)).form(x) == "frames"
    assert Conv3d(512, 64, 3, padding=1).form(x) == "taps"


def test_other_devices_run_conv3d_as_it_is():
    layer = Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), device="meta")
    assert layer.form(torch.zeros(1, 4, 3, 8, 8, device="meta")) == "plain"


@pytest.mark.parametrize("case", ["pointwise", "temporal", "depthwise, 5 frames", "dense"])
def test_a_single_frame_is_enough(case):
    ours, theirs = pair(case)
    x = torch.randn(1, 4, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(("num_videos", "size"), [(1, 3), (1, 30), (20, 10)])
@pytest.mark.parametrize("case", ["pointwise", "temporal"])
def test_products_agree_for_few_positions_few_frames_and_many(case, num_videos, size):
    ours, theirs = pair(case)
    x = torch.randn(num_videos, 4, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("case", ["spatial", "temporal", "depthwise"])
def test_no_video_gives_no_output(case):
    ours, theirs = pair(case)
    x = torch.zeros(0, 4, 5, 8, 8, dtype=torch.float64)
    assert ours(x).shape == theirs(x).shape


@pytest.mark.parametrize("case", CASES)
def test_another_weight_may_stand_in_for_the_layers_own(case):
    ours, theirs = pair(case)
    weight = torch.randn_like(ours.weight)
    theirs.weight.data.copy_(weight)
    x = torch.randn(1, 4, 6, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x, weight), theirs(x))


@pytest.mark.parametrize(("kernel", "size"), [(3, (2, 4, 4)), ((1, 7, 7), (2, 2, 2))])
def test_clips_below_the_kernels_size_have_finite_gradients_in_bfloat16(kernel, size):
    """PyTorch's own conv3d reads uninitialised memory there; NaN stands for what it may find."""
    layer = Conv3d(16, 16, kernel, padding=[k // 2 for k in nn.Conv3d(1, 1, kernel).kernel_size])
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(torch.randn(2, 16, *size))
        garbage = [torch.full((size,), torch.nan) for size in (1000, 5000, 20000, 100000)]
        del garbage
        y.float().sum().backward()
    assert layer.weight.grad.isfinite().all()


ONE_COLUMN = {  # and PyTorch's own strided bf16 convolutions give wrong gradients of the weight
    "frames": (Conv3d, dict(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)), (4, 2, 1)),
    "taps": (Conv3d, dict(kernel_size=3, stride=(1, 2, 2), padding=1), (2, 1, 1)),
    "images": (Conv2d, dict(kernel_size=7, stride=2, padding=3), (4, 1)),
}


@pytest.mark.parametrize("case", ONE_COLUMN)
def test_gradients_of_maps_of_one_column_are_right_in_bfloat16(case):
    kind, arguments, size = ONE_COLUMN[case]
    layer = kind(16, 24, bias=False, **arguments)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(2 + seed, 16, *size, generator=generator).bfloat16().float()
        found = []
        for enabled in (True, False):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                y = layer(x)
            found.append(torch.autograd.grad(y.float().sum(), layer.weight)[0])
        torch.testing.assert_close(*found, rtol=0.05, atol=0.05 * found[1].abs().max().item())


def test_a_map_of_one_column_may_give_several():
    layer = Conv2d(4, 4, 1, stride=2, padding=2)
    x = torch.randn(2, 4, 3, 1)
    expected = nn.functional.conv2d(x, layer.weight, layer.bias, 2, 2)
    assert expected.shape[3] == 3
    torch.testing.assert_close(layer(x), expected)


def test_weights_keep_their_place_in_memory_when_copied_and_loaded():
    layer = Conv3d(4, 6, (3, 1, 1))
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.state_dict())
    assert again.weight.stride() == layer.weight.stride() != torch.empty(6, 4, 3, 1, 1).stride()


def test_the_baseline_is_conv3d_and_ends_with_its_block():
    ours, theirs = pair("temporal")
    x = torch.randn(1, 4, 5, 8, 8, dtype=torch.float64)
    with plain_convolutions():
        assert torch.equal(ours(x), theirs(x)) and ours(x).is_contiguous()
    assert ours(x).is_contiguous(memory_format=torch.channels_last_3d)


# ---------------------------------------------------------------------------- images

IMAGE_CASES = {
    "pointwise": dict(kernel_size=1),
    "pointwise with stride": dict(kernel_size=1, stride=2),
    "pointwise with padding": dict(kernel_size=1, padding=1),
    "spatial": dict(kernel_size=3, padding=1, bias=False),
    "dilated": dict(kernel_size=3, padding=2, dilation=2),
    "depthwise": dict(kernel_size=3, padding=1, groups=4),
    "circular": dict(kernel_size=3, padding=1, padding_mode="circular"),
}


@pytest.mark.parametrize(("num_images", "size"), [(1, 3), (1, 40), (20, 10), (0, 8)])
@pytest.mark.parametrize("case", IMAGE_CASES)
def test_a_convolution_of_images_is_that_of_pytorch(case, num_images, size):
    arguments = {"in_channels": 4, "out_channels": 4} | IMAGE_CASES[case]
    ours, theirs = Conv2d(**arguments).double(), nn.Conv2d(**arguments).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(num_images, 4, size, size, dtype=torch.float64)
    expected = theirs(x)
    torch.testing.assert_close(ours(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected)
        torch.testing.assert_close(
            ours(x, 2 * ours.weight), theirs(x) + theirs(x) - bias_of(theirs)
        )


def bias_of(layer: nn.Module) -> torch.Tensor | float:
    return 0.0 if layer.bias is None else layer.bias[:, None, None]


def test_images_are_in_channels_last_memory_where_the_cpu_does_not_train():
    layer, x = Conv2d(4, 6, 3), torch.randn(1, 4, 5, 5)
    assert layer.form(x) == "plain" and layer(x).is_contiguous()
    with torch.no_grad():
        assert layer(x).is_contiguous(memory_format=torch.channels_last)
        with plain_convolutions():
            assert layer.form(x) == "plain" and layer(x).is_contiguous()
        assert layer.to("meta").form(x.to("meta")) == "plain"
