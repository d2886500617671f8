"""2D ResNets of several projects, for our frame-wise and our 3D ResNets.

Names are first made torchvision's, then those of the network that is expected:

    torchvision              TSN, TSM, TEA                       3D ResNets
    conv1.weight             base_model.conv1.weight             s1.pathway0_stem.conv.weight
    bn1.bias                 base_model.bn1.bias                 s1.pathway0_stem.bn.bias
    layer2.0.conv3.weight    base_model.layer2.0.conv3.weight    s3.pathway0_res0.branch2.c.weight
    layer2.0.bn3.bias        base_model.layer2.0.bn3.bias        s3.pathway0_res0.branch2.c_bn.bias
    layer2.0.downsample.0.*  base_model.layer2.0.downsample.0.*  s3.pathway0_res0.branch1.*
    layer2.0.downsample.1.*  base_model.layer2.0.downsample.1.*  s3.pathway0_res0.branch1_bn.*
    fc.weight                new_fc.weight                       head.projection.weight
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from slowfast.weights.formats.base import (
    FORMATS,
    Format,
    Rules,
    Shape,
    State,
    has,
    is_nonlocal,
    renamed,
    rewrite,
)

# TSM wraps the convolution that it shifts; without dropout its classifier is the backbone's own.
_FROM_TSN: Rules = (
    (r"\.conv1\.net\.", ".conv1."),
    (r"^base_model\.", ""),
    (r"^new_fc\.", "fc."),
)
_FROM_MMACTION: Rules = (
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
    (r"\.conv\.net\.", ".conv."),
    (r"(^|\.)conv(\d)\.conv\.", r"\1conv\2."),
    (r"(^|\.)conv(\d)\.bn\.", r"\1bn\2."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
)
_TO_TSN: Rules = (
    (r"^(?!fc\.)", "base_model."),
    (r"^fc\.", "new_fc."),
)
_LETTER = {"1": "a", "2": "b", "3": "c"}


def _to_3d(name: str) -> str:
    block = re.match(r"layer(\d)\.(\d+)\.(.*)", name)
    if block is None:
        stem = ((r"^conv1\.", "s1.pathway0_stem.conv."), (r"^bn1\.", "s1.pathway0_stem.bn."))
        return rewrite(name, (*stem, (r"^fc\.", "head.projection.")))
    stage, index, layer = block.groups()
    layer = re.sub(r"^conv(\d)\.", lambda m: f"branch2.{_LETTER[m[1]]}.", layer)
    layer = re.sub(r"^bn(\d)\.", lambda m: f"branch2.{_LETTER[m[1]]}_bn.", layer)
    layer = rewrite(
        layer, ((r"^downsample\.0\.", "branch1."), (r"^downsample\.1\.", "branch1_bn."))
    )
    return f"s{int(stage) + 1}.pathway0_res{index}.{layer}"


def _onto(rules: Rules) -> Callable[[State, Mapping[str, Shape]], State]:
    """A `rename` that makes names torchvision's by `rules`, then those of the expected network."""

    def rename(state: State, expected: Mapping[str, Shape]) -> State:
        if "base_model.conv1.weight" in expected:
            return renamed(state, lambda name: rewrite(rewrite(name, rules), _TO_TSN))
        if "s1.pathway0_stem.conv.weight" in expected:
            return renamed(state, lambda name: _to_3d(rewrite(name, rules)))
        return state

    return rename


def _of_images(state: State) -> bool:
    return has(state, "conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight")


def _is_res2net(state: State) -> bool:
    return "layer1.0.convs.0.weight" in state


FORMATS.register("torchvision")(
    Format(
        contents="ResNets of torchvision and timm for images, inflated for 3D ones (.pth)",
        models="TSN, TSM or ResNet",
        recognises=lambda state: _of_images(state) and not _is_res2net(state),
        rename=_onto(()),
        lacks=is_nonlocal,
    )
)
FORMATS.register("res2net")(
    Format(
        contents="Res2Net-50 26w4s for images (.pth)",
        models="TEA",
        recognises=lambda state: _of_images(state) and _is_res2net(state),
        rename=_onto(()),
        lacks=lambda name: ".me." in name or ".shifts." in name,
    )
)
FORMATS.register("tsn")(
    Format(
        contents="TSN, TSM and TEA, and TSM-FFN and TEA-FFN (.pth, .pth.tar)",
        models="TSN, TSM or TEA",
        recognises=lambda state: "base_model.conv1.weight" in state,
        rename=_onto(_FROM_TSN),
    )
)
FORMATS.register("mmaction")(
    Format(
        contents="TSN, TSM and SlowOnly of MMAction2 (.pth)",
        models="TSN, TSM or ResNet",
        recognises=lambda state: "backbone.conv1.conv.weight" in state,
        rename=_onto(_FROM_MMACTION),
    )
)
