"""Worker processes of a loader, where others send signals to all processes of a run."""

from __future__ import annotations

import os
import signal
import threading


def heed_the_parent_alone(_worker: int = 0) -> None:
    """Call in a worker: SIGTERM ends it only if the process that loads the data has sent it.

    SLURM and others tell every process of a run to leave.  The one that trains then finishes its
    step and saves, for which it needs its workers; PyTorch would raise an error as they end.
    Nothing happens where the system does not tell who sent a signal, as on macOS.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    parent = os.getppid()
    # Blocked, a signal waits for the thread that asks for it, which also learns who sent it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            continue
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
