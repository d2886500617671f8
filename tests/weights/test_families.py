"""A test per family of checkpoints: the loaded network computes what the checkpoint's did."""

from functools import partial

import pytest
import torch
from torch import nn

from helpers.fixture_weights import read_fixture
from helpers.foreign_net import clip_of, perturb
from helpers.published import (
    mmaction_state,
    torchvision_state,
    without_counters,
    write_caffe2,
)
from slowfast.models import (
    TEA,
    TSM,
    TSN,
    X3D,
    FrameExit,
    FrameFlexible,
    ResNet,
    SlowFast,
    UniFormer,
    VideoSwin,
)
from slowfast.models.resnet3d import NonLocals
from slowfast.weights import FORMATS, load_weights
from slowfast.weights.formats import recognise
from slowfast.weights.formats.caffe2 import caffe2_name

SMALL = dict(num_classes=5, width=8, dropout=0.0)
BEHIND_BLOCKS = NonLocals([[[], []], [[1], []], [[0], []], [[], []]])  # of the slow pathway
slowfast_net = partial(SlowFast, depth=50, alpha=4, **SMALL)
resnet = partial(ResNet, **SMALL)
uniformer = partial(
    UniFormer,
    num_classes=5,
    depth=(1, 1, 1, 1),
    dims=(8, 8, 16, 16),
    head_dim=8,
    drop_path=0.0,
)
x3d = partial(X3D, num_classes=5, width_factor=0.5, depth_factor=0.5, dim_c5=16, dropout=0.0)


def source(net: nn.Module) -> nn.Module:
    return perturb(net, 0.1).eval()


@torch.no_grad()
def assert_computes(target: nn.Module, net: nn.Module, num_frames: int = 8) -> None:
    clip = clip_of(num_frames, size=32)
    expected = net(clip)
    torch.testing.assert_close(target.eval()(clip), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


def loads(make, state, *, format, new_head=False, **kwargs) -> nn.Module:
    """A network with the checkpoint, of which nothing is left over."""
    target = make(**kwargs)
    report = load_weights(target, state, new_head=new_head)
    assert report.format == format
    assert not report.unexpected and not report.mismatched
    assert all(name.endswith("num_batches_tracked") for name in report.missing)
    return target


# ---------------------------------------------------------------------------- Caffe2


CAFFE2 = {
    "SlowFast": slowfast_net,
    "SlowFast, non-local": partial(slowfast_net, nonlocals=BEHIND_BLOCKS),
    "SlowFast of basic blocks": partial(slowfast_net, depth=18),
    "I3D, non-local": partial(resnet, arch="i3d", nonlocals=BEHIND_BLOCKS),
    "C2D": partial(resnet, arch="c2d", depth=18),
    "Slow": partial(resnet, arch="slow", depth=18),
    "X3D": x3d,
}


@pytest.mark.parametrize("name", CAFFE2)
def test_a_caffe2_model_gives_the_same_logits(name, tmp_path):
    net = source(CAFFE2[name]())
    write_caffe2(net, tmp_path / "model.pkl")
    target = loads(CAFFE2[name], tmp_path / "model.pkl", format="caffe2")
    assert_computes(target, net)


def test_every_published_pair_of_blob_and_name_is_reproduced():
    pairs = read_fixture("caffe2_names")
    assert len(pairs) > 400
    assert {blob: caffe2_name(blob) for blob, _ in pairs} == dict(pairs)


def test_blobs_of_the_solver_are_set_aside_by_name(tmp_path):
    write_caffe2(source(resnet(depth=18)), tmp_path / "model.pkl")
    report = load_weights(resnet(depth=18), tmp_path / "model.pkl")
    assert {"lr", "model_iter", "conv1_w_momentum"} <= set(report.ignored)
    assert f"{len(report.loaded) + 2} ignored" in report.table()
    assert "conv1_w_momentum" in report.table(full=True)


def test_a_caffe2_model_fills_every_rate_and_the_head_of_a_flexible_network(tmp_path):
    net = source(slowfast_net())
    write_caffe2(net, tmp_path / "model.pkl")
    target = FrameFlexible(slowfast_net(), (4, 8, 16), tags=("L", "M", "H"))
    report = load_weights(target, tmp_path / "model.pkl")
    assert {name.rpartition("_")[0].rpartition(".")[2] for name in report.missing} <= {
        *("adaconv", "num_batches"),
    }
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if "adaconv" in name:
                parameter.zero_()
    for num_frames in (4, 8, 16):
        assert_computes(target, net, num_frames)


# ---------------------------------------------------------------------------- our names


def pyth(net: nn.Module) -> dict:
    return {"epoch": 9, "model_state": net.state_dict(), "optimizer_state": {}, "cfg": "MODEL: x"}


@pytest.mark.parametrize("make", [slowfast_net, partial(resnet, arch="i3d"), x3d])
def test_a_pyslowfast_checkpoint_gives_the_same_logits(make, tmp_path):
    net = source(make())
    torch.save(pyth(net), tmp_path / "checkpoint_epoch_00010.pyth")
    target = loads(make, tmp_path / "checkpoint_epoch_00010.pyth", format="pyslowfast")
    assert_computes(target, net)


@pytest.mark.parametrize("key", ["model", "model_state"])
def test_a_uniformer_for_video_gives_the_same_logits(key, tmp_path):
    net = source(uniformer())
    torch.save({key: net.state_dict()}, tmp_path / "uniformer_small_k400.pth")
    target = loads(uniformer, tmp_path / "uniformer_small_k400.pth", format="uniformer")
    assert_computes(target, net)


def test_a_uniformer_for_images_is_inflated_to_kernels_that_sum_to_its_own():
    net = source(uniformer())
    image = {n: t.sum(2) if t.ndim == 5 else t for n, t in net.state_dict().items()}
    target = uniformer(num_classes=7)
    report = load_weights(target, {"model": image}, new_head=True)
    assert report.format == "uniformer"
    assert set(report.mismatched) == {"head.weight", "head.bias"}
    assert report.inflated["patch_embed1.proj.weight"] == ((8, 3, 4, 4), (8, 3, 3, 4, 4))
    state = target.state_dict()
    for name in report.inflated:
        kernel = state[name]
        torch.testing.assert_close(kernel.sum(2), image[name])
        assert all(torch.equal(kernel[:, :, t], kernel[:, :, 0]) for t in range(kernel.shape[2]))
    assert len(report.inflated) == sum(t.ndim == 5 for t in state.values())


# ---------------------------------------------------------------------------- TSN, TSM, TEA


def as_original_tsm(net: nn.Module) -> dict:
    """Its shift wraps the first convolution of a block, DataParallel the whole network."""
    names = {
        n: n.replace(".0.conv1.", ".0.conv1.net.").replace(".1.conv1.", ".1.conv1.net.")
        for n in net.state_dict()
    }
    return {"state_dict": {f"module.{names[n]}": t for n, t in net.state_dict().items()}}


TSM_NETS = {"ResNet-18": partial(TSM, 18, **SMALL), "ResNet-50": partial(TSM, 50, **SMALL)}


@pytest.mark.parametrize("name", TSM_NETS)
def test_the_original_tsm_gives_the_same_logits(name, tmp_path):
    net = source(TSM_NETS[name]())
    torch.save(as_original_tsm(net), tmp_path / "TSM.pth.tar")
    assert_computes(loads(TSM_NETS[name], tmp_path / "TSM.pth.tar", format="tsn"), net)


def test_a_classifier_inside_the_backbone_is_found():
    """The original networks without dropout call it base_model.fc."""
    net = source(TSM(18, **SMALL))
    state = {n.replace("new_fc.", "base_model.fc."): t for n, t in net.state_dict().items()}
    assert_computes(loads(TSM_NETS["ResNet-18"], state, format="tsn"), net)


def test_tea_gives_the_same_logits(tmp_path):
    make = partial(TEA, **SMALL)
    net = source(make())
    state = {f"module.{n}": t for n, t in net.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": torch.tensor(51.2)}, tmp_path / "TEA.pth.tar")
    assert_computes(loads(make, tmp_path / "TEA.pth.tar", format="tsn"), net)


@pytest.mark.parametrize("name", TSM_NETS)
def test_a_plain_tsm_fills_every_rate_of_a_flexible_one(name):
    net = source(TSM_NETS[name]())
    target = FrameFlexible(TSM_NETS[name](), (4, 8, 16))
    report = load_weights(target, as_original_tsm(net))
    assert all("adaconv" in missing for missing in report.missing)
    with torch.no_grad():
        for missing in report.missing:
            target.state_dict()[missing].zero_()
    for num_frames in (4, 8, 16):
        assert_computes(target, net, num_frames)


# ---------------------------------------------------------------------------- FFN of the paper


FFN = {  # network, layout of the published checkpoint, alteration, tags
    "TSM-FFN": (partial(TSM, 50, 174), "tsm_ffn_r50", True),
    "TEA-FFN": (partial(TEA, 50, 174), "tea_ffn_r50", False),
    "SlowFast-FFN": (partial(SlowFast, 50, 174), "slowfast_ffn", True),
    "UniFormer-FFN": (partial(UniFormer, 174), "uniformer_ffn", True),
}


@pytest.mark.parametrize("name", FFN)
def test_the_published_names_of_a_frame_flexible_network_load_whole(name):
    make, fixture, alter = FFN[name]
    layout = read_fixture(fixture)["layout"]
    with torch.device("meta"):
        model = FrameFlexible(make(), (4, 8, 16), alter=alter)
        state = {n: torch.empty(s, dtype=getattr(torch, d)) for n, (s, d) in layout.items()}
    report = load_weights(model, {"state_dict": {f"module.{n}": t for n, t in state.items()}})
    assert set(report.loaded) == set(layout)
    assert not (report.missing or report.unexpected or report.mismatched)


@pytest.mark.parametrize(
    "make",
    [TSM_NETS["ResNet-18"], partial(TEA, **SMALL), slowfast_net, uniformer],
    ids=["TSM-FFN", "TEA-FFN", "SlowFast-FFN", "UniFormer-FFN"],
)
def test_a_frame_flexible_checkpoint_gives_the_same_logits_at_every_rate(make, tmp_path):
    net = source(FrameFlexible(make(), (4, 8, 16)))
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 50, "model_state": state}, tmp_path / "ffn.pyth")
    target = FrameFlexible(make(), (4, 8, 16))
    report = load_weights(target, tmp_path / "ffn.pyth")
    assert not report.missing
    for num_frames in (4, 8, 16):
        assert_computes(target, net, num_frames)


# ---------------------------------------------------------------------------- images


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


# ---------------------------------------------------------------------------- MMAction2


@pytest.mark.parametrize("name", TSM_NETS)
def test_tsm_of_mmaction_gives_the_same_logits(name):
    net = source(TSM_NETS[name]())
    state = {"meta": {"epoch": 50}, "state_dict": mmaction_state(net, shift=True)}
    assert_computes(loads(TSM_NETS[name], state, format="mmaction"), net)


def test_tsn_of_mmaction_starts_a_3d_network():
    net = source(TSN(18, **SMALL))
    target = resnet(depth=18, arch="2d").eval()
    load_weights(target, mmaction_state(net))
    still = clip_of(1, size=32)
    with torch.no_grad():
        torch.testing.assert_close(target(still), net(still), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------- FrameExit


def frame_exit(backbone: nn.Module | None = None) -> FrameExit:
    backbone = TSN(18, **SMALL) if backbone is None else backbone
    return FrameExit(backbone, num_classes=5, num_exits=4, hidden_dim=8, gate_dims=(8, 4))


def released_frame_exit(net: FrameExit) -> dict:
    """As the authors wrote theirs: numbered layers, convolutions in gates that say "go on"."""
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    state = {}
    for name, tensor in net.state_dict().items():
        part, *path = name.split(".")
        if part == "backbone":
            path = [str(numbers[path[1]]), *path[2:]]
        if part == "gates":
            part = "exit_selector"
            if path[1].startswith("fc"):
                path[1] = path[1].replace("fc", "conv")
                tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
            if path[1] == "linear":
                tensor = -tensor
        state[".".join([part, *path])] = tensor
    return state


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


# ---------------------------------------------------------------------------- all


def states() -> dict[str, dict]:
    """A state dict of each format."""
    tsn, tea, swin = TSN(18, **SMALL), TEA(**SMALL), VideoSwin(5, 8, (1,), (1,)).state_dict()
    student = {n.replace("backbone.", "backbone.low_res_path."): t for n, t in swin.items()}
    return {
        "native": nn.Linear(2, 3).state_dict(),
        "caffe2": {blob: torch.zeros(1) for blob, _ in read_fixture("caffe2_names")},
        "pyslowfast": resnet(depth=18).state_dict(),
        "uniformer": uniformer().state_dict(),
        "tsn": tsn.state_dict(),
        "torchvision": torchvision_state(tsn),
        "res2net": torchvision_state(tea),
        "mmaction": mmaction_state(tsn),
        "frame_exit": released_frame_exit(frame_exit()),
        "video_swin": swin,
        "swin": {name.removeprefix("backbone."): tensor for name, tensor in swin.items()},
        "reskd": student,
    }


def test_each_family_is_recognised_as_itself_and_as_no_other():
    every = states()
    assert set(every) == set(FORMATS.names)
    for name, state in every.items():
        assert recognise(state) == name
        claims = [other for other in FORMATS.names if FORMATS.get(other).recognises(state)]
        assert claims == ([] if name == "native" else [name])


def test_the_wrong_network_is_refused_with_the_format_and_those_that_fit():
    with pytest.raises(ValueError, match=r"read as tsn, does not fit X3D.*TSN, TSM or TEA"):
        load_weights(x3d(), TSN(18, **SMALL).state_dict())


def test_two_entries_for_one_name_are_refused():
    state = TSM(18, **SMALL).state_dict()
    state["base_model.fc.weight"] = state["new_fc.weight"]
    with pytest.raises(ValueError, match="the given mapping.*base_model.fc.weight"):
        load_weights(TSM(18, **SMALL), state)
