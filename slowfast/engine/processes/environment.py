"""Where a process stands among the others: what torchrun, SLURM or the command line say of it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from slowfast.config import Shards

_FIRST_PORT, _PORTS = 10000, 20000  # below those that systems hand out themselves


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, `local_rank` of its machine, and where all of them meet.

    `meeting` is tcp://host:port or file:///path.  At the first, rank 0 waits for the others, unless
    `hosted`: then whoever started the processes does.
    """

    rank: int
    size: int
    local_rank: int
    meeting: str
    origin: str  # who started the process, for the log
    hosted: bool = False


def place_of_environment(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that torchrun or srun gave to this process; None where neither started it."""
    return _torchrun_place(environment) or _slurm_place(environment)


def _torchrun_place(env: Mapping[str, str]) -> Place | None:
    """From the variables of torchrun, which other launchers (Kubernetes' PyTorchJob) set too."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(env):
        return None
    return Place(
        rank=int(env["RANK"]),
        size=int(env["WORLD_SIZE"]),
        local_rank=int(env.get("LOCAL_RANK", 0)),
        meeting=f"tcp://{env['MASTER_ADDR']}:{env['MASTER_PORT']}",
        origin="torchrun" if "TORCHELASTIC_RUN_ID" in env else "RANK and WORLD_SIZE",
        hosted=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _slurm_place(env: Mapping[str, str]) -> Place | None:
    """From the variables of srun.  A batch script, or a step of one task, is no place among many.

    MASTER_ADDR and MASTER_PORT, where set, replace the first host of the step and the port made
    from its number.
    """
    tasks = int(env.get("SLURM_STEP_NUM_TASKS") or env.get("SLURM_NTASKS") or 1)
    if tasks < 2 or "SLURM_STEP_ID" not in env:
        return None
    job, step = int(env["SLURM_JOB_ID"]), int(env["SLURM_STEP_ID"])
    hosts = env.get("SLURM_STEP_NODELIST") or env["SLURM_JOB_NODELIST"]
    host = env.get("MASTER_ADDR") or _address(first_host(hosts))
    port = env.get("MASTER_PORT") or _FIRST_PORT + (7 * job + step) % _PORTS
    return Place(
        rank=int(env["SLURM_PROCID"]),
        size=tasks,
        local_rank=int(env["SLURM_LOCALID"]),
        meeting=f"tcp://{host}:{port}",
        origin=f"SLURM job {job}",
    )


def first_host(hosts: str) -> str:
    """The first of SLURM's short form of host names: `n[07-09,12],m1` -> `n07`."""
    first = re.match(r"(?:[^,\[]|\[[^]]*\])+", hosts)[0]
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first)


def _address(node: str) -> str:
    """The node's name or, where the network does not know it, the address that SLURM has of it."""
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        command = ["scontrol", "show", "node", "--oneliner", node]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        shown = ""
    found = re.search(r"\bNodeAddr=(\S+)", shown)
    return found[1] if found else node


def place_of_shard(shards: Shards, local_rank: int, per_shard: int) -> Place:
    """The place of process `local_rank` of `per_shard` in one of several machines' commands.

    Raises ValueError if --init_method is not an address where they can meet.
    """
    where = urlsplit(shards.init_method)
    try:
        usable = where.hostname and where.port if where.scheme == "tcp" else where.path
    except ValueError:  # a port that is none
        usable = False
    if not usable or where.scheme not in ("tcp", "file"):
        raise ValueError(
            f"--init_method {shards.init_method!r} must be tcp://HOST:PORT, with the name of the "
            "machine of --shard_id 0 and a free port there, or file:///PATH on a shared disk"
        )
    return Place(
        rank=shards.index * per_shard + local_rank,
        size=shards.count * per_shard,
        local_rank=local_rank,
        meeting=shards.init_method,
        origin=f"--num_shards {shards.count}",
    )


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
