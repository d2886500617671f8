import pytest
import torch

from slowfast.layers.resize import resize


def test_a_map_of_the_size_asked_for_is_returned_itself():
    x = torch.randn(1, 2, 3, 4, 5)
    assert resize(x, (3, 4, 5)) is x


@pytest.mark.parametrize("size", [(3, 7, 2), (6, 4, 5), (2, 9, 9)])
def test_a_constant_stays_at_any_size(size):
    x = torch.full((2, 3, 3, 4, 5), 1.5)
    torch.testing.assert_close(resize(x, size), torch.full((2, 3, *size), 1.5))


def test_frames_are_resized_by_themselves():
    x = torch.randn(2, 3, 4, 8, 6)
    whole = resize(x, (4, 5, 9))
    for t in range(4):
        torch.testing.assert_close(whole[:, :, t : t + 1], resize(x[:, :, t : t + 1], (1, 5, 9)))


def test_half_the_frames_are_the_means_of_neighbours():
    x = torch.randn(1, 2, 6, 3, 3)
    torch.testing.assert_close(resize(x, (3, 3, 3)), (x[:, :, ::2] + x[:, :, 1::2]) / 2)
