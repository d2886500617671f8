"""Checkpoints that are written while the training goes on."""

import os
import threading
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from helpers.checkpoints import epochs, names, state
from helpers.runs import tiny_cfg
from slowfast.engine.files import checkpoint
from slowfast.engine.files.checkpoint import Checkpoints, read
from slowfast.engine.files.writer import on_cpu
from slowfast.engine.training import Training


class Tracked(dict):
    """A dict that can be referred to weakly."""

    __hash__ = object.__hash__


class Gate:
    """A write that waits until it is let through, and says when it has begun."""

    def __init__(self, monkeypatch, error=None):
        self.open, self.begun, self.error = threading.Event(), threading.Event(), error
        self.write = checkpoint.write_torch
        monkeypatch.setattr(checkpoint, "write_torch", self)

    def __call__(self, state, path):
        self.begun.set()
        assert self.open.wait(60)
        if self.error:
            raise self.error
        self.write(state, path)


def test_a_background_save_returns_before_the_file_is_written(tmp_path, monkeypatch):
    gate = Gate(monkeypatch)
    with Checkpoints(tmp_path, background=True) as checkpoints:
        path = checkpoints.save(1, state(1))
        assert not path.exists()
        gate.open.set()
        checkpoints.wait()
        assert read(path)["epoch"] == 1


def test_training_on_does_not_change_what_is_being_written(tmp_path, monkeypatch):
    gate, weight = Gate(monkeypatch), torch.ones(2)
    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, {"model_state": {"weight": weight}, "list": [1]})
        weight.add_(1)
        gate.open.set()
        found = checkpoints.newest()[1]
    assert found["model_state"]["weight"].tolist() == [1, 1]


def test_a_newer_checkpoint_takes_the_place_of_one_that_waits(tmp_path, monkeypatch, caplog):
    gate = Gate(monkeypatch)
    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, state(1))
        assert gate.begun.wait(60)
        checkpoints.save(2, state(2))
        checkpoints.save(3, state(3))
        gate.open.set()
    assert epochs(checkpoints) == [1, 3]
    assert "checkpoint_epoch_00002.pyth is left out" in caplog.text


def packed_weight(saved):
    return to_bytes(saved["model_state"])


def test_no_call_waits_for_a_write_and_the_newest_of_each_kind_ends_on_the_disk(
    tmp_path, monkeypatch
):
    gate, weight = Gate(monkeypatch), torch.zeros(2)

    def now(epoch):
        weight.fill_(epoch)  # as training does, in place
        return {"epoch": epoch, "model_state": {"weight": weight}}

    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, now(1))
        assert gate.begun.wait(60)
        # The gate is closed: whoever waited for that write would do so for ever.
        for epoch in (2, 3):
            checkpoints.save(epoch, now(epoch))
            checkpoints.save_best(now(epoch), packed_weight)
        weight.fill_(-1)
        assert names(tmp_path) == []
        gate.open.set()
    assert epochs(checkpoints) == [1, 3]
    assert read(tmp_path / "best.pyth")["model_state"]["weight"].tolist() == [3, 3]
    assert load_file(tmp_path / "best.safetensors")["weight"].tolist() == [3, 3]


def test_the_bytes_of_the_best_network_are_made_by_the_writer(tmp_path):
    made_by = []

    def pack(saved):
        made_by.append(threading.current_thread())
        return b"network"

    for background in (False, True):
        with Checkpoints(tmp_path, background=background) as checkpoints:
            checkpoints.save_best(state(1), pack)
    assert made_by[0] is threading.main_thread()
    assert made_by[1] is not threading.main_thread()


def test_a_checkpoint_never_gets_to_the_disk_before_a_best_that_it_knows_of(tmp_path, monkeypatch):
    gate, written = Gate(monkeypatch), []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (written.append(Path(b).name), rename(a, b)))
    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, state(1))
        assert gate.begun.wait(60)
        checkpoints.save_best(state(1))
        checkpoints.save(2, state(2))
        checkpoints.save_best(state(2))
        checkpoints.save(3, state(3))
        gate.open.set()
    assert written == ["checkpoint_epoch_00001.pyth", "best.pyth", "checkpoint_epoch_00003.pyth"]


def test_no_more_than_three_copies_of_the_state_are_alive(tmp_path, monkeypatch):
    gate, copies = Gate(monkeypatch), weakref.WeakSet()

    def counted(given):
        # One that gives way has to be gone before the next is made.
        assert len(copies) <= 2
        copies.add(copy := Tracked(on_cpu(given)))
        return copy

    monkeypatch.setattr(checkpoint, "on_cpu", counted)
    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, state(1))
        assert gate.begun.wait(60)
        for epoch in range(2, 6):
            checkpoints.save(epoch, state(epoch))
            checkpoints.save_best(state(epoch), packed_weight)
            assert len(copies) == 3
        gate.open.set()
        checkpoints.wait()
        assert not copies


@pytest.mark.parametrize("then", ["save", "save_best", "wait", "newest", "close"])
def test_the_error_of_a_background_write_comes_up_at_the_next_call(tmp_path, monkeypatch, then):
    gate = Gate(monkeypatch, OSError("broken"))
    checkpoints = Checkpoints(tmp_path, background=True)
    checkpoints.save(1, state(1))
    gate.open.set()
    checkpoints._writer._pool.submit(int).result()  # the write has ended by then
    arguments = {"save": (2, state(2)), "save_best": (state(2),)}.get(then, ())
    with pytest.raises(OSError, match="broken"):
        getattr(checkpoints, then)(*arguments)
    checkpoints.close()  # it is said once


def test_what_waits_behind_a_failed_write_does_not_get_to_the_disk(tmp_path, monkeypatch):
    # The checkpoint knows of the best, so a resumed run would take it to be there.
    gate = Gate(monkeypatch)
    write = gate.write

    def fail_once(state, path):
        gate.write = write
        raise OSError("broken")

    gate.write = fail_once
    checkpoints = Checkpoints(tmp_path, background=True)
    checkpoints.save_best(state(1))
    assert gate.begun.wait(60)
    checkpoints.save(1, state(1))
    gate.open.set()
    with pytest.raises(OSError, match="broken"):
        checkpoints.wait()
    assert names(tmp_path) == []
    checkpoints.save(2, state(2))
    checkpoints.close()
    assert epochs(checkpoints) == [2]


def test_a_failed_background_write_does_not_hide_the_error_that_ended_the_run(
    tmp_path, monkeypatch, caplog
):
    gate = Gate(monkeypatch, OSError("broken"))
    gate.open.set()
    checkpoints = Checkpoints(tmp_path, background=True)
    with pytest.raises(FloatingPointError, match="the loss"), checkpoints:
        checkpoints.save(1, state(1))
        raise FloatingPointError("the loss")
    assert "could not be written" in caplog.text


def test_leaving_the_block_finishes_what_is_being_written(tmp_path):
    with Checkpoints(tmp_path, background=True) as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(epoch, state(epoch))
    assert epochs(checkpoints)[-1] == 3


def test_a_copy_on_the_cpu_keeps_the_structure_of_a_state():
    net = torch.nn.BatchNorm1d(2)
    given = {"model_state": net.state_dict(), "list": [1, (torch.ones(1), None)], "text": "a"}
    copied = on_cpu(given)
    assert copied["model_state"]._metadata == given["model_state"]._metadata
    assert copied["list"] == given["list"] and copied["text"] == "a"
    assert copied["list"][1][0].data_ptr() != given["list"][1][0].data_ptr()
    net.running_mean.add_(1)
    assert copied["model_state"]["running_mean"].tolist() == [0, 0]


@pytest.mark.gpu
def test_a_background_save_copies_from_the_gpu(tmp_path):
    weight = torch.ones(1000, device="cuda")
    with Checkpoints(tmp_path, background=True) as checkpoints:
        checkpoints.save(1, {"model_state": {"weight": weight}})
        weight.zero_()
        found = checkpoints.newest()[1]["model_state"]["weight"]
    assert found.device.type == "cpu" and found.eq(1).all()


# ---------------------------------------------------------------------------- of a training


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_best_files_hold_the_weights_at_the_time_they_were_saved(
    motion, tmp_path, monkeypatch, background, decay
):
    options = ("TRAIN.CHECKPOINT_BACKGROUND", background, "TRAIN.EMA_DECAY", decay)
    training = Training.from_cfg(tiny_cfg(motion, tmp_path, *options))
    if decay:
        training.step.ema.update(training.step.model)
        add_to_all(training.model, 1)  # the average is another network
    gate = Gate(monkeypatch)
    if not background:
        gate.open.set()
    tested, trained = (copied(n.state_dict()) for n in (training.tested_model, training.model))
    with training.checkpoints:
        training.save_best()
        for network in (training.model, training.tested_model):
            add_to_all(network, 5)
        gate.open.set()
    found = load_file(tmp_path / "checkpoints/best.safetensors")
    assert_equal(found, tested)
    state = read(tmp_path / "checkpoints/best.pyth")
    assert_equal(state["model_state"], trained)
    if decay:
        assert_equal(state["ema_state"]["model_state"], tested)


@torch.no_grad()
def add_to_all(network, value):
    for parameter in network.parameters():
        parameter.add_(value)


def copied(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
