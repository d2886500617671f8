"""Every shipped YAML."""

import pytest
import torch

from helpers.source import ROOT, files
from slowfast.config import frame_counts, get_cfg, load_cfg
from slowfast.models import build_model

ALL = [path for path in files("configs", "projects", suffixes=(".yaml", ".yml"))]
RUNNABLE = [path for path in ALL if not path.name.startswith("_")]


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_loads_without_an_old_name(path, caplog):
    load_cfg(path)
    assert not caplog.records


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_fits_40_lines(path):
    assert len(path.read_text().splitlines()) <= 40


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_survives_dump_and_load(path, tmp_path):
    cfg = load_cfg(path)
    (tmp_path / "dump.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(tmp_path / "dump.yaml")
    assert again == cfg


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_a_shipped_yaml_builds_its_model(path):
    cfg = load_cfg(path)
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    if cfg.FFN.ENABLE:
        assert tuple(model.rates.num_frames) == frame_counts(cfg)
