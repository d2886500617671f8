"""How processes find each other, and what one says when it loses the others."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import torch.distributed as dist
from fvcore.common.config import CfgNode

from slowfast.engine.device import device_of
from slowfast.engine.processes.environment import Place
from slowfast.engine.processes.preemption import Preempted
from slowfast.engine.processes.world import World

_ANSWER = 2.0  # seconds in which processes that lost another one say that they are still there
_LOST = re.compile("gloo|nccl|connection (closed|reset) by peer", re.IGNORECASE)
INTERFACES = (
    "machines with several network interfaces need the name of the common one in "
    "GLOO_SOCKET_IFNAME (CPU) or NCCL_SOCKET_IFNAME (GPU)"
)


@dataclass
class Meeting:
    """The store that all processes read and write, and what is left there about each."""

    place: Place
    store: dist.Store

    def report(self, text: str, short: str) -> bool:
        """Tell the others why this process ends; whether none of them has said the same `text`."""
        try:
            self.store.set(f"failed/{self.place.rank}", short)
            return self.store.add(f"said/{text}", 1) == 1
        except RuntimeError:  # the process with the store may be gone
            return True

    def blame(self) -> str:
        """Who of the others failed or is silent, asked after one of them was lost."""
        ranks = [rank for rank in range(self.place.size) if rank != self.place.rank]
        try:
            self.store.set_timeout(timedelta(seconds=5))
            self.store.set(f"waits/{self.place.rank}", "")
            until = time.monotonic() + _ANSWER
            while time.monotonic() < until and not all(self._answered(rank) for rank in ranks):
                time.sleep(0.1)
            for rank in ranks:
                if self._has(f"failed/{rank}"):
                    return f"rank {rank} failed: {self.store.get(f'failed/{rank}').decode()}"
            silent = [str(rank) for rank in ranks if not self._answered(rank)]
        except RuntimeError:
            return "rank 0, where all meet, is gone or cannot be reached"
        return f"no answer from rank {', '.join(silent)}" if silent else "all ranks are there"

    def missing(self) -> list[int]:
        """The ranks that never came."""
        return [rank for rank in range(self.place.size) if not self._has(f"came/{rank}")]

    def _answered(self, rank: int) -> bool:
        return self._has(f"waits/{rank}") or self._has(f"failed/{rank}")

    def _has(self, key: str) -> bool:
        return self.store.check([key])


def is_lost(error: Exception) -> bool:
    """Whether `error` says that the other processes cannot be reached any more."""
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and bool(_LOST.search(str(error)))
    )


def meet(place: Place, timeout: timedelta) -> Meeting:
    """Wait until all processes are there.

    The store may have served others before, as that of torchrun does after a restart: rank 0 makes
    a new name under which all go on, and gives it to those who ask now.
    Raises ValueError, naming those that are missing after `timeout`, if they do not come, and if
    two came for one place.
    """
    until = time.monotonic() + timeout.total_seconds()
    within = f"within {timeout.total_seconds() / 60:g} minutes (DIST.TIMEOUT)"
    store, me = _open_store(place, until, within), uuid4().hex
    if place.rank:
        store.set(f"asks/{store.add('asked', 1)}", me)
    while place.rank and not store.check([f"answer/{me}"]):
        _check_time(until, f"rank 0 was not at {place.meeting} {within}", "rank 0")
    name = store.get(f"answer/{me}").decode() if place.rank else me
    meeting = Meeting(place, dist.PrefixStore(name, store))
    if meeting.store.add(f"came/{place.rank}", 1) > 1:
        raise ValueError(
            f"rank {place.rank} was started twice; give each machine a --shard_id of its own"
        )
    answered: set[int] = set()
    while missing := meeting.missing():
        for number in range(1, store.add("asked", 0) + 1) if place.rank == 0 else ():
            if number not in answered and store.check([f"asks/{number}"]):
                store.set(f"answer/{store.get(f'asks/{number}').decode()}", name)
                answered.add(number)
        names = f"rank {', '.join(map(str, missing))}"
        came = f"{place.size - len(missing)} of {place.size} processes"
        _check_time(until, f"{came} came to {place.meeting} {within}, {names} did not", names)
    return meeting


def _check_time(until: float, problem: str, missing: str) -> None:
    """Wait a moment, or raise ValueError with the problem if there is no time left."""
    if time.monotonic() > until:
        raise ValueError(
            f"{problem}: see whether {missing} was started, as one of the same number of "
            f"processes, what its log says, and whether a firewall lies between; {INTERFACES}"
        )
    time.sleep(0.1)


def _open_store(place: Place, until: float, within: str) -> dist.Store:
    """The store where all meet; that of rank 0, unless it is hosted, or a file."""
    where = urlsplit(place.meeting)
    if where.scheme == "file":
        return dist.FileStore(where.path, place.size)
    first = place.rank == 0 and not place.hosted
    while not first and not _listens(where.hostname, where.port):
        _check_time(until, f"nobody was at {place.meeting} {within}", "rank 0")
    try:
        return dist.TCPStore(
            where.hostname, where.port, is_master=first, wait_for_workers=False, multi_tenant=True
        )
    except RuntimeError as error:
        raise ValueError(
            f"cannot meet the others at {place.meeting} ({_first_line(error)}); "
            "if another program has the port, choose a free one of the machine of rank 0: "
            "--init_method, MASTER_PORT, or torchrun's --master_port"
        ) from error


def _listens(host: str, port: int) -> bool:
    # Asked before there is a TCPStore: one that does not find its peer fills the screen.
    try:
        socket.create_connection((host, port), timeout=5).close()
        return True
    except OSError:
        return False


@contextmanager
def joined(place: Place, cfg: CfgNode, run: int, meeting: Meeting | None) -> Iterator[World]:
    """The world of `place` while its process group is there, for a `run` of the same processes.

    DIST.BACKEND, DIST.TIMEOUT and NUM_GPUS decide how they talk and compute.
    """
    device = device_of(cfg, place.local_rank)
    if meeting is None:
        yield World(device=device)
        return
    backend = cfg.DIST.BACKEND
    if backend == "auto":
        backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl" and device.type == "cpu":
        raise ValueError("DIST.BACKEND nccl is for GPUs; processes on the CPU need gloo, or auto")
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f"group/{run}", meeting.store),
        rank=place.rank,
        world_size=place.size,
        timeout=timedelta(minutes=cfg.DIST.TIMEOUT),
        device_id=device if backend == "nccl" else None,
    )
    world = World(place.rank, place.size, device, f"{place.origin}, {place.meeting}")
    try:
        yield world
    except Preempted:
        # All of them leave here.  The first that is gone makes torchrun and srun end the others,
        # which may still be busy.
        world.barrier()
        raise
    world.barrier()
    dist.destroy_process_group()


def host_store() -> tuple[dist.TCPStore, str]:
    """A store in this process for others on this machine, which nobody else can reach; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    store = dist.TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    return store, f"tcp://127.0.0.1:{port}"


def loopback_only() -> dict[str, str]:
    """The variable that keeps gloo inside this machine, whatever its name stands for."""
    names = [name for _, name in socket.if_nameindex()]
    loopback = next((name for name in names if name in ("lo", "lo0")), None)
    return {"GLOO_SOCKET_IFNAME": loopback} if loopback else {}


def lost_text(error: Exception, meeting: Meeting, minutes: float) -> str:
    """A sentence for `error`, which ended the talk with the other processes, and a hint."""
    text = f"lost the other processes: {meeting.blame()}"
    if " failed: " in text:
        return text
    if "timed out" in str(error).lower() or "timeout" in str(error).lower():
        text += (
            f"; they were waited for {minutes:g} minutes (DIST.TIMEOUT): raise it if a step or the "
            f"first batch takes that long; {INTERFACES}"
        )
    return f"{text} ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
