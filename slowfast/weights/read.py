"""Checkpoint files as plain name -> tensor mappings; no code in a file is ever run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from slowfast.weights.pickles import UnsafePickle, load_arrays
from slowfast.weights.torch_file import has_checksum

# Where training programs put the state dict inside what they save; Caffe2 says `blobs`.
NESTED_UNDER = ("model_state", "model", "state_dict", "blobs")
# Put before every name by DistributedDataParallel and by torch.compile.
WRAPPERS = ("module.", "_orig_mod.")

_ZIP = b"PK\x03\x04"
_TORCH_MAGIC = torch.serialization.MAGIC_NUMBER  # the first pickle in a file of torch before 1.6


class _Unread:
    """Stands in for what training programs save beside their weights; it keeps nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


# Best accuracies as numpy numbers, the options of a command line, folders.  None of it is called.
_BESIDE_WEIGHTS = [
    (_Unread, name)
    for name in (
        *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.dtype", "numpy.ndarray", "argparse.Namespace"),
        *("pathlib.PosixPath", "pathlib.WindowsPath"),
    )
]


def read_state_dict(source: str | os.PathLike | Mapping[str, Any]) -> dict[str, Tensor]:
    """Name -> tensor, from a mapping or from a file, whose kind its content tells, never its name.

        torch       zip, or the older row of pickles; read with weights_only=True
        safetensors
        Caffe2      a pickle of {"blobs": {name: numpy array}}; read by `pickles.load_arrays`

    Looks under `model_state`, `model`, `state_dict` or `blobs` if the tensors are not at the top,
    and drops a wrapper's prefix that all names share.  Raises ValueError naming the file and the
    remedy.
    """
    if isinstance(source, Mapping):
        return _state_in(source, "the given mapping")
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint file; check the path")
    return _state_in(_read_file(path), str(path))


def is_safetensors(path: Path) -> bool:
    """Whether the file begins like one: the 8-byte length of its JSON header, then the header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_file(path: Path) -> Any:
    try:
        if is_safetensors(path):
            return load_file(path)
        with path.open("rb") as file:
            is_torch = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if not is_torch:
                content = load_arrays(file)
                is_torch = isinstance(content, int) and content == _TORCH_MAGIC
                file.seek(0)
            if not is_torch:
                return content
            has_checksum(path)
            return _read_torch(file)
    except pickle.UnpicklingError as error:
        found = f" ({error})" if isinstance(error, UnsafePickle) else ""
        raise ValueError(
            f"{path}: not loaded, because it is not a checkpoint or holds Python objects beside "
            f"tensors{found}, which could run code; save its state dict alone, or get the file anew"
        ) from error
    except Exception as error:  # zip, pickle and safetensors each fail in many ways
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path}: unreadable or incomplete checkpoint ({type(error).__name__}: {reason}); "
            "get the file anew"
        ) from error


def _read_torch(file: BinaryIO) -> Any:  # given a path, torch looks at its suffix
    with torch.serialization.safe_globals(_BESIDE_WEIGHTS):
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_in(content: Any, name: str) -> dict[str, Tensor]:
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            if key == "blobs":
                content = {blob: _as_tensor(value) for blob, value in content.items()}
            break
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{name}: holds no state dict, neither at the top nor under {', '.join(NESTED_UNDER)}; "
            "is it a model's checkpoint?"
        )
    odd = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(
            f"{name}: {odd[0]!r} is a {type(content[odd[0]]).__name__}, but a state dict holds "
            "only tensors; save model.state_dict()"
        )
    return _without_wrappers(dict(content))


def _as_tensor(value: Any) -> Any:
    return torch.as_tensor(value) if isinstance(value, np.ndarray | int | float) else value


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS * 2:  # either may be inside the other
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
