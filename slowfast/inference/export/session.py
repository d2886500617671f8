"""ONNX files as functions of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slowfast.inference.export.optional import need


class Session:
    """The network in an ONNX file, computed by ONNX Runtime on the CPU with so many `threads`.

    Called with clips `(B, 3, T, S, S)` float32 it returns their logits.  `optimized` is where to
    write the graph that runs, if anywhere.
    """

    def __init__(self, path: Path | bytes, threads: int = 1, optimized: Path | None = None) -> None:
        need("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; a graph as it should be has warnings
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        model = path if isinstance(path, bytes) else str(path)
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: clips})[0]
