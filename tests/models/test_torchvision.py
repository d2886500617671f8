"""Networks of torchvision become flexible too, where it is installed."""

import importlib.util

import pytest
import torch

from slowfast.models import FrameFlexible

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


@pytest.fixture(scope="module")
def models():
    """torchvision.models.video, also beside a CPU torch, where its operators do not load."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # alive as long as the fixture
    if torch.version.cuda is None:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.models import video

    yield video


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_a_torchvision_network_trains_and_runs_at_any_frame_count(models, name):
    model = FrameFlexible(getattr(models, name)(num_classes=3), num_frames=(4, 8))
    low, high = model((torch.randn(2, 3, 4, 32, 32), torch.randn(2, 3, 8, 32, 32)))
    (low.sum() + high.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.inference_mode():
        assert model.eval()(torch.randn(1, 3, 5, 32, 32)).shape == (1, 3)
