"""Weights of image networks start video networks."""

from functools import partial

import pytest
import torch

from helpers.families import (
    BEHIND_BLOCKS,
    SMALL,
    assert_computes,
    loads,
    pyth,
    resnet,
    source,
)
from helpers.foreign_net import clip_of
from helpers.published import torchvision_state, without_counters
from slowfast.models import TEA, TSM, TSN, ResNet
from slowfast.weights import load_weights


@pytest.mark.parametrize("make", [TSN, TSM])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_torchvision_resnet_starts_a_frame_wise_network(make, depth):
    net = source(TSN(depth, **SMALL))
    target = loads(partial(make, depth, **SMALL), torchvision_state(net), format="torchvision")
    if make is TSN:
        assert_computes(target, net)
    assert torch.equal(target.base_model.conv1.weight, net.base_model.conv1.weight)


@pytest.mark.parametrize("arch", ["2d", "slow_c2d", "c2d"])
@pytest.mark.parametrize("depth", [18, 50])
def test_an_inflated_torchvision_resnet_sees_in_a_still_clip_what_it_saw_in_the_image(arch, depth):
    net = source(TSN(depth, **SMALL))
    target = resnet(depth=depth, arch=arch).eval()
    report = load_weights(target, torchvision_state(net))
    assert report.format == "torchvision" and report.inflated and not report.missing
    still = clip_of(1, size=32).expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(target(still), net(still), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["i3d", "slow"])
def test_the_kernels_of_an_inflated_resnet_sum_to_those_of_the_image(arch):
    image = torchvision_state(source(TSN(50, **SMALL)))
    target = resnet(arch=arch)
    load_weights(target, image)
    kernel = target.get_submodule("s5.pathway0_res1.branch2.a").weight
    assert kernel.shape[2] == 3 or arch == "i3d"
    torch.testing.assert_close(kernel.sum(2), image["layer4.1.conv1.weight"])


def test_image_weights_leave_non_local_blocks_as_they_start():
    target = resnet(nonlocals=BEHIND_BLOCKS)
    report = load_weights(target, torchvision_state(source(TSN(50, **SMALL))))
    assert report.missing and all("_nonlocal" in name for name in report.missing)


def test_2d_networks_of_pyslowfast_start_inflated_and_non_local_ones():
    net = source(resnet(depth=50, arch="2d"))
    target = resnet(arch="i3d", nonlocals=BEHIND_BLOCKS)
    report = load_weights(target, pyth(net))
    assert report.format == "pyslowfast" and report.inflated
    assert report.missing and all("_nonlocal" in name for name in report.missing)


def test_half_a_non_local_block_is_not_enough():
    net = resnet(nonlocals=BEHIND_BLOCKS)
    state = {n: t for n, t in net.state_dict().items() if "conv_theta" not in n}
    with pytest.raises(ValueError, match="conv_theta.weight"):
        load_weights(resnet(nonlocals=BEHIND_BLOCKS), state)


def test_res2net_starts_tea_but_for_its_temporal_layers():
    net, target = source(TEA(**SMALL)), TEA(**SMALL)
    before = {n: t.clone() for n, t in target.state_dict().items()}
    temporal = [n for n in before if ".me." in n or ".shifts." in n]
    image = {n: t for n, t in torchvision_state(net).items() if f"base_model.{n}" not in temporal}
    report = load_weights(target, image)
    assert report.format == "res2net"
    assert set(report.missing) == set(temporal)
    for name, tensor in target.state_dict().items():
        expected = before[name] if name in temporal else net.state_dict()[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("make", [TSN, partial(ResNet, arch="c2d")])
def test_the_classifier_of_images_is_only_replaced_when_asked_to(make):
    image = torchvision_state(source(TSN(18, num_classes=9, width=8)))
    target = make(depth=18, **SMALL)
    with pytest.raises(ValueError, match=r"(?s)read as torchvision.*new_head=True"):
        load_weights(target, image)
    report = load_weights(target, image, new_head=True)
    assert [found[0] for found, _ in report.mismatched.values()] == [9, 9]


def test_files_from_before_batch_counters_load():
    net = source(TSN(18, **SMALL))
    state = without_counters(torchvision_state(net))
    assert_computes(loads(partial(TSN, 18, **SMALL), state, format="torchvision"), net)
