import pytest
import torch
from torch.nn import functional as F

from slowfast.layers.alter import Alter, Gain, altered, plain_gains
from slowfast.layers.conv import Conv2d, Conv3d


def test_a_mark_passes_its_input_through_and_adds_no_checkpoint_name():
    x = torch.randn(2, 4, 3, 5, 5)
    assert Alter(4)(x) is x
    assert not Alter(4).state_dict()


def outputs_and_gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    gradient, layer.weight.grad = layer.weight.grad, None
    return y, x.grad, gradient


@pytest.mark.parametrize("kernel_dims", [1, 2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gain_is_the_depthwise_convolution_with_residual_of_the_paper(kernel_dims, channels_last):
    gain = Gain(6, kernel_dims).double()
    torch.nn.init.normal_(gain.weight)
    x = torch.randn(2, 6, *[4] * kernel_dims, dtype=torch.float64)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    ours = outputs_and_gradients(gain, x)
    with plain_gains():
        theirs = outputs_and_gradients(gain, x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(gain(x), theirs[0], rtol=0, atol=1e-12)
    assert gain(x).stride() == x.stride()


def test_a_gain_of_the_baseline_is_a_convolution():
    gain, x = Gain(6), torch.randn(2, 6, 3, 4, 4)
    with plain_gains():
        assert torch.equal(gain(x), x + F.conv3d(x, gain.weight, groups=6))


def test_a_gain_on_another_device_has_the_shape_and_type_of_its_input():
    x = torch.zeros(2, 6, 3, 4, 4, dtype=torch.bfloat16, device="meta")
    y = Gain(6).to("meta")(x)
    assert y.shape == x.shape and y.dtype == x.dtype


@pytest.mark.parametrize("size", [1, 8])  # the smaller of weight and input is altered
def test_a_convolution_of_a_gain_is_that_of_its_altered_weight(size):
    x = torch.randn(2, 4, size, size)
    for layer in (Conv2d(4, 8, 3, padding=1), Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0))):
        x, gain = x.unsqueeze(2) if isinstance(layer, Conv3d) else x, Gain(4, layer.weight.ndim - 2)
        expected = layer(gain(x))
        torch.testing.assert_close(altered(layer, gain, x), expected)
        with plain_gains():
            torch.testing.assert_close(altered(layer, gain, x), expected)


def test_a_gain_starts_as_normal_noise_of_one_thousandth():
    torch.manual_seed(0)
    weight = Gain(20000).weight
    assert weight.std().item() == pytest.approx(1e-3, rel=0.03)
    assert abs(weight.mean().item()) < 3e-5


def test_a_gain_keeps_the_type_of_half_precision_input():
    x = torch.ones(1, 4, 2, 2, 2, dtype=torch.bfloat16)
    assert Gain(4)(x).dtype == torch.bfloat16
    with torch.no_grad():
        assert Gain(4)(x).dtype == torch.bfloat16
