"""Files that hold a network whole: safetensors with the configuration in the header.

metadata["slowfast"] = {"version": 1, "architecture": "SlowFast", "config": {...}, "labels": []}
and "costs" where what the rates cost has been measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from slowfast.config import CfgNode, from_tree
from slowfast.models import FrameFlexible, build_model
from slowfast.weights.loading import load_weights
from slowfast.weights.read import is_safetensors
from slowfast.weights.replacing import replacing

VERSION = 1
KEY = "slowfast"
# Places on the machine that wrote the file, of no use elsewhere and not for others to read, and
# weights that a training starts from, which would be fetched for nothing.
_NOT_KEPT = (
    *("OUTPUT_DIR", "PATH_TO_DATA_DIR", "PATH_PREFIX", "CHECKPOINT_FILE_PATH", "PRETRAINED"),
    *("TEACHER_CFG", "TEACHER_WEIGHTS"),
)


@dataclass(frozen=True)
class Header:
    """What a file says of the network in it; `labels` are the names of the classes, or empty.

    `costs` are tables of what the rates cost on some device, see `slowfast.inference.Costs`.
    """

    architecture: str
    cfg: CfgNode
    labels: tuple[str, ...] = ()
    costs: tuple[Mapping[str, Any], ...] = ()


def save(
    model: nn.Module,
    cfg: CfgNode,
    path: str | os.PathLike,
    labels: Sequence[str] = (),
    costs: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes `model`, built by `build_model(cfg)`, so that `load(path)` needs nothing else.

    `path` holds the old file or the whole new one at any time.  `labels` are one per class, or
    none; another number of them raises ValueError, a full disk DiskFull.
    """
    write_packed(pack(model.state_dict(), describe(model, cfg, labels, costs)), Path(path))


def describe(
    model: nn.Module,
    cfg: CfgNode,
    labels: Sequence[str] = (),
    costs: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What the header says of `model`, as JSON; `save` says what is raised."""
    if labels and len(labels) != cfg.MODEL.NUM_CLASSES:
        raise ValueError(
            f"{len(labels)} labels for MODEL.NUM_CLASSES={cfg.MODEL.NUM_CLASSES}; one per class"
        )
    config = _portable(cfg)
    if isinstance(model, FrameFlexible) and model.rates.num_frames != tuple(cfg.FFN.NUM_FRAMES):
        # `add_rates` gave it more.
        rates = {"NUM_FRAMES": list(model.rates.num_frames), "TAGS": list(model.rates.tags)}
        config["FFN"] = config["FFN"] | rates
    header = {
        "version": VERSION,
        "architecture": cfg.MODEL.MODEL_NAME,
        "config": config,
        "labels": list(labels),
    }
    if costs:
        header["costs"] = list(costs)
    return json.dumps(header)


def pack(tensors: Mapping[str, Tensor], description: str) -> bytes:
    """A file of `tensors`, a network's state dict, with what `describe` says of the network."""
    own: dict[str, Tensor] = {}
    memories = set()
    for name, tensor in tensors.items():
        # The format takes neither strided tensors nor two names for one memory.
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if memory in memories else tensor
        memories.add(memory)
    return to_bytes(own, {"format": "pt", KEY: description})


def write_packed(packed: bytes, path: Path) -> None:
    """Write what `pack` returned, whole or not at all."""
    with replacing(path, size=len(packed)) as temporary:
        # Not save_file, which leaves a file to its owner alone.
        temporary.write_bytes(packed)


def store_costs(path: str | os.PathLike, costs: Sequence[Mapping[str, Any]]) -> None:
    """Puts `costs` in the place of those in a file that `save` wrote; all else stays.

    `path` holds the old file or the whole new one at any time.  Raises ValueError as `load` does.
    """
    path = Path(path)
    read_header(path)
    description = json.dumps(_description(path) | {"costs": list(costs)})
    metadata = {**_metadata(path), KEY: description}
    write_packed(to_bytes(from_bytes(path.read_bytes()), metadata), path)


def load(path: str | os.PathLike) -> nn.Module:
    """The network in a file that `save` wrote, plain or frame-flexible, in evaluation mode.

    Raises ValueError for any other file, and for one of a newer version, saying what to do.
    """
    header = read_header(path)
    try:
        model = build_model(header.cfg)
    except ValueError as error:
        raise ValueError(f"{path}: its network cannot be built here: {error}") from error
    load_weights(model, path, format="native")
    return model.eval()


def read_header(path: str | os.PathLike) -> Header:
    """What a file that `save` wrote says of its network, without reading the weights.

    Raises ValueError as `load` does.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; a run leaves checkpoints/best.safetensors in its own"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the path")
    described = _description(path)
    if described["version"] > VERSION:
        raise ValueError(
            f"{path}: written by a newer slowfast (format {described['version']}, this one reads "
            f"{VERSION}); update slowfast"
        )
    try:
        cfg = from_tree(described["config"], str(path))
    except ValueError as error:
        hint = "if the file comes from a newer slowfast, update this one"
        raise ValueError(f"{error}\n  {hint}") from error
    costs = tuple(described.get("costs", ()))
    return Header(described["architecture"], cfg, tuple(described["labels"]), costs)


def _description(path: Path) -> dict[str, Any]:
    """The header's JSON, of the types that `save` writes."""
    text = _metadata(path).get(KEY) if is_safetensors(path) else None
    if text is None:
        raise ValueError(
            f"{path}: does not say which network it is of; convert it with: python "
            f"tools/convert_weights.py {path} --cfg YAML --out NAME.safetensors"
        )
    types = {"version": int, "architecture": str, "config": dict, "labels": list}
    try:
        described = json.loads(text)
        costs = described.get("costs", [])
        typed = all(isinstance(described[key], kind) for key, kind in types.items())
        if typed and isinstance(costs, list) and all(isinstance(table, dict) for table in costs):
            return described
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path}: its description of the network is damaged; get the file anew")


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception as error:  # safetensors raises a kind of its own
        raise ValueError(f"{path}: damaged ({error}); get the file anew") from error


def _portable(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _portable(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if key not in _NOT_KEPT
    }
