"""Video networks of torchvision; most of this needs it installed: `make oracles`."""

import pytest
import torch

from helpers.bridges import SIZE, clip_of
from helpers.oracles import oracle
from slowfast.models import FrameFlexible
from slowfast.models.bridges import TorchvisionVideo


@pytest.mark.parametrize("name", ["mc3_18", "r2plus1d_18", "mvit_v1_b", "mvit_v2_s", "swin3d_t"])
def test_a_torchvision_network_trains_and_runs_at_any_frame_count(name):
    oracle("torchvision")
    model = FrameFlexible(TorchvisionVideo(name, num_classes=3), num_frames=(2, 4))
    low, high = model((clip_of(2), clip_of(4)))
    (low.sum() + high.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.inference_mode():
        for count in (1, 3, 5):
            assert model.eval()(clip_of(count)).shape == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize("relative", [False, True])
def test_at_the_size_it_was_built_for_mvit_is_torchvisions(relative):
    mvit = oracle("torchvision.models.video.mvit")
    blocks = [
        mvit.MSBlockConfig(1, 16, 32, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
        mvit.MSBlockConfig(2, 32, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
    ]
    net = TorchvisionVideo("mvit_v2_s" if relative else "mvit_v1_b", 5)
    size = {"spatial_size": (SIZE, SIZE), "temporal_size": 4, "num_classes": 5}
    net.model = mvit.MViT(
        block_setting=blocks,
        residual_pool=relative,
        residual_with_cls_embed=relative,
        rel_pos_embed=relative,
        proj_after_attn=relative,
        **size,
    ).eval()
    clip = clip_of(4)
    torch.testing.assert_close(net.eval()(clip), net.model(clip))
    assert net(clip_of(7, size=48)).shape == (2, 5)


@torch.no_grad()
def test_s3d_is_torchvisions_wherever_that_runs():
    video = oracle("torchvision.models.video")
    net = TorchvisionVideo("s3d", 5).eval()
    own = video.s3d(num_classes=5).eval()
    own.load_state_dict({k.removeprefix("model."): v for k, v in net.state_dict().items()})
    clip = clip_of(14, batch=1, size=240)
    torch.testing.assert_close(net(clip), own(clip))


def test_a_torchvision_network_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no video network 'r3d_34'; torchvision has r3d_18"):
        TorchvisionVideo("r3d_34")
