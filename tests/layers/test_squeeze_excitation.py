import pytest
import torch

from slowfast.layers.squeeze_excitation import SqueezeExcitation, round_width


@pytest.mark.parametrize(
    ("width", "expected"),
    [(3.4, 8), (8, 8), (8.8, 8), (8.9, 16), (12, 16), (24, 24), (26.6, 24), (26.7, 32)],
)
def test_widths_are_multiples_of_eight_and_keep_nine_tenths(width, expected):
    assert round_width(width) == expected


@torch.no_grad()
def test_each_channel_is_scaled_by_what_all_means_say():
    layer, x = SqueezeExcitation(12, ratio=0.5), torch.randn(2, 12, 3, 4, 5)
    first, second = layer.fc1, layer.fc2
    assert first.weight.shape == (8, 12, 1, 1, 1)
    for n in range(2):
        means = torch.stack([x[n, c].mean() for c in range(12)])
        hidden = (first.weight.flatten(1) @ means + first.bias).clamp(min=0)
        factors = 1 / (1 + (-(second.weight.flatten(1) @ hidden + second.bias)).exp())
        torch.testing.assert_close(layer(x)[n], x[n] * factors[:, None, None, None])
