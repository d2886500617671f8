"""Networks of timm; this needs it installed: `make oracles`."""

import copy

import pytest
import torch

from helpers.bridges import SIZE, cfg_of, clip_of, net_of
from helpers.oracles import oracle
from slowfast.models import TSM, FrameFlexible, build_model
from slowfast.models.bridges import TimmFrames
from slowfast.weights import load_weights


@torch.no_grad()
def test_logits_are_the_mean_of_those_of_the_frames():
    oracle("timm")
    net, clip = TimmFrames("resnet10t", 5).eval(), clip_of(3)
    frames = [net.model(clip[:, :, t]) for t in range(3)]
    torch.testing.assert_close(net(clip), torch.stack(frames).mean(0))


@torch.no_grad()
@pytest.mark.parametrize(("depth", "name"), [(18, "resnet18"), (50, "resnet50")])
def test_shifted_residual_branches_make_tsm(depth, name):
    oracle("timm")
    net = TimmFrames(name, 5, shift=r"layer\d\.\d+\.conv1").eval()
    tsm = TSM(depth, 5, dropout=0.0).eval()
    names = {k: k.replace("model.fc", "new_fc") for k in net.state_dict()}
    names = {k: v.replace("model.", "base_model.") for k, v in names.items()}
    tsm.load_state_dict({names[k]: v for k, v in net.state_dict().items()})
    clip = clip_of(5)
    torch.testing.assert_close(net(clip), tsm(clip), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_copy_of_a_shifted_network_knows_its_own_clip():
    net = net_of("TimmFrames").eval()
    twin = copy.deepcopy(net)
    with net.clip.of(3):  # as if the original were running
        assert twin(clip_of(4)).shape == (2, 5)


def test_efficientnet_b3_becomes_flexible_and_trains():
    oracle("timm")
    model = FrameFlexible(TimmFrames("efficientnet_b3", 5, shift=r"blocks.*\.conv_pw"), (2, 4))
    low, high = model((clip_of(2), clip_of(4)))
    (low.sum() + high.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    private = {n.split(".copies")[0] for n, _ in model.named_parameters() if ".copies." in n}
    assert len(private) == 78  # all its norms, which are timm's own with an activation inside


@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_b3", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_an_image_network_of_timm_is_the_backbone_of_frame_exit_with_its_own_weights(name):
    timm = oracle("timm")
    parts = ("FRAME_EXIT.BACKBONE", "TimmFrames", "TIMM.NAME", name)
    sizes = ("FRAME_EXIT.HIDDEN_DIM", 8, "FRAME_EXIT.GATE_DIMS", [8, 4])
    net = build_model(cfg_of("FrameExit", *parts, *sizes)).eval()
    size = {"img_size": SIZE} if name.startswith("vit") else {}
    image_net = timm.create_model(name, num_classes=9, **size).eval()
    report = load_weights(net, image_net.state_dict())
    assert len(report.ignored) == 2 and not report.unexpected
    clip = clip_of(3)
    expected = image_net.forward_head(image_net.forward_features(clip[:, :, 1]), pre_logits=True)
    torch.testing.assert_close(net.backbone(clip[:, :, 1:2]), expected)
    assert net(clip).logits.shape == (2, 3, 5)


@torch.no_grad()
def test_a_network_made_for_one_size_is_built_for_the_crop():
    oracle("timm")
    assert TimmFrames("vit_tiny_patch16_224", 5, size=64).eval()(clip_of(2, size=64)).shape == (
        2,
        5,
    )


def test_a_network_timm_does_not_know_is_refused_with_its_neighbours():
    oracle("timm")
    with pytest.raises(ValueError, match="TIMM.NAME='efficientnet_b33' .* 'efficientnet_b3'"):
        TimmFrames("efficientnet_b33", 5)


@pytest.mark.parametrize(
    ("shift", "message"), [("conv7", "names none; .* begin with conv1"), ("layer1", "is none")]
)
def test_a_shift_of_anything_but_convolutions_is_refused(shift, message):
    oracle("timm")
    with pytest.raises(ValueError, match=message):
        TimmFrames("resnet18", 5, shift=shift)
