"""A test per family of checkpoints: the loaded network computes what the checkpoint's did."""

from functools import partial

import pytest
import torch
from torch import nn

from helpers.families import (
    BEHIND_BLOCKS,
    SMALL,
    TSM_NETS,
    assert_computes,
    frame_exit,
    loads,
    pyth,
    released_frame_exit,
    resnet,
    slowfast_net,
    source,
    uniformer,
    x3d,
)
from helpers.fixture_weights import read_fixture
from helpers.foreign_net import clip_of
from helpers.published import mmaction_state, torchvision_state, write_caffe2
from slowfast.models import TEA, TSM, TSN, FrameFlexible, SlowFast, UniFormer, VideoSwin
from slowfast.weights import FORMATS, load_weights
from slowfast.weights.formats import recognise
from slowfast.weights.formats.caffe2 import caffe2_name

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
