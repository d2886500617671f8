"""Networks in 8 bits: weights per output channel, activations by what calibration clips show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from slowfast.inference.export.graph import INPUT, quiet
from slowfast.inference.export.optional import need

# Products, and what stands between them: a map that went back to 32 bits there would cost more
# than the products save.  Norms, softmax and activations other than ReLU stay in 32 bits.
KINDS = (
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "Concat", "MaxPool"),
    *("Pad", "Gather", "Reshape", "Transpose", "Slice", "Split", "Squeeze"),
)


def quantize(source: Path, target: Path, clips: Iterable[np.ndarray]) -> None:
    """Writes the ONNX file `source` with 8-bit arithmetic to `target` (QDQ nodes).

    `clips` `(1, 3, T, S, S)` set the range of every activation, from the least to the greatest
    value seen.  Raises ValueError for no clips at all and where a package is missing.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    reader = _Reader(clips)
    with quiet():
        quantize_static(
            str(source),
            str(target),
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_products_of_values(source),
        )


def _products_of_values(path: Path) -> list[str]:
    """The names of the products in which no factor is a weight."""
    import onnx

    graph = onnx.load(str(path)).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type == "MatMul")
    return [node.name for node in products if weights.isdisjoint(node.input)]


class _Reader:
    """What the quantiser of ONNX Runtime asks for one clip after another."""

    def __init__(self, clips: Iterable[np.ndarray]) -> None:
        self._clips: Iterator[np.ndarray] = iter(clips)
        self._first = next(self._clips, None)
        if self._first is None:
            raise ValueError("8 bits need clips to calibrate with; give a list or a folder of some")

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip, self._first = self._first, None
        clip = next(self._clips, None) if clip is None else clip
        return None if clip is None else {INPUT: clip}
