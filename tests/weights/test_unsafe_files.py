"""Pickles that would run code are refused by every reader, and none of it runs."""

import copyreg
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import slowfast
from helpers.source import ROOT
from slowfast.weights import load_weights, read_header, read_state_dict
from slowfast.weights.pickles import UnsafePickle, load_arrays
from tools import convert_weights

CFG = str(ROOT / "configs/Motion/R2PLUS1D_FFN.yaml")


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def write_file(path):
    """What would be run: importable by name, so that a careless reader really finds it."""
    Path(path).write_text("ran")


def attacks(mark: str) -> dict[str, object]:
    """Objects that create the file `mark` when they are unpickled without care."""
    run = f"open({mark!r}, 'w').close()"
    array = np.empty(1, object)
    array[0] = Calls(exec, run)
    return {
        "os.system": Calls(os.system, f"touch {mark}"),
        "builtins.eval": Calls(eval, run),
        "builtins.exec": Calls(exec, run),
        "a function of this file": Calls(write_file, mark),
        "pathlib": Calls(Path.touch, Path(mark)),
        "builtins.getattr": Calls(getattr, "text", "upper"),
        "builtins.__import__": Calls(__import__, "antigravity"),
        "an object array": array,
        "a list in an object array": np.array([[Calls(exec, run)], None], dtype=object),
        "a reconstructor": Calls(copyreg._reconstructor, Calls, object, None),
        "a memory map": Calls(np.memmap, mark, "u1", "w+", 0, (1,)),
        "a file of numpy": Calls(np.save, mark, np.zeros(1)),
        "an array from a file": Calls(np.fromfile, __file__, "u1", 4),
    }


KINDS = list(attacks("mark"))


@pytest.fixture(params=KINDS)
def attack(request, tmp_path):
    mark = tmp_path / "executed"
    yield attacks(str(mark))[request.param]
    assert not list(tmp_path.glob("executed*")), "the file's code has run"


def refuses(path, loads) -> None:
    with pytest.raises(ValueError, match=f"{path.name}.*(could run code|get the file anew|which)"):
        loads(path)


def test_the_attacks_work_on_a_careless_reader(tmp_path):
    for kind in ("os.system", "builtins.exec", "a function of this file", "an object array"):
        mark = tmp_path / kind.replace(" ", "_")
        pickle.loads(pickle.dumps(attacks(str(mark))[kind]))
        assert mark.exists(), kind


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_do_not_run(attack, zipped, tmp_path):
    content = {"state_dict": {"weight": torch.zeros(1)}, "args": attack}
    path = tmp_path / "model.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refuses(path, lambda p: load_weights(nn.Linear(1, 1, bias=False), p))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_caffe2_pickles_do_not_run(attack, protocol, tmp_path):
    path = tmp_path / "model.pkl"
    for content in ({"blobs": {"conv1_w": attack}}, {"blobs": {}, "cfg": attack}, attack):
        path.write_bytes(pickle.dumps(content, protocol))
        refuses(path, read_state_dict)


@pytest.mark.parametrize(
    "load",
    [
        slowfast.load,
        read_header,
        lambda path: convert_weights.convert(
            convert_weights.parse_args([str(path), "--cfg", CFG, "--out", f"{path}.pyth"])
        ),
    ],
    ids=["slowfast.load", "read_header", "convert_weights"],
)
def test_neither_our_own_loader_nor_the_converter_runs_a_pickle(load, attack, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": attack}}))
    refuses(path, load)
    torch.save({"state_dict": attack}, path)
    refuses(path, load)


def test_a_pickle_behind_a_safetensors_header_is_not_read(attack, tmp_path):
    path = tmp_path / "model.safetensors"
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + pickle.dumps(attack))
    refuses(path, read_state_dict)
    refuses(path, slowfast.load)


def test_a_description_in_safetensors_is_only_data(tmp_path):
    path = tmp_path / "model.safetensors"
    evil = '{"version": 1, "architecture": "x", "config": "!!python/object/apply:os.getcwd []"}'
    save_file({"weight": torch.zeros(1)}, path, metadata={"slowfast": evil})
    refuses(path, lambda p: pytest.fail("built") if slowfast.load(p) else None)


def test_a_pickle_cannot_change_the_reader_for_the_next_file():
    spoil = b"cnumpy\ndtype\n(N(S'numpy'\nS'broken'\ndtb."  # sets an attribute of a stand-in
    with pytest.raises((UnsafePickle, TypeError)):
        load_arrays(io.BytesIO(spoil))
    assert load_arrays(io.BytesIO(pickle.dumps(np.ones(2)))).tolist() == [1, 1]
