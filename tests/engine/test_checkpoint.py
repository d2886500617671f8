import os

import pytest
import torch

from slowfast.engine.checkpoint import Checkpoints, read, write_atomically


def state(epoch):
    return {"epoch": epoch, "model_state": {"weight": torch.full((2,), float(epoch))}}


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, state(epoch))
    assert [p.name for p in checkpoints.paths()] == [
        "checkpoint_epoch_00002.pyth",
        "checkpoint_epoch_00003.pyth",
    ]


def test_the_best_outlives_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save_best(state(1))
    checkpoints.save(2, state(2))
    checkpoints.save(3, state(3))
    assert read(tmp_path / "best.pyth")["epoch"] == 1


def test_a_damaged_newest_file_is_named_and_the_previous_used(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    newest = checkpoints.save(2, state(2))
    newest.write_bytes(newest.read_bytes()[:-100])
    path, found = checkpoints.newest()
    assert found["epoch"] == 1
    assert newest.name in caplog.text


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "one.pyth"
    write_atomically(state(1), path)

    def disk_full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(state(2), path)
    assert read(path)["epoch"] == 1


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "bad.pyth"
    torch.save({"model_state": Malicious()}, path)
    with pytest.raises(ValueError, match="bad.pyth cannot be read"):
        read(path)
    assert not (tmp_path / "ran").exists()
