"""Checkpoints that have our names already: ours, and those whose names ours are."""

from __future__ import annotations

from slowfast.weights.formats.base import FORMATS, Format, State, has, is_nonlocal


def _of_pyslowfast(state: State) -> bool:
    return any(name.startswith("head.projection.") for name in state)


FORMATS.register("native")(
    Format(
        contents="networks under the names of this project",
        models="the network it was saved from",
        recognises=lambda state: False,  # whatever nothing else recognises
    )
)
FORMATS.register("pyslowfast")(
    Format(
        contents="PySlowFast and the SlowFast-FFN made with it (.pyth)",
        models="ResNet, SlowFast, X3D or MViT",
        recognises=_of_pyslowfast,
        lacks=is_nonlocal,  # as image weights are
    )
)
FORMATS.register("uniformer")(
    Format(
        contents="UniFormer for images or video, and UniFormer-FFN (.pth, .pyth)",
        models="UniFormer",
        recognises=lambda state: has(state, "patch_embed1.proj.weight", "blocks1.0.conv1.weight"),
    )
)
