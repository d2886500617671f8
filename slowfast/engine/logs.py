"""What a run writes down: stdout.log, metrics.jsonl and TensorBoard scalars."""

import json
import logging
import sys
from pathlib import Path

from fvcore.common.config import CfgNode

FORMAT = "[%(asctime)s][%(levelname)s] %(name)s: %(message)s"


def setup_logging(folder: Path) -> None:
    """Send the project's log to the console and, with dates, to `folder`/stdout.log."""
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger("slowfast")
    root.setLevel(logging.INFO)
    for handler in root.handlers[:]:  # a second run in this process logs to its own folder
        root.removeHandler(handler)
        handler.close()
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(folder / "stdout.log")
    file.setFormatter(logging.Formatter(FORMAT, datefmt="%m/%d %H:%M:%S"))
    root.addHandler(console)
    root.addHandler(file)


class Metrics:
    """Records of a run: a line each in `metrics.jsonl`, and TensorBoard scalars where enabled.

    Epoch records are also logged.  Use as a context manager, or call `close`.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "metrics.jsonl", "a", buffering=1)  # noqa: SIM115
        self._board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Metrics":
        return cls(Path(cfg.OUTPUT_DIR), cfg.TENSORBOARD.ENABLE)

    def write(self, kind: str, step: int, **values: float | int | str) -> None:
        """Write a record of `kind` (train_iter, train_epoch, val_epoch) at global step `step`."""
        record = {"_type": kind, "step": step, **values}
        self._file.write(json.dumps(record) + "\n")
        if self._board is not None:
            group = kind.split("_")[0].capitalize()
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
