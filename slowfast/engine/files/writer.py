"""Writing beside the training: one thread, and copies that the training leaves alone."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from torch import Tensor

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    name: str
    run: Callable[[], None]


class BackgroundWriter:
    """Runs one job after the other in a thread of its own, and never lets its caller wait.

    While one runs, one of each of `kinds` may wait, that of the first kind goes first; a newer one
    takes its place.  The error of a job comes up at the next call; until then no other job runs, as
    it may build on the one that failed.  All calls come from one thread.
    """

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._lock = threading.Lock()
        self._kinds = kinds
        self._waiting: dict[str, _Job] = {}
        self._turns: list[Future] = []
        self._failed = False

    def make_room(self, kind: str) -> str | None:
        """Drop the job of this kind that waits and return its name, or None if there is none.

        Call it before a copy is made for the next: so there are no more copies than kinds and one.
        """
        self._collect()
        with self._lock:
            dropped = self._waiting.pop(kind, None)
        return dropped and dropped.name

    def submit(self, kind: str, name: str, run: Callable[[], None]) -> None:
        """Have `run` write `name` when it is its turn."""
        with self._lock:
            self._waiting[kind] = _Job(name, run)
        # Not the job itself, which the pool would keep alive though it is left out.
        self._turns.append(self._pool.submit(self._take_turn))

    def wait(self) -> None:
        """Until every job is done.  Raises the first error among them."""
        for turn in self._turns:
            turn.exception()
        self._collect()

    def close(self) -> None:
        """As `wait`; no job can be submitted afterwards."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _take_turn(self) -> None:
        """Run the job that is next; there is none where one was left out."""
        with self._lock:
            kind = next((kind for kind in self._kinds if kind in self._waiting), None)
            if kind is None or self._failed:
                return
            job = self._waiting.pop(kind)
        try:
            job.run()
        except BaseException:
            self._failed = True
            raise

    def _collect(self) -> None:
        """Forget the turns that are over; raise the first error among them."""
        done = [turn for turn in self._turns if turn.done()]
        self._turns = [turn for turn in self._turns if turn not in done]
        for error in filter(None, (turn.exception() for turn in done)):
            with self._lock:
                self._waiting.clear()
                self._failed = False
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
