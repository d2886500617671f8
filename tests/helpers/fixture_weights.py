"""Weights and inputs that depend on a name and a shape only: a fixture needs no weight file."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read_fixture(name: str) -> dict:
    """The record `tests/fixtures/<name>.json`."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def fill_tensor(key: str, shape: list[int], dtype: torch.dtype) -> Tensor:
    """The tensor of the checkpoint entry `key`."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    z = rng.standard_normal(tuple(shape))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        z = np.exp(0.2 * z)
    elif leaf == "running_mean":
        z = 0.1 * z
    elif len(shape) >= 2:
        z = z * np.sqrt(1.0 / int(np.prod(shape[1:])))
    elif leaf == "weight":
        z = 1.0 + 0.1 * z
    else:
        z = 0.1 * z
    return torch.from_numpy(np.asarray(z)).to(dtype)


def fill_state_dict(layout: dict[str, tuple[list[int], str]]) -> dict[str, Tensor]:
    """Weights for a layout {key: [shape, name of the dtype]}."""
    return {k: fill_tensor(k, shape, getattr(torch, dtype)) for k, (shape, dtype) in layout.items()}


def input_tensor(name: str, shape: list[int]) -> Tensor:
    """The network input `name`, float32, roughly normalised pixels."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"input:{name}".encode())))
    return torch.from_numpy(rng.standard_normal(tuple(shape)).astype("float32"))
