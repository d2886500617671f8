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

    It predicts in `precision`, see `Recognizer`.  Raises ValueError as `weights.load` does.
    """
    header = read_header(path)
    tables = [Costs.from_dict(table) for table in getattr(header, "costs", ())]
    net = load_net(path).to(device)
    return Recognizer(net, header.cfg, header.labels, tables, precision)
