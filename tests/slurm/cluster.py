#!/usr/bin/env python3
"""A SLURM cluster of two nodes on this machine, of Debian's packages, as root, without systemd.

    python tests/slurm/cluster.py     brings it up, and down again at Ctrl-C

Needs munged, slurmctld and slurmd (`apt-get install slurm-wlm munge`).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CREDENTIAL_SECONDS = 5


class Cluster:
    """Munge, a controller and a daemon per node while it is open; state and logs in `folder`."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder, self.nodes = folder, nodes
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self) -> Cluster:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise RuntimeError(f"no {', '.join(missing)}; run tests/slurm/install.sh")
        if os.geteuid() != 0:
            raise RuntimeError("only root can start the daemons of SLURM; run as root")
        try:
            self._configure()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons):  # munged last: the others talk through it
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons = []

    def call(self, *command: str, **options: object) -> str:
        """What a client of the cluster prints.  Raises RuntimeError with its errors if it fails."""
        options = {"env": self.env, "capture_output": True, "text": True, **options}
        done = subprocess.run(command, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job: JobState, Restarts, Reason, ..."""
        text = self.call("scontrol", "show", "job", "--oneliner", number)
        return dict(pair.split("=", 1) for pair in text.split() if "=" in pair)

    def wait(self, number: str, until: Callable[[dict[str, str]], bool], seconds: float) -> dict:
        """The job once it is as `until` says.  Raises TimeoutError, with logs, if it never is."""
        end = time.monotonic() + seconds
        while not until(job := self.job(number)):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:.0f} s job {number} is {job}\n{self.logs()}")
            time.sleep(0.2)
        return job

    def logs(self) -> str:
        """The last lines of all daemons."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {f.name}\n" + "\n".join(_tail(f)) for f in files)

    def _configure(self) -> None:
        for name in ("munge", "state", *(f"spool/n{i + 1}" for i in range(self.nodes))):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge/key").write_bytes(os.urandom(1024))
        (self.folder / "munge/key").chmod(0o400)
        controller, *ports = _free_ports(1 + self.nodes)
        text = (Path(__file__).parent / "slurm.conf").read_text()
        values = {
            "host": socket.gethostname().split(".")[0],
            "folder": self.folder,
            "controller_port": controller,
            "node_list": f"n[1-{self.nodes}]",
            "node_ports": f"[{','.join(map(str, ports))}]",
            "lifetime": CREDENTIAL_SECONDS,
        }
        (self.folder / "slurm.conf").write_text(text.format(**values))

    def _start(self) -> None:
        munge = self.folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        paths = [f"--{option}={munge / name}" for option, name in files.items()]
        self._daemon("munged", "--foreground", "--force", "--syslog", *paths)
        self._until("munged", lambda: (munge / "socket").exists())
        self._daemon("slurmctld", "-D", "-c")
        self._until("slurmctld", lambda: "is UP" in self.call("scontrol", "ping"))
        for i in range(self.nodes):
            self._daemon("slurmd", "-D", "-N", f"n{i + 1}")
        idle = ("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N")
        self._until("slurmd", lambda: len(self.call(*idle).split()) == self.nodes)

    def _daemon(self, *command: str) -> None:
        log = self.folder / f"{'.'.join((command[0], *command[3:4]))}.log"
        with open(log if command[0] != "munged" else self.folder / "munged.log", "w") as file:
            daemon = subprocess.Popen(
                command, stdout=file, stderr=file, env=self.env, start_new_session=True
            )
        self._daemons.append(daemon)

    def _until(self, what: str, done: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if done():
                    return
            except RuntimeError:  # a client, as long as no daemon answers
                pass
            if time.monotonic() > end or self._daemons[-1].poll() is not None:
                raise RuntimeError(f"{what} did not come up:\n{self.logs()}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens to, rising."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = sorted(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports


def _tail(path: Path, lines: int = 15) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slurm.") as folder, Cluster(Path(folder)) as cluster:
        print(cluster.call("sinfo"))
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"error: {error}")
