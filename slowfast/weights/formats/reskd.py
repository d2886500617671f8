"""Students of ResKD: a network of MMAction2 or Video Swin, stored together with its teacher.

backbone.low_res_path.conv1.conv.weight     the student, who is loaded
backbone.high_res_path.conv1.conv.weight    the teacher
cls_head.fc_cls_t.weight                    the teacher's classifier, where logits were compared
"""

from __future__ import annotations

from collections.abc import Mapping

from slowfast.weights.formats.base import FORMATS, Format, Shape, State, recognise, renamed
from slowfast.weights.formats.swin import is_index

_STUDENT, _TEACHER = "backbone.low_res_path.", ("backbone.high_res_path.", "cls_head.fc_cls_t.")


def _rename(state: State, expected: Mapping[str, Shape]) -> State:
    student = renamed(state, lambda name: name.replace(_STUDENT, "backbone.", 1))
    return FORMATS.get(recognise(student)).rename(student, expected)


FORMATS.register("reskd")(
    Format(
        contents="students of ResKD with their teachers (.pth)",
        models="TSN, TSM, ResNet or VideoSwin",
        recognises=lambda state: any(name.startswith(_STUDENT) for name in state),
        rename=_rename,
        ignores=lambda name: name.startswith(_TEACHER) or is_index(name),
    )
)
