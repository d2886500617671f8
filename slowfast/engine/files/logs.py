"""What a run writes down: stdout.log, metrics.jsonl and TensorBoard scalars."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fvcore.common.config import CfgNode

from slowfast.engine.processes.world import World
from slowfast.weights.replacing import replacing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

FORMAT = "[%(asctime)s][%(levelname)s] %(name)s: %(message)s"


def setup_logging(folder: Path, rank: int = 0) -> None:
    """Send the project's log to the console and, with dates, to `folder`/stdout.log.

    Processes after the first show their warnings alone, on the console, with their rank.
    """
    root = logging.getLogger("slowfast")
    root.setLevel(logging.WARNING if rank else logging.INFO)
    for handler in root.handlers[:]:  # a second run in this process logs to its own folder
        root.removeHandler(handler)
        handler.close()
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter(f"[rank {rank}] %(message)s" if rank else "%(message)s"))
    root.addHandler(console)
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(folder / "stdout.log")
        file.setFormatter(logging.Formatter(FORMAT, datefmt="%m/%d %H:%M:%S"))
        root.addHandler(file)


class Metrics:
    """Records of a run: a line each in `metrics.jsonl`, and TensorBoard scalars where enabled.

    One process of a run writes; the others have no folder, and nothing happens.  Use as a context
    manager, or call `close`.
    """

    def __init__(self, folder: Path | None, tensorboard: bool = False) -> None:
        self._file: TextIO | None = None
        self._board: SummaryWriter | None = None
        self._tensorboard = tensorboard
        self._purge_step: int | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / "metrics.jsonl"
            self._open()

    @classmethod
    def from_cfg(cls, cfg: CfgNode, world: World = World()) -> Metrics:
        return cls(Path(cfg.OUTPUT_DIR) if world.is_main else None, cfg.TENSORBOARD.ENABLE)

    def _open(self) -> None:
        self._file = open(self._path, "a", buffering=1)  # noqa: SIM115

    def write(self, kind: str, step: int, **values: float | int | str) -> None:
        """Write a record of `kind` (train_iter, train_epoch, val_epoch) after `step` steps."""
        if self._file is None:
            return
        record = {"_type": kind, "step": step, **values}
        self._file.write(json.dumps(record) + "\n")
        if self._tensorboard:
            group = kind.split("_")[0].capitalize()
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._scalars().add_scalar(f"{group}/{name}", value, step)

    def _scalars(self) -> SummaryWriter:
        """TensorBoard's writer, whose file begins with the first record."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(self._path.parent / "tensorboard")
            self._board = SummaryWriter(folder, purge_step=self._purge_step)
        return self._board

    def rewind(self, step: int, epochs: int | None = None, is_open: bool = False) -> None:
        """Forget what was recorded beyond a checkpoint that the run now goes on from.

        That is records after more than `step` steps; those of later epochs than the `epochs` that
        were done, for a checkpoint right at the end of one; with `is_open` the validation of the
        last of these, which is still to come; and a line that a killed process has half written.
        The file is replaced as a whole.  Call it before any `write`.
        """
        if self._file is None:
            return
        lines = self._path.read_text(errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_until(line, step, epochs, is_open)]
        self._purge_step = step + 1  # TensorBoard hides what older files have from here on
        if kept == lines:
            return
        logger.info("%d records after step %d dropped", len(lines) - len(kept), step)
        self._file.close()
        text = "".join(kept)
        with replacing(self._path, size=len(text)) as temporary:
            temporary.write_text(text)
        self._open()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_until(line: str, step: int, epochs: int | None, is_open: bool) -> bool:
    """Whether the record in `line` is whole and of what was done by then."""
    try:
        record = json.loads(line)
        kind, done, epoch = record["_type"], record["step"], record.get("epoch", 0)
        if is_open and kind == "val_epoch" and epoch == epochs:
            return False
        return line.endswith("\n") and done <= step and (epochs is None or epoch <= epochs)
    except (ValueError, KeyError, TypeError):
        return False
