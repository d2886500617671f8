"""Other libraries, where they are installed: `make oracles`."""

import importlib.util
from pathlib import Path

import pytest
import torch

_shim = None  # a library is gone with its last reference


def oracle(name: str):
    """The module `name`; skips the test where its package or torchvision is not installed."""
    for package in ("torchvision", name.partition(".")[0]):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    _make_torchvision_importable()
    return importlib.import_module(name)


def _make_torchvision_importable() -> None:
    """A torchvision of another build finds none of its operators, two of which it asks for.

    To declare them is enough for all networks, which do not use them.
    """
    global _shim
    if hasattr(torch.ops.torchvision, "nms"):
        return
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        pass
    if not hasattr(torch.ops.torchvision, "nms"):
        _shim = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _shim.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
