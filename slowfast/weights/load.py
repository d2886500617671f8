"""Loading weights so that no key is skipped silently."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from slowfast.config.registry import Registry
from slowfast.layers.alter import Gain
from slowfast.models.flexible import FrameFlexible, RateSwitch, private_names
from slowfast.weights.read import read_state_dict

Shape = tuple[int, ...]
State = dict[str, Tensor]

# Checkpoint format -> function from its state dict to one with our names.
FORMATS = Registry("checkpoint format")

MAX_ROWS = 20


@FORMATS.register("native")
def native(state: State) -> State:
    """Checkpoints of this program have our names already."""
    return state


@dataclass(frozen=True)
class LoadReport:
    """What happened to each name, with its shape; (checkpoint's, model's) where they differ."""

    loaded: dict[str, Shape]
    missing: dict[str, Shape]
    unexpected: dict[str, Shape]
    mismatched: dict[str, tuple[Shape, Shape]]

    def table(self) -> str:
        """A line of counts and a row per name that was not loaded."""
        rows = [
            *_rows("missing", "not in the checkpoint", self.missing),
            *_rows("unexpected", "not in the model", self.unexpected),
            *_rows("mismatched", "shapes in checkpoint and model differ", self.mismatched),
        ]
        counts = (
            f"{len(self.loaded)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} mismatched"
        )
        return "\n".join([counts, *rows])


def _rows(kind: str, meaning: str, shapes: Mapping[str, Any]) -> list[str]:
    if not shapes:
        return []
    rows = [f"    {name}  {shape}" for name, shape in list(shapes.items())[:MAX_ROWS]]
    more = [f"    ... and {len(shapes) - MAX_ROWS} more"] if len(shapes) > MAX_ROWS else []
    return [f"  {kind} ({meaning}):", *rows, *more]


def load_weights(
    model: nn.Module,
    path_or_state_dict: str | os.PathLike | Mapping[str, Any],
    format: str = "auto",
    new_head: bool = False,
) -> LoadReport:
    """Loads a checkpoint into `model` and tells what became of each name.

    A plain checkpoint fills every private copy of a frame-flexible `model`; the gains, which it
    cannot have, keep their values and are reported missing.  With `new_head` a classifier keeps its
    values, too, where the checkpoint has another number of classes.  Anything else that does not
    fit raises ValueError with the table of names, and leaves the model untouched.  `format` is one
    of FORMATS or `auto`.
    """
    convert = native if format == "auto" else FORMATS.get(format)
    state = _fill_copies(model, convert(read_state_dict(path_or_state_dict)))
    report = _compare(model, state)
    complaint = _complaint(model, report, new_head)
    if complaint:
        given = isinstance(path_or_state_dict, Mapping)
        source = "the given mapping" if given else path_or_state_dict
        raise ValueError(
            f"{source} does not fit {type(model).__name__}: {report.table()}\n{complaint}"
        )
    model.load_state_dict({name: state[name] for name in report.loaded}, strict=False)
    return report


def _fill_copies(model: nn.Module, state: State) -> State:
    """`state` with a plain name (`bn.weight`) replaced by those of all copies (`bn_4.weight`)."""
    copies = [(published, plain) for _, published, plain in _private_names(model)]
    copied = {
        published: state[plain]
        for published, plain in copies
        if plain in state and published not in state
    }
    used = {plain for published, plain in copies if published in copied}
    return {name: tensor for name, tensor in state.items() if name not in used} | copied


def _private_names(model: nn.Module) -> list[tuple[str, str, str]]:
    return list(private_names(model.net if isinstance(model, FrameFlexible) else model))


def _compare(model: nn.Module, state: State) -> LoadReport:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    both = [name for name in expected if name in found]
    return LoadReport(
        loaded={name: found[name] for name in both if found[name] == expected[name]},
        missing={name: shape for name, shape in expected.items() if name not in found},
        unexpected={name: shape for name, shape in found.items() if name not in expected},
        mismatched={
            name: (found[name], expected[name]) for name in both if found[name] != expected[name]
        },
    )


def _complaint(model: nn.Module, report: LoadReport, new_head: bool) -> str:
    """What to do about names that nothing explains; "" if there are none."""
    missing = set(report.missing) - _absent_gains(model, report)
    missing = {name for name in missing if not name.endswith(".num_batches_tracked")}
    if missing or report.unexpected:
        return (
            "Build the network that the checkpoint is of (MODEL; FFN.NUM_FRAMES and FFN.TAGS if it "
            "is frame-flexible), or convert the checkpoint's names."
        )
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


def _absent_gains(model: nn.Module, report: LoadReport) -> set[str]:
    """The names of all gains if the checkpoint has none, as that of a plain network."""
    switches = (m for m in model.modules() if isinstance(m, RateSwitch))
    gains = {
        id(gain.weight) for s in switches for gain in s.copies.values() if isinstance(gain, Gain)
    }
    names = {n for n, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in gains}
    return names if names <= set(report.missing) else set()


def _is_new_head(mismatched: Mapping[str, tuple[Shape, Shape]]) -> bool:
    """Whether one and the same number of rows changes, and nothing else, as only an output can."""
    rows = {(found[:1], expected[:1]) for found, expected in mismatched.values()}
    return len(rows) == 1 and all(f[1:] == e[1:] for f, e in mismatched.values())
