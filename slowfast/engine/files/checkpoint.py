"""Checkpoints that are either whole or not there, the newest few and the best."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slowfast.engine.files.writer import BackgroundWriter, on_cpu
from slowfast.weights.own import write_packed
from slowfast.weights.replacing import SUFFIX, DiskFull
from slowfast.weights.torch_file import has_checksum, write_torch

logger = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint_epoch_(\d{5,})(?:_step_(\d{6,}))?\.pyth")
_LEFTOVER = re.compile(rf"(checkpoint_epoch_.*\.pyth|best\.(pyth|safetensors)){re.escape(SUFFIX)}")
_ASIDE = ".aside"
_BEST, _PERIODIC = "best", "periodic"

State = dict[str, Any]


def read(path: Path) -> State:
    """The state in `path`.  Raises ValueError, naming the file, if it is damaged or not ours."""
    try:
        if not has_checksum(path):
            logger.info("%s has no checksum: an older file, taken as it is", path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"no checkpoint {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = str(error).partition(". ")[0]  # torch goes on with guesses
        raise ValueError(f"checkpoint {path} cannot be read ({reason}); delete it") from error
    if not isinstance(state, dict) or "model_state" not in state:
        raise ValueError(f"checkpoint {path} holds no model_state; it is not one of this project")
    return state


class Checkpoints:
    """The newest `keep` checkpoints of a run and the best, in a folder that one process writes to.

        checkpoint_epoch_00002.pyth                after 2 epochs
        checkpoint_epoch_00002_step_000040.pyth    40 steps later
        best.pyth, best.safetensors

    In the `background`, saving returns as soon as there is a copy of the state in main memory; a
    thread does all else, and an error comes up at the next call.  There are three copies at most:
    one that is written, and a checkpoint and a best that wait.  Use as a context manager, or call
    `close`.
    """

    def __init__(self, folder: Path, keep: int = 3, background: bool = False) -> None:
        if keep < 1:
            raise ValueError(f"TRAIN.KEEP_CHECKPOINTS={keep} must be 1 or more")
        self.folder, self.keep = folder, keep
        # The best goes first: no checkpoint that knows of a best is on the disk without it.
        self._writer = BackgroundWriter((_BEST, _PERIODIC)) if background else None
        self._damaged: list[Path] = []
        self._ready = False

    def paths(self) -> list[Path]:
        """All checkpoints but the best, oldest first."""
        found = (path for path in self.folder.glob("*.pyth") if _NAME.fullmatch(path.name))
        return sorted(found, key=progress)

    def save(self, epoch: int, state: State, step: int = 0) -> Path:
        """Write the checkpoint `step` steps after `epoch` epochs, then remove those too old.

        In the background, one that still waits for its turn gives way to the next.  Raises
        DiskFull, with all older ones as they were, and other kinds of OSError.
        """
        name = f"checkpoint_epoch_{epoch:05d}" + (f"_step_{step:06d}" if step else "")
        path = self.folder / f"{name}.pyth"
        self._write(_PERIODIC, path, state, lambda _: self._tidy(path))
        return path

    def save_best(self, state: State, pack: Callable[[State], bytes] | None = None) -> Path:
        """Write best.pyth and, as best.safetensors, the bytes that `pack` makes of the state.

        In the background, one that still waits for its turn gives way: it is the best no more.
        """
        path = self.folder / "best.pyth"

        def write_network(state: State) -> None:
            write_packed(pack(state), path.with_suffix(".safetensors"))

        self._write(_BEST, path, state, write_network if pack else None)
        return path

    def newest(self) -> tuple[Path, State] | None:
        """The newest readable checkpoint and its state; damaged ones are named and passed over."""
        self.wait()
        paths = self.paths()
        for path in reversed(paths):
            try:
                return path, read(path)
            except ValueError as error:
                logger.warning("%s; it is passed over", error)
                self._damaged.append(path)
        if paths:
            logger.warning("none of %d checkpoints in %s can be read", len(paths), self.folder)
        return None

    def wait(self) -> None:
        """Until everything is written.  Raises the error of a write in the background."""
        if self._writer is not None:
            self._writer.wait()

    def close(self) -> None:
        """As `wait`, and end the thread."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.close()
        except Exception:
            if kind is None:
                raise
            # The error that ended the run is the one to show.
            logger.exception("a checkpoint could not be written")

    def _write(
        self, kind: str, path: Path, state: State, then: Callable[[State], None] | None
    ) -> None:
        if self._writer is None:
            self._write_now(path, state, then)
            return
        left_out = self._writer.make_room(kind)
        if left_out and kind == _PERIODIC:
            logger.warning(
                "%s is left out, since a newer one came before its turn: the disk is too slow for "
                "TRAIN.CHECKPOINT_STEPS and TRAIN.CHECKPOINT_PERIOD",
                left_out,
            )
        job = partial(self._write_now, path, on_cpu(state), then)
        self._writer.submit(kind, path.name, job)

    def _write_now(self, path: Path, state: State, then: Callable[[State], None] | None) -> None:
        self._prepare()
        try:
            write_torch(state, path)
            if then is not None:
                then(state)
        except DiskFull as error:
            raise DiskFull(
                f"{error}, keep fewer than TRAIN.KEEP_CHECKPOINTS={self.keep} or choose another "
                "OUTPUT_DIR"
            ) from error

    def _prepare(self) -> None:
        """Once before the first write: the folder, without what a killed process has half written.

        A process that only reads must not do this, since the run may still be writing.
        """
        if self._ready:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()
        self._ready = True

    def _tidy(self, saved: Path) -> None:
        """Remove the oldest checkpoints, and put out of the way those that mislead a later resume.

        Those are damaged ones and, after a start from an earlier point, those beyond `saved`: both
        would count among the newest.
        """
        beyond = {path for path in self.paths() if progress(path) > progress(saved)}
        for path in beyond.union(self._damaged) - {saved}:
            if path.exists():
                aside = path.rename(path.with_name(path.name + _ASIDE))
                logger.warning("renamed to %s, which this run does not go on from", aside)
        self._damaged.clear()
        for old in self.paths()[: -self.keep]:
            old.unlink()


def progress(path: Path) -> tuple[int, int]:
    """Epochs done and steps of the next one."""
    epoch, step = _NAME.fullmatch(path.name).groups(default="0")
    return int(epoch), int(step)
