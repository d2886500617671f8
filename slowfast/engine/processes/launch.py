"""Starting the processes of a run, and ending them together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import groupby
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch
from fvcore.common.config import CfgNode
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from slowfast.config import Shards
from slowfast.engine.processes.environment import Place, cores, place_of_environment, place_of_shard
from slowfast.engine.processes.preemption import REQUEUE, passing_on
from slowfast.engine.processes.rendezvous import (
    Meeting,
    host_store,
    is_lost,
    joined,
    loopback_only,
    lost_text,
    meet,
)
from slowfast.engine.processes.world import World

Function = Callable[[CfgNode, World], Any]

_GRACE = 10.0  # seconds that the others have to end by themselves after one failed
_INTERRUPTED = 130  # exit code of a command that Ctrl-C ended
_USERS_ERRORS = (ValueError, FloatingPointError, OSError, MemoryError)


class Problem(NamedTuple):
    """Why a process failed; not `own` if only because it lost another one."""

    rank: int
    text: str
    own: bool = True
    said: bool = False  # another process has the same one
    code: int = 1  # to exit with

    def of(self, size: int) -> str:
        """What to show of it in a world of `size`."""
        return self.text if size == 1 else f"rank {self.rank} of {size}: {self.text}"


def launch(function: Function, cfgs: Sequence[CfgNode], shards: Shards = Shards()) -> None:
    """Call `function(cfg, world)` for each of `cfgs`, in every process of its world.

    The processes are those of torchrun or srun, if one of them started this one; else NUM_GPUS new
    ones, or this one alone.  What a user can mend ends in one sentence and exit code 1, a bug in
    its traceback; a process that fails ends all.  Told to leave, all exit with code REQUEUE.
    """
    place = place_of_environment()
    if place is not None:
        if shards.count > 1:
            sys.exit(f"error: {place.origin} started this process; leave --num_shards away")
        _exit_with(_run(function, cfgs, place), place.size)
        return
    try:
        for count, group in groupby(cfgs, key=processes_wanted):
            if count > 1:
                _start(function, list(group), count, shards)
                continue
            alone = Place(0, 1, 0, "", "")
            place = place_of_shard(shards, 0, 1) if shards.count > 1 else alone
            _exit_with(_run(function, list(group), place), place.size)
    except ValueError as error:
        sys.exit(f"error: {error}")


def processes_wanted(cfg: CfgNode) -> int:
    """How many NUM_GPUS asks for: one per GPU; without any, at most one per CPU core.

    Raises ValueError if it asks for more GPUs than there are.
    """
    if cfg.NUM_GPUS <= 1:
        return 1
    if not torch.cuda.is_available():
        return min(cfg.NUM_GPUS, cores())
    if cfg.NUM_GPUS > torch.cuda.device_count():
        raise ValueError(
            f"NUM_GPUS = {cfg.NUM_GPUS}, but {torch.cuda.device_count()} are visible; lower it, or "
            "look at CUDA_VISIBLE_DEVICES"
        )
    return cfg.NUM_GPUS


def _run(function: Function, cfgs: Sequence[CfgNode], place: Place) -> Problem | None:
    """The runs of this process, one after the other; what ended them, if anything did."""
    meeting: Meeting | None = None
    minutes = cfgs[0].DIST.TIMEOUT
    try:
        if place.size > 1:
            meeting = meet(place, timedelta(minutes=minutes))
        for number, cfg in enumerate(cfgs):
            minutes = cfg.DIST.TIMEOUT
            with joined(place, cfg, number, meeting) as world:
                function(cfg, world)
        return None
    except KeyboardInterrupt:
        return Problem(place.rank, "interrupted", own=False, code=_INTERRUPTED)
    except Exception as error:
        users = isinstance(error, _USERS_ERRORS)
        if meeting is None and not users:
            raise
        if meeting is not None and is_lost(error):
            return Problem(place.rank, f"error: {lost_text(error, meeting, minutes)}", own=False)
        short = "".join(traceback.format_exception_only(error)).strip()
        text = f"error: {error}" if users else traceback.format_exc()
        said = meeting is not None and not meeting.report(text, short)
        if "TORCHELASTIC_ERROR_FILE" in os.environ:
            get_error_handler().record_exception(error)  # for torchrun's summary
        return Problem(place.rank, text, said=said)


def _exit_with(problem: Problem | None, size: int) -> None:
    """Leave with the problem on stderr, unless another process has said so, if there is one."""
    if problem is None:
        return
    if size == 1:
        sys.exit(problem.text if problem.code == 1 else problem.code)
    if not problem.said:
        print(problem.of(size), file=sys.stderr)
    _leave(problem.code)


def _leave(code: int) -> None:
    """End this process at once: an orderly end would wait for the processes it has lost."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# ------------------------------------------------------------------- processes of this machine


class _Child(NamedTuple):
    rank: int
    process: BaseProcess
    answer: Connection


def _start(function: Function, cfgs: list[CfgNode], count: int, shards: Shards) -> None:
    """Run in `count` new processes; leave if one of them did not end well."""
    environment = dict(os.environ)
    if shards.count == 1:
        store, url = host_store()  # ends with this function
        places = [Place(r, count, r, url, f"NUM_GPUS {count}", hosted=True) for r in range(count)]
        environment = loopback_only() | environment
    else:
        places = [place_of_shard(shards, local, count) for local in range(count)]
    children = [_new_child(place, function, cfgs, count, environment) for place in places]
    codes: dict[int, int] = {}
    interrupted = False
    try:
        with passing_on([child.process.pid for child in children]):
            _watch(children, codes)
    except KeyboardInterrupt:
        interrupted = True
        _interrupt(children)
    finally:
        for child in children:
            child.process.kill()
            child.process.join()
    if interrupted:
        sys.exit(_INTERRUPTED)
    _conclude(children, codes, places[0].size)


def _new_child(place: Place, *arguments: Any) -> _Child:
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["__main__", "slowfast.engine.run"])  # imported once for all
    receiver, sender = context.Pipe(duplex=False)
    # Not a daemon: those may not have workers that load data.
    process = context.Process(target=_child, args=(sender, place, *arguments), daemon=False)
    process.start()
    sender.close()
    return _Child(place.rank, process, receiver)


def _child(
    answer: Connection,
    place: Place,
    function: Function,
    cfgs: list[CfgNode],
    count: int,
    environment: dict[str, str],
) -> None:
    """The main function of a new process: it sends its problem, if it has one."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.set_start_method(None, force=True)  # of loader workers: the usual one again
    os.environ.update(environment)
    if "OMP_NUM_THREADS" not in environment:
        torch.set_num_threads(max(1, cores() // count))  # NUM_THREADS, where set, comes later
    code: Any = 0
    try:
        if problem := _run(function, cfgs, place):
            answer.send(problem)
            code = problem.code
    except SystemExit as exit_:
        code = exit_.code
    # multiprocessing's own end would wait for loader workers that do not heed its signal.
    _leave(code)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _interrupt(children: Sequence[_Child]) -> None:
    """Let them end as Ctrl-C has it: the terminal has told them, too, but `kill -INT` has not."""
    for told in (False, True):
        until = time.monotonic() + 2
        while any(child.process.is_alive() for child in children) and time.monotonic() < until:
            time.sleep(0.05)
        for child in children if not told else ():
            if child.process.is_alive():
                os.kill(child.process.pid, signal.SIGINT)


def _watch(children: Sequence[_Child], codes: dict[int, int]) -> None:
    """Fill in the exit code of each rank as they end; not all, where some go on after a failure."""
    until: float | None = None
    while running := [child for child in children if child.rank not in codes]:
        left = None if until is None else max(0.0, until - time.monotonic())
        ended = wait([child.process.sentinel for child in running], left)
        if not ended:
            return
        for child in running:
            if child.process.sentinel in ended:
                child.process.join()
                codes[child.rank] = child.process.exitcode
                if codes[child.rank] and until is None:
                    until = time.monotonic() + _GRACE


def _conclude(found: Sequence[_Child], codes: dict[int, int], size: int) -> None:
    """Exit as the processes did: with the first one's own problem, if there was any."""
    if set(codes.values()) == {0}:
        return
    if set(codes.values()) <= {0, REQUEUE}:
        sys.exit(REQUEUE)
    children = {child.rank: child for child in found}
    problems = [_problem_of(children[rank], code) for rank, code in codes.items() if code]
    problem = next((problem for problem in problems if problem.own), problems[0])
    sys.exit(problem.of(size))


def _problem_of(child: _Child, code: int) -> Problem:
    """What ended a process: its own word or, if it had no time for one, its exit code."""
    try:
        return child.answer.recv()
    except EOFError:
        pass
    if code >= 0:
        return Problem(child.rank, f"error: the process ended with exit code {code}")
    name = signal.Signals(-code).name
    hint = ": the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return Problem(child.rank, f"error: the process was ended by {name}{hint}")
