"""Memory that a call takes above the level before it, in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

MIB = 2**20
Found = TypeVar("Found")


def in_a_new_process(measure: Callable[..., Found], *arguments: Any) -> Found:
    """What `measure(*arguments)` returns, found where nothing else has been in memory.

    Raises ValueError if the process dies, as the system ends those that need too much.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise ValueError(
                "the process whose memory was measured died, of too little of it perhaps; "
                "try a smaller --batch or --size"
            ) from None


def held(device: str) -> int:
    """Bytes in memory now: of the process, or on CUDA of its tensors."""
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def most_held(run: Callable[[], object], device: str) -> int:
    """The most bytes in memory during `run`, on the CPU since the process began.

    Call it once per process, whose building is to peak far below `run`.
    """
    if torch.device(device).type != "cuda":
        run()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kilobytes
    run()  # compilation and the choice of algorithms have peaks of their own
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device)
