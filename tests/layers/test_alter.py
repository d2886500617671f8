import pytest
import torch
from torch.nn import functional as F

from slowfast.layers.alter import Alter, Gain


def test_a_mark_passes_its_input_through_and_adds_no_checkpoint_name():
    x = torch.randn(2, 4, 3, 5, 5)
    assert Alter(4)(x) is x
    assert not Alter(4).state_dict()


@pytest.mark.parametrize("kernel_dims", [2, 3])
def test_a_gain_is_the_depthwise_convolution_with_residual_of_the_paper(kernel_dims):
    gain = Gain(6, kernel_dims).double()
    torch.nn.init.normal_(gain.weight)
    x = torch.randn(2, 6, *[4] * kernel_dims, dtype=torch.float64)
    convolve = {2: F.conv2d, 3: F.conv3d}[kernel_dims]
    expected = x + convolve(x, gain.weight, groups=6)
    torch.testing.assert_close(gain(x), expected, rtol=0, atol=1e-12)


def test_a_gain_starts_as_normal_noise_of_one_thousandth():
    torch.manual_seed(0)
    weight = Gain(20000).weight
    assert weight.std().item() == pytest.approx(1e-3, rel=0.03)
    assert abs(weight.mean().item()) < 3e-5


def test_a_gain_keeps_the_type_of_half_precision_input():
    x = torch.ones(1, 4, 2, 2, 2, dtype=torch.bfloat16)
    assert Gain(4)(x).dtype == torch.bfloat16
