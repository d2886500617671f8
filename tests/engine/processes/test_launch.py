"""Processes are started by NUM_GPUS, torchrun, SLURM and PySlowFast's flags, and end together."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import parent_process
from pathlib import Path

import pytest
import torch

from helpers.launched import tell, told
from slowfast.config import CfgNode, Shards, get_cfg
from slowfast.engine.processes.environment import (
    Place,
    cores,
    first_host,
    place_of_environment,
    place_of_shard,
)
from slowfast.engine.processes.launch import launch, processes_wanted
from slowfast.engine.processes.preemption import Preempted, Preemption
from slowfast.engine.processes.rendezvous import meet
from slowfast.engine.processes.world import World

PROGRAM = Path(__file__).parents[2] / "helpers/launched.py"
SRUN = {
    "SLURM_JOB_ID": "3100",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_JOB_NODELIST": "localhost",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


def cfg_of(folder: Path, *overrides: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", str(folder), "NUM_GPUS", 2, *overrides])
    cfg.freeze()
    return cfg


def ending(function, cfg: CfgNode) -> int | str:
    """The exit code of a launch, or what it says at its end with exit code 1."""
    with pytest.raises(SystemExit) as exit_:
        launch(function, [cfg])
    return exit_.value.code


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


# ------------------------------------------------------------------------------ who starts them


def test_num_gpus_starts_processes_that_run_every_configuration(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    launch(tell, [cfg_of(folder) for folder in folders])
    for folder in folders:
        assert [row[:3] for row in told(folder)] == [[0, 2, 1], [1, 2, 1]]


def test_one_process_needs_no_others(tmp_path):
    launch(tell, [cfg_of(tmp_path, "NUM_GPUS", 0)])
    assert told(tmp_path) == [[0, 1, 0, ""]]


def test_without_gpus_there_are_at_most_as_many_processes_as_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processes_wanted(cfg_of(tmp_path, "NUM_GPUS", 1000)) == cores()


def test_more_processes_than_gpus_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="NUM_GPUS = 2, but 1 are visible"):
        processes_wanted(cfg_of(tmp_path))


def start(folder: Path, *flags: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, PROGRAM, folder, *flags], env=os.environ | environment)


def test_torchrun_gives_each_process_its_rank(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    place = ["--master_port", str(free_port()), "--master_addr", "localhost"]
    subprocess.run([*command, *place, PROGRAM, tmp_path], check=True)
    assert [row[:3] for row in told(tmp_path)] == [[0, 2, 1], [1, 2, 1]]
    assert told(tmp_path)[0][3].startswith("torchrun")


def test_the_shards_of_two_commands_are_one_world(tmp_path):
    meeting = ["--num_shards", "2", "--init_method", f"tcp://localhost:{free_port()}"]
    started = [start(tmp_path, *meeting, "--shard_id", shard) for shard in ("1", "0")]
    assert [process.wait(100) for process in started] == [0, 0]
    assert [row[:3] for row in told(tmp_path)] == [[0, 2, 1], [1, 2, 1]]


def test_the_tasks_of_srun_are_one_world(tmp_path):
    step = SRUN | {"SLURM_STEP_NUM_TASKS": "2", "MASTER_PORT": str(free_port())}
    started = [start(tmp_path, **step | {"SLURM_PROCID": rank}) for rank in ("1", "0")]
    assert [process.wait(100) for process in started] == [0, 0]
    assert [row[:3] for row in told(tmp_path)] == [[0, 2, 1], [1, 2, 1]]
    assert told(tmp_path)[0][3].startswith("SLURM job 3100")


# ------------------------------------------------------------------------------ their places


def test_torchrun_tells_where_its_processes_meet():
    env = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}
    place = place_of_environment(env | {"MASTER_PORT": "29500"})
    assert (place.rank, place.size, place.local_rank) == (5, 8, 1)
    assert place.meeting == "tcp://a:29500"


def test_the_tasks_of_a_step_meet_at_its_first_host():
    place = place_of_environment(SRUN)
    assert (place.rank, place.size, place.local_rank) == (3, 4, 1)
    assert place.meeting == place_of_environment(SRUN | {"SLURM_PROCID": "0"}).meeting
    assert place.meeting.startswith("tcp://localhost:")


def test_jobs_on_one_host_meet_at_different_ports():
    steps = [{"SLURM_JOB_ID": job, "SLURM_STEP_ID": step} for job in "789" for step in "01"]
    assert len({place_of_environment(SRUN | step).meeting for step in steps}) == len(steps)


def test_torchrun_inside_a_job_decides():
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert place_of_environment(SRUN | torchrun).meeting == "tcp://a:1"


@pytest.mark.parametrize(
    "change",
    [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_ID": None, "SLURM_STEP_NUM_TASKS": None}],
)
def test_a_batch_script_and_a_step_of_one_task_have_no_others(change):
    env = {key: value for key, value in (SRUN | change).items() if value is not None}
    assert (
        place_of_environment(env | {"SLURM_NTASKS": change["SLURM_STEP_NUM_TASKS"] or "4"}) is None
    )


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("n1", "n1"),
        ("node-a,node-b", "node-a"),
        ("n[1-2]", "n1"),
        ("gpu[007-012,020],m1", "gpu007"),
        ("r3[4,6]c[1-2]", "r34c1"),
        ("a1-b[3-4]-ib,a2", "a1-b3-ib"),
    ],
)
def test_the_first_host_of_slurms_short_form(hosts, first):
    assert first_host(hosts) == first


def test_a_shard_has_its_processes_after_those_of_the_shards_before():
    place = place_of_shard(Shards(2, 4, "tcp://a:9"), 3, 8)
    assert (place.rank, place.size, place.local_rank) == (19, 32, 3)


@pytest.mark.parametrize("url", ["localhost:9999", "tcp://localhost", "tcp://a:b", "env://"])
def test_shards_need_an_address_to_meet(url):
    with pytest.raises(ValueError, match="must be tcp://HOST:PORT"):
        place_of_shard(Shards(0, 2, url), 0, 1)


# ------------------------------------------------------------------------------ how they end


def test_the_error_of_a_process_ends_all_and_is_shown_with_its_rank(tmp_path):
    assert ending(_refuse, cfg_of(tmp_path)) == "rank 1 of 2: error: TRAIN.X = 3 must be 4"


def _refuse(cfg: CfgNode, world: World) -> None:
    if world.rank == 1:
        raise ValueError("TRAIN.X = 3 must be 4")
    world.barrier()


def test_a_bug_is_shown_with_its_traceback(tmp_path):
    text = ending(_fail, cfg_of(tmp_path))
    assert text.startswith("rank 0 of 2: Traceback") and text.endswith("KeyError: 'lost'\n")


def _fail(cfg: CfgNode, world: World) -> None:
    if world.rank == 0:
        raise KeyError("lost")
    world.barrier()


def test_a_killed_process_ends_all_and_is_named(tmp_path):
    assert "rank 1 of 2: error: the process was ended by SIGKILL" in ending(_die, cfg_of(tmp_path))


def _die(cfg: CfgNode, world: World) -> None:
    world.barrier()
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    world.barrier()


def test_a_process_that_hangs_is_named_when_the_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr("slowfast.engine.processes.launch._GRACE", 0.5)
    text = ending(_hang, cfg_of(tmp_path, "DIST.TIMEOUT", 0.03))
    assert text.startswith("rank 0 of 2: error: lost the other processes: no answer from rank 1")
    assert "DIST.TIMEOUT" in text


def _hang(cfg: CfgNode, world: World) -> None:
    world.barrier()
    if world.rank == 1:
        time.sleep(100)
    world.barrier()


def place_at(meeting: str, rank: int) -> Place:
    return Place(rank, 2, 0, meeting, "a test")


def test_a_process_that_never_comes_is_named():
    place = place_at(f"tcp://localhost:{free_port()}", 0)
    with pytest.raises(ValueError, match="1 of 2 processes came .* rank 1 did not: .*firewall"):
        meet(place, timedelta(seconds=0.3))


def test_a_first_process_that_never_comes_is_named():
    place = place_at(f"tcp://localhost:{free_port()}", 1)
    with pytest.raises(ValueError, match="nobody was at tcp://localhost.* whether rank 0 was"):
        meet(place, timedelta(seconds=0.3))


def test_a_port_of_another_program_is_refused():
    with socket.create_server(("", 0)) as server:
        place = place_at(f"tcp://localhost:{server.getsockname()[1]}", 0)
        with pytest.raises(ValueError, match="if another program has the port, choose a free one"):
            meet(place, timedelta(seconds=1))


def meetings(*places: Place, seconds: float = 10) -> list[object]:
    """What comes out when these meet at one time: meetings and errors."""
    with ThreadPoolExecutor(len(places)) as pool:
        asked = [pool.submit(meet, place, timedelta(seconds=seconds)) for place in places]
    return [future.exception() or future.result() for future in asked]


def test_two_commands_for_one_shard_are_refused(tmp_path):
    places = [Place(rank, 3, 0, f"file://{tmp_path}/meeting", "a test") for rank in (0, 1, 1)]
    texts = [str(found) for found in meetings(*places, seconds=1)]
    assert sum("rank 1 was started twice" in text for text in texts) == 1


def test_processes_that_start_again_do_not_hear_of_those_before(tmp_path):
    places = [place_at(f"file://{tmp_path}/meeting", rank) for rank in (0, 1)]
    first, second = meetings(*places)
    first.report("error: broken", "broken")
    assert second.blame() == "rank 0 failed: broken"
    _, second = meetings(*places)
    assert second.blame() == "no answer from rank 0"


def test_a_preempted_run_ends_with_the_code_for_starting_it_again(tmp_path):
    assert ending(_leave, cfg_of(tmp_path)) == 75


def _leave(cfg: CfgNode, world: World) -> None:
    raise Preempted(Path(cfg.OUTPUT_DIR))


def test_it_ends_although_its_own_children_do_not_heed_signals(tmp_path):
    assert ending(_leave_with_a_child, cfg_of(tmp_path)) == 75


def _leave_with_a_child(cfg: CfgNode, world: World) -> None:
    ready = multiprocessing.Event()
    multiprocessing.Process(target=_heed_nothing, args=(ready,), daemon=True).start()
    ready.wait()
    raise Preempted(Path(cfg.OUTPUT_DIR))


def _heed_nothing(ready) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    ready.set()
    while os.getppid() == parent:
        time.sleep(0.1)


def test_a_signal_to_the_command_reaches_its_processes(tmp_path):
    assert ending(_wait_for_a_signal, cfg_of(tmp_path)) == 75


def _wait_for_a_signal(cfg: CfgNode, world: World) -> None:
    with Preemption() as preemption:
        world.barrier()
        if world.is_main:
            os.kill(parent_process().pid, signal.SIGTERM)
        while not preemption.requested:  # each has to hear of it
            time.sleep(0.05)
    raise Preempted(Path(cfg.OUTPUT_DIR))
