"""Networks of one rate each for programs that have neither this project nor PyTorch."""

from slowfast.inference.export.compare import TOLERANCE, Row, table
from slowfast.inference.export.export import (
    BUNDLE,
    FORMATS,
    Plan,
    choose_rates,
    export,
    planned_files,
)
from slowfast.inference.export.graph import to_onnx, to_program
from slowfast.inference.export.quantize import quantize
from slowfast.inference.export.session import Session

__all__ = [
    "BUNDLE",
    "FORMATS",
    "TOLERANCE",
    "Plan",
    "Row",
    "Session",
    "choose_rates",
    "export",
    "planned_files",
    "quantize",
    "table",
    "to_onnx",
    "to_program",
]
