"""Checkpoints that are either whole or not there, the newest few and the best."""

import logging
import re
from pathlib import Path
from typing import Any

import torch

from slowfast.weights.replacing import replacing

logger = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint_epoch_(\d{5})\.pyth")


def write_atomically(state: dict[str, Any], path: Path) -> None:
    """Save `state` so that `path` never holds half a file."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def read(path: Path) -> dict[str, Any]:
    """The state in `path`.  Raises ValueError, naming the file, if it is damaged or not ours."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"no checkpoint {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise ValueError(f"checkpoint {path} cannot be read ({error}); delete it") from error
    if not isinstance(state, dict) or "model_state" not in state:
        raise ValueError(f"checkpoint {path} holds no model_state; it is not one of this project")
    return state


class Checkpoints:
    """`checkpoint_epoch_00001.pyth` … (the newest `keep`) and `best.pyth` in a folder."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"TRAIN.KEEP_CHECKPOINTS={keep} must be 1 or more")
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """All epoch checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("*.pyth") if _NAME.fullmatch(p.name))

    def save(self, epoch: int, state: dict[str, Any]) -> Path:
        """Write the checkpoint after `epoch` epochs, then remove those that are too old."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"checkpoint_epoch_{epoch:05d}.pyth"
        write_atomically(state, path)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def save_best(self, state: dict[str, Any]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(state, self.folder / "best.pyth")
        return self.folder / "best.pyth"

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest readable checkpoint and its state; damaged ones are named and passed over."""
        for path in reversed(self.paths()):
            try:
                return path, read(path)
            except ValueError as error:
                logger.warning("%s", error)
        return None
