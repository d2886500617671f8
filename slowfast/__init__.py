"""Training and testing of video networks, frame-flexible ones among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from slowfast.inference import Recognizer


def load(
    path: str | os.PathLike, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Recognizer:
    """The network in a file of this project, ready to `predict` on `device` in `precision`.

    It needs the file alone: network, classes and configuration are inside.  `precision` is fp32,
    bf16 or fp16.  `slowfast.weights.load` returns the bare network.  Raises ValueError for any
    other file, saying how to convert it.
    """
    from slowfast.inference.loading import load as load_file  # `import slowfast` stays light

    return load_file(path, device, precision)
