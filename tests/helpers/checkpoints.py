"""States small enough to look at, and what of them is in a folder."""

from pathlib import Path
from typing import Any

import torch

from slowfast.engine.files.checkpoint import Checkpoints, read


def state(epoch: float) -> dict[str, Any]:
    return {"epoch": epoch, "model_state": {"weight": torch.full((2,), float(epoch))}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def epochs(checkpoints: Checkpoints) -> list[float]:
    return [read(path)["epoch"] for path in checkpoints.paths()]
