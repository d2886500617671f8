"""Mixed precision is compared with 32 bits before a run trusts it."""

import pytest
import torch
from torch import nn

from helpers.runs import tiny_cfg
from slowfast.engine.selfcheck import Case, cases, check, check_mixed_precision
from slowfast.layers.conv import Conv3d
from slowfast.models import build_model

MIXED = ("TRAIN.MIXED_PRECISION", True)
CPU = torch.device("cpu")


class Broken(Conv3d):
    """Right in 32 bits; in less, its last output channel is not."""

    def forward(self, x):
        y = super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            y[:, -1] *= 2
        return y


def test_the_networks_own_convolutions_pass_on_this_machine(tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = tiny_cfg(tmp_path, tmp_path, *MIXED)
    check_mixed_precision(build_model(cfg), cfg, CPU)
    assert "convolutions differ from 32 bits by at most" in caplog.text


def test_a_run_in_32_bits_is_not_checked(tmp_path):
    cfg = tiny_cfg(tmp_path, tmp_path)
    check_mixed_precision(nn.Sequential(Broken(3, 4, 1)), cfg, CPU)


def test_a_wrong_convolution_stops_the_run_with_a_way_around_it(tmp_path):
    cfg = tiny_cfg(tmp_path, tmp_path, *MIXED)
    with pytest.raises(ValueError) as error:
        check_mixed_precision(nn.Sequential(Broken(3, 4, (1, 3, 3))), cfg, CPU)
    for part in (
        "1x3x3 kernel of 4 channels on 1x3x2x16x16",
        "cpu (torch",
        "TRAIN.AMP_DTYPE to fp16",
    ):
        assert part in str(error.value)


def test_a_gradient_that_is_no_number_is_wrong(monkeypatch):
    layer = nn.Conv3d(2, 2, 1)
    layer.register_full_backward_hook(lambda *_: (torch.full((1, 2, 2, 2, 2), float("nan")),))
    with pytest.raises(ValueError, match="input's gradient.*nan %"):
        check(Case(layer, torch.Size((1, 2, 2, 2, 2))), torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("kernel", "groups"), [((1, 3, 3), 1), ((3, 1, 1), 1), ((3, 3, 3), 8), ((5, 7, 7), 1)]
)
def test_forms_of_convolutions_differ_by_rounding_alone(kernel, groups, dtype):
    padding = tuple(k // 2 for k in kernel)
    layer = Conv3d(8, 8, kernel, padding=padding, groups=groups, bias=False)
    assert 0 < check(Case(layer, torch.Size((2, 8, 2, 8, 8))), dtype) < 0.02


def test_equal_layers_are_checked_once_and_other_sizes_again():
    net = nn.Sequential(*(nn.Conv3d(3, 3, 3, padding=1) for _ in range(3)), nn.Conv3d(3, 4, 1))
    clips = [torch.zeros(1, 3, t, 4, 4) for t in (2, 4)]
    found = [(case.layer.out_channels, case.shape[2]) for case in cases(net, clips)]
    assert found == [(3, 2), (4, 2), (3, 4), (4, 4)]


def test_looking_at_a_network_leaves_modes_statistics_and_hooks_alone():
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.BatchNorm3d(4).eval())
    cases(net, [torch.ones(1, 3, 2, 4, 4)])
    assert [module.training for module in net] == [True, True, False]
    assert not net[1].running_mean.any()
    assert not net[0]._forward_pre_hooks


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_networks_own_convolutions_pass_on_the_gpu(tmp_path, dtype):
    cfg = tiny_cfg(tmp_path, tmp_path, *MIXED, "TRAIN.AMP_DTYPE", dtype)
    device = torch.device("cuda", 0)
    check_mixed_precision(build_model(cfg).to(device), cfg, device)
