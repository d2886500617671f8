"""Signals that end a run in good order, and the requests to SLURM (a stand-in: see tests/slurm)."""

import importlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.engine import run
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.files.checkpoint import read
from slowfast.engine.processes.preemption import REQUEUE, Preempted, Preemption, passing_on, requeue
from slowfast.engine.processes.world import World

SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/calls
if [ "$1" = show ]; then echo "JobId=42 JobState={state} Restarts=0"; exit; fi
{answer}
"""


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Makes an scontrol that keeps its calls; the function that reads them."""

    def make(state: str = "RUNNING Reason=None", answer: str = "exit 0"):
        program = tmp_path / "scontrol"
        program.write_text(SCONTROL.format(folder=tmp_path, state=state, answer=answer))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        return lambda: (tmp_path / "calls").read_text().splitlines()

    return make


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_ends_nothing(number):
    with Preemption() as preemption:
        assert not preemption.requested
        send(number)
        assert preemption.requested and preemption.signal == number.name


def test_the_first_of_several_signals_counts():
    with Preemption() as preemption:
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
    assert preemption.signal == "SIGUSR1"


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(ZeroDivisionError), Preemption():
        1 / 0  # noqa: B018
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_outside_the_main_thread_nothing_is_installed_and_the_log_says_so(caplog):
    caplog.set_level("INFO")

    def enter() -> None:
        with Preemption():
            pass

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "not in the main thread" in caplog.text


def test_a_preempted_process_ends_with_the_code_for_trying_again():
    def child() -> None:
        raise Preempted(Path("x.pyth"))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == REQUEUE == os.EX_TEMPFAIL


def test_outside_of_slurm_leaving_only_ends_the_process(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with Preemption() as preemption, pytest.raises(Preempted, match="x.pyth"):
        send(signal.SIGTERM)
        preemption.leave(World(), tmp_path / "x.pyth")
    assert "told to leave (SIGTERM); the same command goes on from" in caplog.text
    assert not requeue()


def test_under_slurm_leaving_requeues_the_job(scontrol, tmp_path):
    calls = scontrol()
    with pytest.raises(Preempted):
        Preemption().leave(World(), tmp_path)
    assert calls()[-1] == "requeue 42"


def test_a_job_at_its_time_limit_is_requeued(scontrol):
    calls = scontrol(state="COMPLETING Reason=TimeLimit")
    assert requeue()
    assert calls()[-1] == "requeue 42"


def test_a_job_that_its_user_cancels_is_not_requeued(scontrol, caplog):
    caplog.set_level("INFO")
    calls = scontrol(state="COMPLETING Reason=None")
    assert not requeue()
    assert "was cancelled" in caplog.text
    assert not any(call.startswith("requeue") for call in calls())


def test_a_refused_requeue_is_a_warning_with_the_remedy(scontrol, caplog):
    scontrol(answer="echo 'Requested operation is presently disabled' >&2; exit 1")
    assert not requeue()
    assert "presently disabled" in caplog.text and "sbatch --requeue" in caplog.text


def test_without_scontrol_the_run_still_ends_in_good_order(monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("PATH", "")
    assert not requeue()
    assert "submit it again" in caplog.text


def _leave_in_a_world(world: World, folder: Path) -> int | None:
    os.environ |= {"SLURM_JOB_ID": "42", "PATH": f"{folder}:{os.environ['PATH']}"}
    with Preemption() as preemption:
        if world.rank:
            send(signal.SIGUSR1)
        try:
            preemption.leave(world, folder)
        except Preempted as error:
            return error.code


def test_all_processes_leave_together_and_the_job_is_requeued_once(scontrol, tmp_path):
    calls = scontrol()
    assert run_processes(_leave_in_a_world, 2, tmp_path) == [REQUEUE, REQUEUE]
    assert calls().count("requeue 42") == 1


def _evaluate_in_a_world(world: World, data: Path, output: Path, where: str) -> int | None:
    """Rank 1 alone is told to leave, as `where` begins to evaluate."""
    room = importlib.import_module(f"slowfast.engine.{where}")  # not the function of that name
    evaluate = room.evaluate

    def told(*arguments) -> Evaluation:
        if world.rank:
            send(signal.SIGTERM)
        return evaluate(*arguments)

    room.evaluate = told
    try:
        run(tiny_cfg(data, output, "SOLVER.MAX_EPOCH", 1), world)
    except Preempted as error:
        return error.code


@pytest.mark.parametrize("where", ["train", "test"])
def test_all_processes_leave_an_evaluation_in_which_one_was_told_to(motion, tmp_path, where):
    codes = run_processes(_evaluate_in_a_world, 2, motion, tmp_path, where, timeout=60)
    assert codes == [REQUEUE, REQUEUE]
    state = read(tmp_path / "checkpoints/checkpoint_epoch_00001.pyth")
    assert state["is_open"] == (where == "train")  # its validation is still to come


def _until_told(ready, code: int) -> None:
    with Preemption() as preemption:
        ready.set()
        while not preemption.requested:
            time.sleep(0.01)
    os._exit(code)


def test_a_waiting_parent_passes_signals_on_to_the_processes_that_train():
    context = multiprocessing.get_context("fork")
    ready = [context.Event() for _ in range(2)]
    children = [context.Process(target=_until_told, args=(r, 3 + i)) for i, r in enumerate(ready)]
    ended = context.Process(target=int)
    for process in (*children, ended):
        process.start()
    ended.join()
    for event in ready:
        event.wait()
    with passing_on(process.pid for process in (ended, *children)):
        send(signal.SIGTERM)
        for child in children:
            child.join()
    assert [child.exitcode for child in children] == [3, 4]
