"""MMAction2's names loaded into our networks, against its numbers."""

import pytest
import torch

from helpers.fixture_weights import fill_state_dict, input_tensor, read_fixture
from slowfast.models import TSM, TSN, FrameFlexible, ResNet
from slowfast.weights import load_weights

NETWORKS = {
    "tsn_r18": lambda: TSN(18, num_classes=200),
    "tsn_r50": lambda: TSN(50, num_classes=200),
    "tsm_r50_mmaction": lambda: TSM(50, num_classes=174),
    "slowonly_r50": lambda: ResNet(50, num_classes=400, arch="slow"),
}


def clip_of(case: dict) -> torch.Tensor:
    frames = input_tensor(
        case["input"], case["shape"]
    )  # (B, T, 3, H, W); SlowOnly (B, 1, 3, T, H, W)
    return frames.squeeze(1) if frames.ndim == 6 else frames.transpose(1, 2)


@pytest.fixture(scope="module", params=NETWORKS)
def record(request):
    record = read_fixture(request.param)
    return record | {"make": NETWORKS[request.param], "state": fill_state_dict(record["layout"])}


@torch.no_grad()
def test_a_checkpoint_of_mmaction_gives_its_logits(record):
    net = record["make"]().eval()
    report = load_weights(net, {"state_dict": record["state"]})
    assert report.format == "mmaction" and not report.missing
    for case in record["cases"][:1]:
        expected = torch.tensor(case["logits"])
        logits = net(clip_of(case))[:, : expected.shape[1]]
        torch.testing.assert_close(logits, expected, atol=1e-4 * expected.std().item(), rtol=1e-5)


@torch.no_grad()
def test_it_fills_every_rate_of_a_frame_flexible_network(record):
    case = record["cases"][0]
    clip = clip_of(case)
    model = FrameFlexible(record["make"](), (2, clip.shape[2] + 8)).eval()
    report = load_weights(model, record["state"])
    assert report.missing and all("adaconv" in name for name in report.missing)
    for name in report.missing:
        model.state_dict()[name].zero_()
    expected = torch.tensor(case["logits"])
    logits = model(clip)[:, : expected.shape[1]]
    torch.testing.assert_close(logits, expected, atol=1e-4 * expected.std().item(), rtol=1e-5)
