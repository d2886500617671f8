"""A network of one rate as a `torch.export` program and as an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from slowfast.inference.export.exportable import Exportable, example, traceable
from slowfast.inference.export.layout import over_frames
from slowfast.inference.export.optional import need

if TYPE_CHECKING:
    import onnx

OPSET = 20  # the first with GELU; ONNX Runtime 1.17 and later read it
INPUT, OUTPUTS = "clip", ("logits", "scores")


def to_program(
    net: nn.Module, shape: Sequence[int], size: int = 0, activation: str = "softmax"
) -> torch.export.ExportedProgram:
    """`net`, plain and of one rate, as a program for any number of clips of `shape` (3, T, S, S).

    It returns logits and scores, see `Exportable`.  With `size`, clips are resized to it first.
    Raises ValueError, naming the network, if it cannot be traced.
    """
    module = Exportable(net, size or shape[-1], activation)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    with traceable(), quiet():
        try:
            return torch.export.export(module, (example(shape),), dynamic_shapes=dynamic)
        except Exception as error:  # torch has many kinds for code that it cannot trace
            raise ValueError(
                f"{type(net).__name__} cannot be exported: {_first_sentence(error)}"
            ) from error


def to_onnx(program: torch.export.ExportedProgram, path: Path, frames: bool = True) -> None:
    """Writes `program` as ONNX: input `clip` (batch, 3, T, S, S), outputs `logits` and `scores`.

    With `frames`, clips are kept as frames and 3D convolutions written as 2D ones, which ONNX
    Runtime computes several times faster on a CPU.  Raises ValueError where a package is missing
    or an operator has no ONNX form.
    """
    need("onnx", "onnxscript")
    with torch.no_grad(), quiet():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                optimize=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
            )
        except Exception as error:  # the exporter has several kinds, none of them public
            raise ValueError(f"the network has no ONNX form: {_first_sentence(error)}") from error
    model = exported.model_proto
    save(over_frames(model) if frames else model, path)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes an ONNX model as one checked file."""
    import onnx

    model.producer_name, model.producer_version = "slowfast", ""
    del model.metadata_props[:]
    for node in model.graph.node:  # where in the source each came from
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the exporter's own progress and warnings are not shown; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_sentence(error: BaseException) -> str:
    """What the exporter says is the matter; its messages are pages long."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
