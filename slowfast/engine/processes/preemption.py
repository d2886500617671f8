"""A run that is told to leave its machine: it saves and asks to be started again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from slowfast.engine.processes.world import World

logger = logging.getLogger(__name__)

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start the same command again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """Ends the process with exit code REQUEUE; `checkpoint` is where the next one goes on."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(REQUEUE)
        self.checkpoint = checkpoint

    def __str__(self) -> str:
        return f"preempted; the same command goes on from {self.checkpoint}"


class Preemption:
    """Inside it SIGTERM and SIGUSR1 end nothing: they set `requested`, and `signal` to the first.

    SIGTERM is what SLURM, Kubernetes and cloud machines send before they take a machine away,
    SIGUSR1 what users ask SLURM for some minutes before the time limit.  Python hands signals to
    the main thread alone: in another one nothing is installed, which the log says.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this process was told to leave; ask `world.any`, as others may have been."""
        return self.signal is not None

    def leave(self, world: World, checkpoint: Path) -> NoReturn:
        """Have the job requeued and raise Preempted, in every process of `world`.

        Call it when `checkpoint` is on the disk, in the main process that is.
        """
        names = sorted({name for name in world.gather(self.signal) if name})
        world.barrier()  # requeueing ends all processes, saved or not
        if world.is_main:
            told = ", ".join(names)
            logger.info("told to leave (%s); the same command goes on from %s", told, checkpoint)
            requeue()
        raise Preempted(checkpoint)

    def between_batches(
        self, loader: Sized, world: World, leave: Callable[[], NoReturn]
    ) -> Callable[[], None]:
        """What to call after each batch of `loader`: it calls `leave` where a process was told to.

        Every process of `world` calls this, and has batches of its own.
        """
        common = min(world.gather(len(loader)))  # a process may have one batch less
        number = count(1)

        def ask() -> None:
            if next(number) <= common and world.any(self.requested):
                leave()

        return ask

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        else:
            logger.info("not in the main thread: SIGTERM and SIGUSR1 will not save a checkpoint")
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        # No log line: the signal may have come while one was being written.
        self.signal = self.signal or signal.Signals(number).name


def requeue() -> bool:
    """Put the running SLURM job back into its queue; whether that was possible.

    False, with a log line, outside of SLURM, for a job that its user cancels and where SLURM
    refuses.  Exit code REQUEUE then tells whoever started the process (torchrun, a shell loop,
    RequeueExit of slurm.conf) to start it again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return False
    try:
        shown = _scontrol("show", "job", "--oneliner", job)
        # SLURM calls a job that it is ending COMPLETING, whoever wished it.
        if "JobState=RUNNING " not in shown and "Reason=TimeLimit " not in shown:
            logger.info("SLURM job %s was cancelled: it is not requeued", job)
            return False
        _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning(
            "SLURM job %s could not be requeued (%s); submit it again, with sbatch --requeue, and "
            "it goes on from its checkpoint",
            job,
            str(reason).strip(),
        )
        return False
    logger.info("SLURM job %s is requeued", job)
    return True


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@contextmanager
def passing_on(processes: Iterable[int]) -> Iterator[None]:
    """Inside it SIGTERM and SIGUSR1 go to `processes`, by id, and not to this one.

    For a parent that waits for the processes which train.  Those that have ended are passed over.
    """
    ids = list(processes)

    def pass_on(number: int, _: FrameType | None) -> None:
        for process in ids:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
