import json
from pathlib import Path

import pytest
from torch import nn

from slowfast.engine.optimization.layer_decay import depths, layer_scales
from slowfast.models import (
    MODELS,
    TSM,
    X3D,
    FrameFlexible,
    MViT,
    R2Plus1D,
    ResNet,
    SlowFast,
    UniFormer,
)

PUBLISHED = json.loads((Path(__file__).parents[2] / "fixtures/lr.json").read_text())["layer_decay"]


def tiny_mvit(**options):
    return MViT(dim=16, num_frames=2, crop_size=8, **options)


def published_depth(name: str, depth: int) -> int:
    """PySlowFast's rule, written anew from its description."""
    if name in ("cls_token", "mask_token") or name.startswith(("pos_embed", "patch_embed")):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


@pytest.mark.parametrize("options", [{}, {"sep_pos_embed": True, "norm_stem": True}])
def test_an_mvit_has_the_published_scales(options):
    net = tiny_mvit(depth=16, **options)
    numbers = PUBLISHED["depth16_decay0.75"]
    expected = {n: numbers[str(published_depth(n, 16))] for n, _ in net.named_parameters()}
    assert layer_scales(net, 0.75) == pytest.approx(expected, rel=1e-12)


def first_names(net: nn.Module) -> list[list[str]]:
    """What the layers hold, from the input up, without what lies inside a block."""
    found = depths((name for name, _ in net.named_parameters()), net.depth_order)
    layers = [set() for _ in range(max(found.values()) + 1)]
    for name, depth in found.items():
        parts = name.split(".")
        layers[depth].add(".".join(parts[:2]) if parts[1].isdecimal() else parts[0])
    return [sorted(layer) for layer in layers]


def test_layers_of_a_uniformer_are_its_blocks():
    net = UniFormer(num_classes=4, depth=(2, 1, 1, 1), dims=(8, 8, 8, 8), head_dim=4)
    assert first_names(net) == [
        *(["patch_embed1"], ["blocks1.0"], ["blocks1.1"]),
        *(["blocks2.0", "patch_embed2"], ["blocks3.0", "patch_embed3"]),
        *(["blocks4.0", "patch_embed4"], ["head", "norm"]),
    ]


def test_layers_of_residual_networks_are_their_stages():
    joined = [["s1", "s1_fuse"], ["s2", "s2_fuse"], ["s3", "s3_fuse"], ["s4", "s4_fuse"]]
    assert first_names(SlowFast(depth=18, width=8)) == [*joined, ["s5"], ["head"]]
    stages = [[f"s{n}"] for n in range(1, 6)] + [["head"]]
    assert first_names(ResNet(depth=18, width=8)) == stages
    assert first_names(X3D(width_factor=1, depth_factor=1)) == stages


def test_layers_of_networks_on_frames_are_their_stages():
    net = TSM(depth=18, width=8)
    found = depths((name for name, _ in net.named_parameters()), net.depth_order)
    assert found["base_model.conv1.weight"] == found["base_model.bn1.bias"] == 0
    assert [found[f"base_model.layer{n}.1.conv1.weight"] for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert found["new_fc.weight"] == 5


def test_layers_of_r2plus1d_are_its_blocks():
    net = R2Plus1D(widths=(4, 8), blocks=(1, 2))
    assert first_names(net) == [
        ["stem.0", "stem.1"],
        *([f"stages.{n}"] for n in range(3)),
        ["projection"],
    ]


def test_private_copies_are_as_deep_as_what_they_stand_for():
    net = FrameFlexible(tiny_mvit(depth=2), (2, 4))
    scales = layer_scales(net, 0.5)
    assert scales.keys() == dict(net.named_parameters()).keys()
    assert scales["net.blocks.0.norm1.copies.2.weight"] == 0.25
    assert scales["net.blocks.0.adaconv.copies.4.weight"] == 0.25
    assert scales["net.norm.copies.4.bias"] == scales["net.head.projection.weight"] == 1


def test_every_network_of_the_project_says_what_its_layers_are():
    for name in MODELS.names:
        assert getattr(MODELS.get(name), "depth_order", ()), name


def test_a_network_that_does_not_is_named():
    with pytest.raises(ValueError, match="SOLVER.LAYER_DECAY=0.9, but Linear does not say"):
        layer_scales(nn.Linear(2, 1), 0.9)
