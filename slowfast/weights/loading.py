"""Loading weights so that no key is skipped silently."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from slowfast.layers.alter import Gain
from slowfast.models.flexible import FrameFlexible, RateSwitch
from slowfast.weights.fit import Fitted, fit
from slowfast.weights.formats import FORMATS, Format, recognise
from slowfast.weights.read import read_state_dict
from slowfast.weights.report import LoadReport, Pairs


def load_weights(
    model: nn.Module,
    path_or_state_dict: str | os.PathLike | Mapping[str, Any],
    format: str = "auto",
    new_head: bool = False,
) -> LoadReport:
    """Loads a checkpoint into `model` and tells what became of each name.

    `format` is one of FORMATS; `auto` tells it by the names and shapes in the checkpoint, never by
    the file's name.  A plain checkpoint fills every private copy of a frame-flexible `model`; the
    gains, which it cannot have, keep their values and are reported missing; so does all but the
    backbone of a FrameExit, into which its backbone's checkpoint goes without the classifier.  2D
    kernels are inflated over time, and position embeddings interpolated, where `model` needs it.

    With `new_head` a classifier keeps its values where the checkpoint has another number of
    classes.  Anything else that does not fit raises ValueError with the table of names, and leaves
    the model untouched; so does a file that cannot be read, or could run code.
    """
    chosen = None if format == "auto" else FORMATS.get(format)
    state = read_state_dict(path_or_state_dict)
    name = format if chosen else recognise(state)
    family: Format = FORMATS.get(name)
    misfit = f"{_name_of(path_or_state_dict)}, read as {name}, does not fit {_describe(model)}"
    try:
        fitted = fit(model, state, family)
    except ValueError as error:
        raise ValueError(f"{misfit}: {error} ({_remedy(family)})") from error
    report = _compare(model, fitted, name)
    complaint = _complaint(model, report, family, new_head, fitted.outside)
    if complaint:
        raise ValueError(f"{misfit}: {report.table()}\n{complaint}")
    model.load_state_dict({name: fitted.state[name] for name in report.loaded}, strict=False)
    return report


def _name_of(source: str | os.PathLike | Mapping[str, Any]) -> str:
    return "the given mapping" if isinstance(source, Mapping) else str(source)


def _describe(model: nn.Module) -> str:
    if isinstance(model, FrameFlexible):
        return f"the frame-flexible {type(model.net).__name__}"
    return type(model).__name__


def _compare(model: nn.Module, fitted: Fitted, format: str) -> LoadReport:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in fitted.state.items()}
    both = [name for name in expected if name in found]
    return LoadReport(
        loaded={name: found[name] for name in both if found[name] == expected[name]},
        missing={name: shape for name, shape in expected.items() if name not in found},
        unexpected={name: shape for name, shape in found.items() if name not in expected},
        mismatched={
            name: (found[name], expected[name]) for name in both if found[name] != expected[name]
        },
        format=format,
        inflated=fitted.inflated,
        resized=fitted.resized,
        ignored=fitted.ignored,
    )


def _complaint(
    model: nn.Module, report: LoadReport, family: Format, new_head: bool, outside: set[str]
) -> str:
    """What to do about names that nothing explains; "" if there are none."""
    missing = {name for name in report.missing if not name.endswith(".num_batches_tracked")}
    lacking = set(filter(family.lacks, missing | set(report.loaded)))
    for group in (_gains(model), lacking, outside):
        if group <= set(report.missing):  # all or none of it
            missing -= group
    if missing or report.unexpected:
        return f"{_remedy(family)}, or convert the checkpoint's names."
    if not report.mismatched:
        return ""
    if not _is_new_head(report.mismatched):
        return "Build the network with the checkpoint's widths and depths."
    if not new_head:
        return (
            "Only the number of classes differs: set MODEL.NUM_CLASSES to the checkpoint's or keep "
            "the new classifier with new_head=True (TRAIN.CHECKPOINT_NEW_HEAD True)."
        )
    return ""


def _remedy(family: Format) -> str:
    return (
        f"Build the network that the checkpoint is of ({family.contents}: MODEL.MODEL_NAME "
        f"{family.models}; FFN.NUM_FRAMES and FFN.TAGS if it is frame-flexible)"
    )


def _gains(model: nn.Module) -> set[str]:
    """The names of all gains, which a plain network's checkpoint has not."""
    switches = (m for m in model.modules() if isinstance(m, RateSwitch))
    gains = {
        id(gain.weight) for s in switches for gain in s.copies.values() if isinstance(gain, Gain)
    }
    return {n for n, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in gains}


def _is_new_head(mismatched: Pairs) -> bool:
    """Whether one and the same number of rows changes, and nothing else, as only an output can."""
    rows = {(found[:1], expected[:1]) for found, expected in mismatched.values()}
    return len(rows) == 1 and all(f[1:] == e[1:] for f, e in mismatched.values())
