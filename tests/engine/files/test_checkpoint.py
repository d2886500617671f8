import errno
import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path

import pytest
import torch

from helpers.checkpoints import epochs, names, state
from helpers.kills import Life
from slowfast.engine.files.checkpoint import Checkpoints, read
from slowfast.weights import read_state_dict
from slowfast.weights.replacing import DiskFull
from slowfast.weights.torch_file import has_checksum, tensor_bytes, write_torch

FULL = Path("/dev/full")  # writes there fail as on a full disk


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


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


def test_a_checkpoint_within_an_epoch_comes_between_those_at_its_ends(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=4)
    for epoch, step in [(2, 0), (2, 40), (2, 1000), (3, 0)]:
        checkpoints.save(epoch, state(epoch), step)
    assert [path.name for path in checkpoints.paths()] == [
        "checkpoint_epoch_00002.pyth",
        "checkpoint_epoch_00002_step_000040.pyth",
        "checkpoint_epoch_00002_step_001000.pyth",
        "checkpoint_epoch_00003.pyth",
    ]


def test_the_best_network_is_written_beside_its_state(tmp_path):
    Checkpoints(tmp_path).save_best(state(1), lambda saved: f"epoch {saved['epoch']}".encode())
    assert (tmp_path / "best.safetensors").read_bytes() == b"epoch 1"


# ---------------------------------------------------------------------------- damage


def test_a_damaged_newest_file_is_named_and_the_previous_used(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    newest = checkpoints.save(2, state(2))
    newest.write_bytes(newest.read_bytes()[:-100])
    path, found = checkpoints.newest()
    assert found["epoch"] == 1
    assert newest.name in caplog.text


def test_the_checksum_is_that_of_the_file_torch_wrote(tmp_path):
    write_torch(state(1), tmp_path / "one.pyth")
    torch.save(state(1), tmp_path / "torch.pyth")
    # torch names the parts after the file, but not those of a file object.
    with open(tmp_path / "plain.pyth", "wb") as file:
        torch.save(state(1), file)
    expected = hashlib.sha256((tmp_path / "plain.pyth").read_bytes()).hexdigest()
    comment = zipfile.ZipFile(tmp_path / "one.pyth").comment
    assert comment.decode() == f"sha256:{expected}"


def test_any_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "one.pyth"
    write_torch(state(1), path)
    whole = path.read_bytes()
    before_comment = len(whole) - 73
    for position in [*range(0, before_comment, 97), before_comment - 1]:
        path.write_bytes(whole)
        flip(path, position)
        with pytest.raises(ValueError, match="one.pyth cannot be read.*checksum"):
            read(path)


def test_any_truncation_is_seen_or_costs_no_more_than_the_checksum(tmp_path):
    path = tmp_path / "one.pyth"
    write_torch(state(1), path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole) - 73, 53), len(whole) - 74]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="one.pyth cannot be read"):
            read(path)


def test_weights_to_start_from_are_checked_too(tmp_path):
    path = tmp_path / "one.pyth"
    write_torch(state(1), path)
    position = path.read_bytes().index(torch.ones(2).numpy().tobytes())
    flip(path, position)
    with pytest.raises(ValueError, match=r"one.pyth: unreadable.*checksum"):
        read_state_dict(path)


def test_a_file_without_a_checksum_is_read_and_said(tmp_path, caplog):
    path = tmp_path / "checkpoint_epoch_00001.pyth"
    torch.save(state(1), path)
    caplog.set_level("INFO")
    assert not has_checksum(path)
    assert read(path)["epoch"] == 1
    assert "has no checksum" in caplog.text


def test_a_damaged_file_does_not_push_out_what_follows_it(tmp_path):
    Checkpoints(tmp_path, keep=2).save(1, state(1))
    damaged = Checkpoints(tmp_path).save(2, state(2))
    damaged.write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest()[1]["epoch"] == 1
    checkpoints.save(1, state(1.5), step=7)
    assert epochs(checkpoints) == [1, 1.5]
    assert (tmp_path / "checkpoint_epoch_00002.pyth.aside").exists()


def test_a_run_started_anew_in_a_folder_does_not_go_on_from_the_old_one(tmp_path, caplog):
    Checkpoints(tmp_path).save(9, state(9))
    Checkpoints(tmp_path, keep=1).save(1, state(1))
    assert Checkpoints(tmp_path).newest()[1]["epoch"] == 1
    assert "checkpoint_epoch_00009.pyth.aside" in caplog.text


def test_it_is_said_when_no_checkpoint_can_be_read(tmp_path, caplog):
    Checkpoints(tmp_path).save(1, state(1)).write_bytes(b"PK")
    assert Checkpoints(tmp_path).newest() is None
    assert "none of 1 checkpoints" in caplog.text


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "bad.pyth"
    torch.save({"model_state": Malicious()}, path)
    with pytest.raises(ValueError, match="bad.pyth cannot be read"):
        read(path)
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------------- interrupted writes


def save_twice(folder):
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1, state(1))
    checkpoints.save_best(state(1))
    checkpoints.save(2, state(2))
    checkpoints.save_best(state(2))


def test_a_kill_at_any_point_of_a_save_leaves_only_readable_checkpoints(tmp_path):
    with Life(save_twice, tmp_path / "whole") as life:
        calls = [call.name for call in life.calls()]
    assert set(calls) == {"write", "fsync", "replace", "unlink"}
    points = [(name, calls[:i].count(name)) for i, name in enumerate(calls)]
    for i, point in enumerate(points):
        # Most calls write a few bytes; every twelfth of them is tried.
        if point[0] == "write" and point[1] % 12:
            continue
        folder = tmp_path / str(i)
        with Life(save_twice, folder, until=point) as life:
            assert life.was_killed
        checkpoints = Checkpoints(folder)
        for path in [*checkpoints.paths(), *folder.glob("best.pyth")]:
            assert has_checksum(path)
            read(path)
        # A new checkpoint is there as soon as it has its name, and not before.
        found, renamed = checkpoints.newest(), calls[:i].count("replace")
        assert (found and found[1]["epoch"]) == [None, 1, 1, 2, 2][renamed]


def test_what_a_killed_save_has_half_written_is_removed_by_the_next(tmp_path):
    for name in ("checkpoint_epoch_00002_step_000040.pyth.tmp", "best.safetensors.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("not ours")
    Checkpoints(tmp_path).save(1, state(1))
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth", "notes.tmp"]


def test_reading_removes_nothing_that_may_still_be_written(tmp_path):
    half = tmp_path / "checkpoint_epoch_00001.pyth.tmp"
    half.write_bytes(b"half")
    Checkpoints(tmp_path).newest()
    assert half.exists()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "one.pyth"
    write_torch(state(1), path)

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_torch(state(2), path)
    assert read(path)["epoch"] == 1


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    assert read(Checkpoints(tmp_path).save(1, state(1)))["epoch"] == 1


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_is_needed(tmp_path, background):
    checkpoints = Checkpoints(tmp_path, keep=1, background=background)
    checkpoints.save(1, state(1))
    checkpoints.wait()
    (tmp_path / "checkpoint_epoch_00002.pyth.tmp").symlink_to(FULL)
    big = state(2) | {"more": torch.zeros(1_000_000)}
    expected = re.escape("checkpoint_epoch_00002.pyth: it takes 4.0 MB, ") + r"[\d.]+ MB are free"
    with pytest.raises(DiskFull, match=f"{expected}.*TRAIN.KEEP_CHECKPOINTS=1.*OUTPUT_DIR"):
        checkpoints.save(2, big)
        checkpoints.wait()
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth"]
    assert checkpoints.newest()[1]["epoch"] == 1


def test_the_size_of_a_state_is_that_of_its_tensors():
    tensors = [torch.zeros(3), (torch.zeros(2, dtype=torch.int64),)]
    assert tensor_bytes({"a": tensors, "b": "text", "c": 1, "d": None}) == 3 * 4 + 2 * 8
