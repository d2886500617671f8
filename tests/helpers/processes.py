"""Real processes for tests: some function on every rank of a small world, over gloo."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Children are forks of a server that has imported all this once: they start in no time, and,
# unlike forks of the test's own process, can run backward passes although the test did.
_PRELOAD = ["pytest", "torch", "torch.distributed", "slowfast.engine.train", "slowfast.engine.run"]


def run_processes(
    function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 120.0
) -> list[Any]:
    """What `function(world, *args)` returns in each of `world_size` processes, in rank order.

    `function` belongs to a module, not inside another one; arguments and results go through pickle.
    Each process has one thread and starts from seed 0.  Raises RuntimeError with the traceback of
    every rank that raised, and the ranks that died or have not answered after `timeout` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    job = pickle.dumps((function, args))
    with tempfile.TemporaryDirectory() as folder:
        started: dict[Connection, BaseProcess] = {}
        for rank in range(world_size):
            receiver, sender = context.Pipe(duplex=False)
            where = (Path(folder) / "rendezvous", rank, world_size, timeout)
            process = context.Process(target=_answer, args=(sender, job, *where), daemon=True)
            process.start()
            sender.close()
            started[receiver] = process
        try:
            answers = _collect(list(started), timeout)
        finally:
            for connection, process in started.items():
                process.kill()
                process.join()
                connection.close()
    if problems := [f"rank {rank} {text}" for rank, (ok, text) in enumerate(answers) if not ok]:
        raise RuntimeError("\n".join(problems))
    return [pickle.loads(data) for _, data in answers]


def _collect(connections: list[Connection], timeout: float) -> list[tuple[bool, Any]]:
    """(whether it returned, its pickled result or what went wrong) of each process.

    After the first failure the others, who may wait for it, have two more seconds.
    """
    answers: dict[Connection, tuple[bool, Any]] = {}
    deadline = time.monotonic() + timeout
    while waiting := [c for c in connections if c not in answers]:
        ready = wait(waiting, max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for connection in ready:
            try:
                answers[connection] = connection.recv()
            except EOFError:
                answers[connection] = (False, "died without an answer")
            if not answers[connection][0]:
                deadline = min(deadline, time.monotonic() + 2)
    return [
        answers.get(c, (False, "had not answered when the others were done")) for c in connections
    ]


def _answer(
    sender: Connection, job: bytes, rendezvous: Path, rank: int, size: int, timeout: float
) -> None:
    """Join the others, run the job and send its result."""
    import torch
    import torch.distributed as dist

    from slowfast.engine.processes.world import World

    multiprocessing.set_start_method(None, force=True)  # of loader workers: the usual one again
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        function, args = pickle.loads(job)
        dist.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=timeout),
        )
        answer = (True, pickle.dumps(function(World(rank, size), *args)))
    except BaseException:
        answer = (False, f"raised\n{traceback.format_exc()}")
    sender.send(answer)
    sender.close()
