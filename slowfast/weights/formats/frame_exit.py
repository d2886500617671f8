"""The checkpoints that the authors of FrameExit released, of ResNet-50.

backbone.0.weight                   backbone.base_model.conv1.weight
backbone.1.bias                     backbone.base_model.bn1.bias
backbone.4.0.conv1.weight           backbone.base_model.layer1.0.conv1.weight
exit_selector.0.conv1.weight        gates.0.fc1.weight, a matrix
exit_selector.0.linear.weight       gates.0.linear.weight, negated: theirs say "go on", ours "exit"
"""

from __future__ import annotations

from collections.abc import Mapping

from slowfast.weights.formats.base import (
    FORMATS,
    Format,
    Rules,
    Shape,
    State,
    has,
    renamed,
    rewrite,
)

_RULES: Rules = (
    (r"^backbone\.0\.", "backbone.base_model.conv1."),
    (r"^backbone\.1\.", "backbone.base_model.bn1."),
    *((rf"^backbone\.{n + 3}\.", f"backbone.base_model.layer{n}.") for n in (1, 2, 3, 4)),
    (r"^exit_selector\.(\d+)\.conv(\d)\.", r"gates.\1.fc\2."),
    (r"^exit_selector\.", "gates."),
)


def _rename(state: State, expected: Mapping[str, Shape]) -> State:
    result = renamed(state, lambda name: rewrite(name, _RULES))
    for name, tensor in result.items():
        if name.startswith("gates.") and ".linear." in name:
            result[name] = -tensor
        elif name.startswith("gates.") and tensor.ndim == 4:
            result[name] = tensor.flatten(1)
    return result


FORMATS.register("frame_exit")(
    Format(
        contents="FrameExit of ResNet-50 (.pth)",
        models="FrameExit with FRAME_EXIT.BACKBONE TSN",
        recognises=lambda state: has(state, "exit_selector.0.linear.weight", "backbone.0.weight"),
        rename=_rename,
    )
)
