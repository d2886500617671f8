"""Checkpoint files as plain name -> tensor mappings; no code in a file is ever run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

# Where training programs put the state dict inside what they save.
NESTED_UNDER = ("model_state", "model", "state_dict")
# Put before every name by DistributedDataParallel and by torch.compile.
WRAPPERS = ("module.", "_orig_mod.")


def read_state_dict(source: str | os.PathLike | Mapping[str, Any]) -> dict[str, Tensor]:
    """Name -> tensor, from a torch or safetensors file (told apart by content) or from a mapping.

    Looks under `model_state`, `model` or `state_dict` if the tensors are not at the top, and drops
    a wrapper's prefix that all names share.  Raises ValueError naming the file and the remedy.
    """
    if isinstance(source, Mapping):
        return _state_in(source, "the given mapping")
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint file; check the path")
    return _state_in(_read_file(path), str(path))


def _read_file(path: Path) -> Any:
    try:
        if _is_safetensors(path):
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not loaded, because it is not a checkpoint or holds Python objects beside "
            "tensors, which could run code; save its state dict alone, or get the file anew"
        ) from error
    except Exception as error:  # zip, pickle and safetensors each fail in many ways
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path}: unreadable or incomplete checkpoint ({type(error).__name__}: {reason}); "
            "get the file anew"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """A safetensors file starts with the 8-byte length of its JSON header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _state_in(content: Any, name: str) -> dict[str, Tensor]:
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
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


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS * 2:  # either may be inside the other
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
