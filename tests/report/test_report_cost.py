"""Costs of small networks against numbers worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slowfast.models.flexible import FrameFlexible
from slowfast.report import costs, gflops, latency_ms, parameters, peak_mb

SHAPE = (1, 3, 2, 8, 8)
PIXELS = 2 * 8 * 8
FLOAT = 4  # bytes


class Function(nn.Module):
    """A function of the clip as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, clip):
        return self.function(clip)


def multiply_adds(model: nn.Module, shape=SHAPE) -> int:
    return round(gflops(model, shape) * 1e9)


def peak_floats(model: nn.Module, shape=SHAPE) -> float:
    return peak_mb(model, shape) * 2**20 / FLOAT


def test_parameters_count_shared_ones_once_and_frozen_ones_too():
    layer = nn.Linear(3, 5)
    layer.weight.requires_grad = False
    assert parameters(nn.Sequential(layer, layer)) == 3 * 5 + 5


def test_gflops_of_a_convolution_are_outputs_times_kernel_times_inputs():
    conv = nn.Conv3d(3, 4, 3, padding=1)
    assert multiply_adds(conv) == 4 * PIXELS * 3 * 27


def test_gflops_of_a_grouped_strided_convolution_count_its_outputs_only():
    conv = nn.Conv3d(6, 6, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), groups=3)
    assert multiply_adds(conv, (1, 6, 2, 8, 8)) == 6 * (2 * 4 * 4) * 2 * 9


def test_gflops_of_a_volume_convolved_frame_by_frame_equal_those_of_the_volume():
    weight = torch.randn(4, 3, 3, 3)
    by_frame = Function(lambda clip: F.conv2d(clip[0].transpose(0, 1), weight, padding=1))
    whole = Function(lambda clip: F.conv3d(clip, weight[:, :, None], padding=(0, 1, 1)))
    assert multiply_adds(by_frame) == multiply_adds(whole) == 4 * PIXELS * 3 * 9


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: a @ b,
        torch.matmul,
        torch.bmm,
        lambda a, b: torch.baddbmm(torch.zeros(1, 1, 1), a, b),
    ],
    ids=["at", "matmul", "bmm", "baddbmm"],
)
def test_gflops_count_every_spelling_of_a_batched_matrix_product(product):
    model = Function(lambda x: product(x, x.transpose(1, 2)))
    assert multiply_adds(model, (2, 5, 7)) == 2 * 5 * 5 * 7


def test_gflops_of_a_broadcast_weight_count_every_row_of_the_batch():
    weight = torch.randn(4, 5)
    assert multiply_adds(Function(lambda x: weight @ x), (3, 5, 7)) == 3 * 4 * 7 * 5


def test_gflops_of_attention_are_those_of_its_two_matrix_products():
    def fused(x):
        return F.scaled_dot_product_attention(x, x, x)

    def by_hand(x):
        return (x @ x.transpose(-1, -2)).softmax(-1) @ x

    shape, expected = (1, 2, 9, 4), 2 * (9 * 9 * 4 + 9 * 9 * 4)
    assert multiply_adds(Function(fused), shape) == expected
    assert multiply_adds(Function(by_hand), shape) == expected


def test_gflops_leave_out_activations_and_gains():
    assert gflops(Function(lambda clip: F.relu(clip * 1.01) + clip), SHAPE) == 0


def test_peak_memory_is_clip_and_the_two_largest_neighbours():
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 1))
    assert peak_floats(model) == (3 + 4 + 4) * PIXELS


def test_peak_memory_counts_no_views_and_no_results_in_place():
    model = Function(lambda clip: clip.flatten(1).relu_().view(-1))
    assert peak_floats(model) == 3 * PIXELS


def test_peak_memory_counts_no_parameters():
    weight = nn.Parameter(torch.ones(1, 3, 1, 1, 1))
    model = Function(lambda clip: weight.squeeze())
    model.weight = weight
    assert peak_floats(model) == 3 * PIXELS


def test_peak_memory_counts_what_a_skip_connection_keeps_alive():
    conv = nn.Conv3d(3, 3, 1)
    chain = Function(lambda clip: conv(conv(conv(clip))))
    skip = Function(lambda clip: conv(conv(first := conv(clip))) + first)
    assert peak_floats(skip) == peak_floats(chain) + 3 * PIXELS


def test_measuring_keeps_the_mode_of_every_module_and_the_statistics_of_norms():
    model = nn.Sequential(nn.BatchNorm3d(3), nn.Dropout(0.5)).train()
    model[1].eval()
    before = model[0].running_mean.clone()
    costs(model, [2], crop=8, repeats=1)
    assert [module.training for module in model] == [True, False]
    assert torch.equal(model[0].running_mean, before)


def test_latency_is_positive_and_needs_a_repeat():
    model = nn.Conv3d(3, 4, 1)
    assert latency_ms(model, SHAPE, repeats=3) > 0
    with pytest.raises(ValueError, match="repeats=0"):
        latency_ms(model, SHAPE, repeats=0)


def test_latency_is_that_of_the_specialised_network_at_the_clips_frame_count():
    lengths = []

    class Recorder(nn.BatchNorm3d):
        def forward(self, clip):
            lengths.append((clip.shape[2], self.eps))
            return clip

    model = FrameFlexible(nn.Sequential(Recorder(3)), (2, 4))
    for norm, eps in zip(model.net[0].copies.values(), (0.2, 0.4), strict=True):
        norm.eps = eps
    model.register_forward_pre_hook(lambda *_: pytest.fail("the flexible network ran"))
    for frames in (1, 2, 4, 9):
        latency_ms(model, (1, 3, frames, 8, 8), repeats=1)
    assert set(lengths) == {(1, 0.2), (2, 0.2), (4, 0.4), (9, 0.4)}


def test_costs_grow_with_the_frames_they_are_asked_for():
    measured = costs(nn.Conv3d(3, 4, 1), [2, 6], crop=8, repeats=1)
    assert list(measured) == [2, 6]
    assert measured[6].gflops == pytest.approx(3 * measured[2].gflops)
    assert measured[6].peak_mb == pytest.approx(3 * measured[2].peak_mb)


def test_a_flexible_network_costs_at_each_count_what_its_plain_network_costs():
    def plain():
        return nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1))

    flexible = FrameFlexible(plain(), (2, 4))
    assert parameters(flexible) == parameters(plain()) + 2 * 4
    for frames in (2, 3, 4, 5):
        shape = (1, 3, frames, 8, 8)
        assert multiply_adds(flexible, shape) == multiply_adds(plain(), shape)
        assert peak_floats(flexible, shape) == peak_floats(plain(), shape)


@pytest.mark.gpu
def test_peak_memory_on_a_gpu_is_that_of_the_tensors():
    model = nn.Sequential(nn.Conv3d(3, 64, 1), nn.ReLU(), nn.Conv3d(64, 2, 1))
    shape = (1, 3, 8, 64, 64)
    on_cpu = peak_mb(model, shape)
    assert on_cpu <= peak_mb(model, shape, "cuda") <= 1.5 * on_cpu
