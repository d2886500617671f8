"""From a file to a recognizer."""

from __future__ import annotations

import os

import torch

from slowfast.inference.budget import Costs
from slowfast.inference.recognizer import Recognizer
from slowfast.weights import load as load_net
from slowfast.weights import read_header


def load(
    path: str | os.PathLike, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Recognizer:
    """What a file of `slowfast.weights.save` holds, on `device`, in evaluation mode.

    It predicts in `precision`, see `Recognizer`.  Raises ValueError as `weights.load` does, and for
    a device that cannot be used here.
    """
    check_device(device)
    header = read_header(path)
    tables = [Costs.from_dict(table) for table in getattr(header, "costs", ())]
    net = load_net(path).to(device)
    return Recognizer(net, header.cfg, header.labels, tables, precision)


def check_device(device: str | torch.device) -> None:
    """Raises ValueError with PyTorch's reason unless a tensor can be made on `device`."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device {str(device)!r} cannot be used: {reason}; `slowfast doctor` lists those of "
            "this machine, and cpu is always there"
        ) from None
