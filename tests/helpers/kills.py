"""Processes that are killed at a chosen moment, the hard way: nothing of theirs can clean up.

Each is forked from a server that has imported torch and nothing else has happened in, so that it
starts fast and holds no threads or locks of the test's own process.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from slowfast.engine.files.logs import Metrics
from slowfast.weights import torch_file

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "slowfast.engine.run"])

# What is told and can be the moment: all that a save does to the disk, and a record of training.
CALLS = (
    (torch_file._Summed, "write"),
    *((os, name) for name in ("fsync", "replace", "rename", "unlink")),
    (Metrics, "write"),
)
RECORD = "record"
PATIENCE = 300  # seconds between two calls


class Call(NamedTuple):
    name: str
    step: int = 0  # of a record


class Life:
    """A process that runs `function(*args)`; a context manager that kills it at the end.

    `calls` yields the calls that it is about to make.  With `until`, (name, n), it kills itself
    right before the n-th call of that name, counted from 0.
    """

    def __init__(
        self, function: Callable, *args: object, until: tuple[str, int] | None = None
    ) -> None:
        self._calls, calls = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_live, args=(calls, until, function, args))
        self._process.start()
        calls.close()

    def calls(self) -> Iterator[Call]:
        """The calls until the process ends.  Raises AssertionError if it hangs."""
        try:
            while True:
                assert self._calls.poll(PATIENCE), "the process hangs"
                yield self._calls.recv()
        except EOFError:
            self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @property
    def exit_code(self) -> int:
        for _ in self.calls():  # else the process would wait for someone to hear of them
            pass
        return self._process.exitcode

    @property
    def was_killed(self) -> bool:
        """Whether it was, and did not come to its end before.  Any other end is an error."""
        assert self.exit_code in (0, -signal.SIGKILL), f"exit code {self.exit_code}"
        return self.exit_code != 0

    def __enter__(self) -> "Life":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _live(calls: Connection, until: tuple[str, int] | None, function: Callable, args: tuple):
    counts: dict[str, int] = {}

    def before(call: Call) -> None:
        if until == (call.name, counts.get(call.name, 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        counts[call.name] = counts.get(call.name, 0) + 1
        calls.send(call)

    for owner, name in CALLS:
        setattr(owner, name, _announced(owner, name, before))
    function(*args)


def _announced(owner: object, name: str, before: Callable[[Call], None]) -> Callable:
    original = getattr(owner, name)

    def announced(*args: object, **options: object) -> object:
        before(Call(RECORD, args[2]) if owner is Metrics else Call(name))
        return original(*args, **options)

    return announced
