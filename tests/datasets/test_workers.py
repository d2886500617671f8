import multiprocessing
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from slowfast.datasets.workers import heed_the_parent_alone


class Slow(Dataset):
    """Numbers that take a moment, and know which process made them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[int, int]:
        time.sleep(0.02)
        return index, os.getpid()


def waits(process: int) -> bool:
    """Whether a SIGTERM has come to the process that no thread of it has taken yet."""
    status = Path(f"/proc/{process}/status").read_text()
    pending = int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16)
    return bool(pending >> (signal.SIGTERM - 1) & 1)


def signal_from_elsewhere(name: str, processes: list[int]) -> None:
    subprocess.run(["kill", "-s", name, *map(str, processes)], check=True)


def test_workers_go_on_when_somebody_else_tells_every_process_to_leave():
    loader = iter(
        DataLoader(Slow(), num_workers=2, batch_size=1, worker_init_fn=heed_the_parent_alone)
    )
    (first, _), (second, _) = next(loader), next(loader)
    workers = [worker.pid for worker in loader._workers]
    for name in ("TERM", "USR1"):
        signal_from_elsewhere(name, workers)
    rest = [index.item() for index, _ in loader]
    assert [first.item(), second.item(), *rest] == list(range(12))


def test_a_system_that_does_not_say_who_sends_signals_leaves_them_as_they_are(monkeypatch):
    monkeypatch.delattr(signal, "sigwaitinfo")
    heed_the_parent_alone()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _idle(ready) -> None:
    heed_the_parent_alone()
    ready.set()
    time.sleep(60)


def test_the_process_that_loads_can_still_end_a_worker():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=_idle, args=(ready,))
    worker.start()
    ready.wait()
    signal_from_elsewhere("TERM", [worker.pid])
    while waits(worker.pid):  # a second one would be lost: signals of a kind do not queue
        time.sleep(0.01)
    assert worker.is_alive()
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(timeout=30)
    assert worker.exitcode == 0
