"""Writing beside the training: one thread, and copies that the training leaves alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from torch import Tensor

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    name: str
    future: Future
    replaceable: bool


class BackgroundWriter:
    """Runs one job after the other in a thread of its own; while one runs, one more may wait.

    The error of a job comes up at the next call.  All calls come from one thread.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._jobs: list[_Job] = []  # running, then waiting

    def make_room(self, replaceable: bool) -> None:
        """Let there be room for a job; call it before a copy is made for that job.

        A replaceable one takes the place of one that waits and is replaceable too, which is left
        out; any other waits for the running one to end.
        """
        self._collect()
        if len(self._jobs) < 2:
            return
        running, waiting = self._jobs
        if replaceable and waiting.replaceable and waiting.future.cancel():
            logger.warning(
                "%s is left out, since %s is still being written: the disk is too slow for "
                "TRAIN.CHECKPOINT_STEPS and TRAIN.CHECKPOINT_PERIOD",
                *(waiting.name, running.name),
            )
        else:
            running.future.exception()  # waits; `_collect` raises it
        self._collect()

    def submit(self, name: str, job: Callable[[], None], replaceable: bool) -> None:
        """Run `job`, which writes `name`, as soon as those before it are done."""
        self._jobs.append(_Job(name, self._pool.submit(job), replaceable))

    def wait(self) -> None:
        """Until every job is done.  Raises the first error among them."""
        for job in self._jobs:
            job.future.exception()
        self._collect()

    def close(self) -> None:
        """As `wait`; no job can be submitted afterwards."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _collect(self) -> None:
        """Forget the jobs that are done; raise the first error among them."""
        done = [job.future for job in self._jobs if job.future.done()]
        self._jobs = [job for job in self._jobs if job.future not in done]
        errors = [future.exception() for future in done if not future.cancelled()]
        for error in filter(None, errors):
            raise error


def on_cpu(state: Any) -> Any:
    """A copy of `state` that shares no memory with it, all of its tensors on the CPU."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        copied = copy.copy(state)  # with the attribute `_metadata` of a state dict
        copied.update({key: on_cpu(value) for key, value in state.items()})
        return copied
    if isinstance(state, list | tuple):
        return (list if isinstance(state, list) else tuple)(map(on_cpu, state))
    return copy.deepcopy(state)
