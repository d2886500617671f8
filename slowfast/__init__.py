"""Training and testing of video networks, frame-flexible ones among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def load(path: str | os.PathLike) -> nn.Module:
    """The network in a file of this project (`weights.save`), in evaluation mode.

    Plain or frame-flexible, it needs the file alone: the configuration is inside.  Raises
    ValueError for any other file, saying how to convert it.
    """
    from slowfast.weights import load as load_file  # `import slowfast` stays light

    return load_file(path)
