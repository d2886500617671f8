"""Swin networks of the authors and of MMAction2.

images                              video, and ours
patch_embed.proj.weight             backbone.patch_embed.proj.weight
layers.0.blocks.1.norm1.weight      backbone.layers.0.blocks.1.norm1.weight
head.weight                         cls_head.fc_cls.weight
"""

from __future__ import annotations

from collections.abc import Mapping

from slowfast.weights.formats.base import FORMATS, Format, Rules, Shape, State, renamed, rewrite

_TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
_FROM_IMAGES: Rules = (
    (r"^(?!head\.)", "backbone."),
    (r"^head\.", "cls_head.fc_cls."),
)


def is_index(name: str) -> bool:
    """Whether an entry follows from the size of the windows alone."""
    return name.endswith((".relative_position_index", ".attn_mask"))


def _rename_images(state: State, expected: Mapping[str, Shape]) -> State:
    return renamed(state, lambda name: rewrite(name, _FROM_IMAGES))


FORMATS.register("video_swin")(
    Format(
        contents="Video Swin of its authors or MMAction2 (.pth)",
        models="VideoSwin",
        recognises=lambda state: f"backbone.{_TABLE}" in state,
        ignores=is_index,
    )
)
FORMATS.register("swin")(
    Format(
        contents="Swin for images, inflated (.pth)",
        models="VideoSwin",
        recognises=lambda state: _TABLE in state,
        rename=_rename_images,
        ignores=is_index,
    )
)
