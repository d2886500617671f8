import argparse
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slowfast.weights import read_state_dict

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.0, 2.0])}
# What training programs write beside their weights; weights_only=True alone refuses some of it.
BESIDE = {
    "epoch": 3,
    "arch": "resnet50",
    "best_prec1": np.float32(71.5),
    "best_top1": np.float64(71.5),
    "history": np.arange(3),
    "args": argparse.Namespace(lr=0.1, out=Path("runs")),
    "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
}


def assert_is_state(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_new_and_old_torch_are_read_with_what_lies_beside_the_weights(zipped, tmp_path):
    state = {f"module.{name}": tensor for name, tensor in STATE.items()}
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": state, **BESIDE}, path, _use_new_zipfile_serialization=zipped)
    assert_is_state(read_state_dict(path))


@pytest.mark.parametrize("name", ["a.pkl", "a.pth.tar", "a.safetensors", "a"])
def test_a_files_name_plays_no_part(name, tmp_path):
    path = tmp_path / name
    for write in (
        lambda: torch.save(STATE, path),
        lambda: save_file(STATE, path),
        lambda: path.write_bytes(pickle.dumps({"blobs": {n: t.numpy() for n, t in STATE.items()}})),
    ):
        write()
        assert_is_state(read_state_dict(path))


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_arrays_of_every_layout_and_pickle_protocol_are_read(protocol, tmp_path):
    blobs = {
        "plain": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        "big_endian": np.arange(4, dtype=">f4"),
        "half": np.ones(2, np.float16),
        "scalar": np.float32(0.1),
        "counter": np.int64(7),
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs | {"lr": 0.1, "model_iter": 5}}, protocol))
    found = read_state_dict(path)
    for name, array in blobs.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].numpy(), array), name
    assert found["lr"].item() == pytest.approx(0.1) and found["model_iter"].item() == 5


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Its byte strings are texts: the bytes of the array and the order of its numbers."""
    pickled = (
        b"(dp0\nS'blobs'\np1\n(dp2\nS'pred_b'\np3\n"
        b"cnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\nndarray\np5\n(I0\ntp6\nS'b'\np7\n"
        b"tp8\nRp9\n(I1\n(I2\ntp10\ncnumpy\ndtype\np11\n(S'f4'\np12\nI0\nI1\ntp13\nRp14\n"
        b"(I3\nS'<'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np17\ntp18\nbss."
    )
    (tmp_path / "model.pkl").write_bytes(pickled)
    assert read_state_dict(tmp_path / "model.pkl")["pred_b"].tolist() == [1.0, -2.0]


def test_arrays_that_are_read_can_be_written_to(tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": {"a": np.zeros(2)}}))
    read_state_dict(tmp_path / "model.pkl")["a"].add_(1)


def test_an_archive_of_files_is_no_checkpoint(tmp_path):
    torch.save(STATE, tmp_path / "model.pth")
    with tarfile.open(tmp_path / "model.pth.tar", "w") as archive:
        archive.add(tmp_path / "model.pth")
    with pytest.raises(ValueError, match="model.pth.tar.*get the file anew"):
        read_state_dict(tmp_path / "model.pth.tar")


RECORD = np.array([(1, None)], dtype=[("a", "i4"), ("b", object)])


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([None]), RECORD, "text", [1, 2]])
def test_blobs_that_are_no_numbers_are_refused(value, tmp_path):
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps({"blobs": {"a": np.zeros(2), "b": value}}))
    with pytest.raises(ValueError, match="odd.pkl"):
        read_state_dict(tmp_path / "odd.pkl")
