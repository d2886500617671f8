"""Work on many videos in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from tqdm import tqdm


def in_processes(
    function: Callable[..., Any],
    arguments: Sequence[tuple],
    workers: int,
    title: str,
    done_before: int = 0,
) -> Iterator[Any]:
    """The results of `function` on each tuple of arguments, as they are ready.

    What has not begun when the caller stops or an error comes is not begun any more.  Raises
    ValueError if a process dies.
    """
    total = len(arguments) + done_before
    bar = tqdm(total=total, initial=done_before, desc=title, unit="video", disable=None)
    pool = ProcessPoolExecutor(workers, initializer=_one_thread)
    try:
        jobs = [pool.submit(function, *given) for given in arguments]
        for job in as_completed(jobs):
            bar.update()
            yield job.result()
    except BrokenProcessPool:
        raise ValueError(
            f"{title}: a process died, of memory perhaps; start again with fewer --workers than "
            f"{workers}, what is done stays"
        ) from None
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)
