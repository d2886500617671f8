"""FrameExit's released checkpoints, and those of plain networks in its backbone."""

from functools import partial

import pytest
import torch
from torch import nn

from helpers.families import (
    SMALL,
    frame_exit,
    loads,
    released_frame_exit,
    source,
    x3d,
)
from helpers.foreign_net import clip_of
from helpers.published import mmaction_state, torchvision_state
from slowfast.models import TSN
from slowfast.weights import load_weights


def test_a_released_frame_exit_says_the_same_at_every_exit(tmp_path):
    net = source(frame_exit())
    state = {f"module.{name}": tensor for name, tensor in released_frame_exit(net).items()}
    torch.save(state, tmp_path / "activitynet_checkpoint.pth")
    target = loads(frame_exit, tmp_path / "activitynet_checkpoint.pth", format="frame_exit").eval()
    with torch.no_grad():
        torch.testing.assert_close(target(clip_of(4, size=32)), net(clip_of(4, size=32)))


BACKBONES = {
    "torchvision": (partial(TSN, 18, **SMALL), torchvision_state),
    "mmaction": (partial(TSN, 18, **SMALL), mmaction_state),
    "tsn": (partial(TSN, 18, **SMALL), nn.Module.state_dict),
    "pyslowfast": (x3d, nn.Module.state_dict),
}


@pytest.mark.parametrize("format", BACKBONES)
def test_a_plain_networks_checkpoint_goes_into_the_backbone_of_frame_exit(format):
    make, written = BACKBONES[format]
    net, target = source(make()), frame_exit(make())
    others = {n: t.clone() for n, t in target.state_dict().items() if n[:9] != "backbone."}
    report = load_weights(target, written(net))
    assert report.format == format and not report.unexpected and not report.mismatched
    assert set(report.missing) == set(others) and len(report.ignored) == 2
    backbone = target.backbone.state_dict()
    assert backbone.keys() < net.state_dict().keys()
    assert all(torch.equal(tensor, net.state_dict()[n]) for n, tensor in backbone.items())
    assert all(torch.equal(target.state_dict()[n], tensor) for n, tensor in others.items())


def test_half_a_backbone_is_not_enough_for_frame_exit():
    state = TSN(18, **SMALL).state_dict()
    del state["base_model.layer3.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"backbone.base_model.layer3.0.conv1.weight"):
        load_weights(frame_exit(), state)
