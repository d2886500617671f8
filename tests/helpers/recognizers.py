"""Files with small networks whose private layers differ, as if they had been trained."""

from pathlib import Path

import torch

from helpers.foreign_net import perturb
from helpers.runs import tiny_cfg
from slowfast.config import CfgNode
from slowfast.models import build_model
from slowfast.weights import save


def write_network(path: Path, *overrides: object, labels: tuple[str, ...] = ()) -> CfgNode:
    """Writes the tiny network of `helpers.runs` to `path`; the configuration it has."""
    cfg = tiny_cfg(path.parent, path.parent, *overrides)
    torch.manual_seed(0)
    save(perturb(build_model(cfg)), cfg, path, labels)
    return cfg
