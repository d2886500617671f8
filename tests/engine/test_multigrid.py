"""Multigrid training in the engine: learning rates, validations, norms, and a run to its end."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast.config import get_cfg
from slowfast.engine.multigrid import Phases, solver_of
from slowfast.engine.optimization.schedule import build_schedule
from slowfast.engine.processes.world import World
from slowfast.models import build_model

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "lr.json").read_text())["multigrid"]


def grid_cfg(*overrides):
    """The Kinetics recipe of the reference."""
    cfg = get_cfg()
    pairs = {
        "MULTIGRID.LONG_CYCLE": True,
        "MULTIGRID.SHORT_CYCLE": True,
        "DATA.NUM_FRAMES": 32,
        "DATA.SAMPLING_RATE": 2,
        "SOLVER.BASE_LR": 0.1,
        "SOLVER.LR_POLICY": "steps_with_relative_lrs",
        "SOLVER.STEPS": [0, 94, 154, 196],
        "SOLVER.LRS": [1, 0.1, 0.01, 0.001],
        "SOLVER.MAX_EPOCH": 239,
        "SOLVER.WARMUP_EPOCHS": 34.0,
        "SOLVER.WARMUP_START_LR": 0.01,
    }
    cfg.merge_from_list([value for pair in pairs.items() for value in pair] + list(overrides))
    return cfg


def test_learning_rates_are_the_references():
    schedule = build_schedule(grid_cfg())
    for epoch, rate in CASES[0]["lr_at"]:
        assert schedule(epoch) == pytest.approx(rate, rel=1e-9)


def test_a_cosine_follows_the_longer_training_of_the_short_cycle():
    overrides = ["MULTIGRID.LONG_CYCLE", False, "SOLVER.LR_POLICY", "cosine"]
    cfg = grid_cfg(*overrides, "SOLVER.MAX_EPOCH", 40, "SOLVER.WARMUP_EPOCHS", 0)
    schedule = build_schedule(cfg)
    assert solver_of(cfg).MAX_EPOCH == 60 and cfg.SOLVER.MAX_EPOCH == 40
    assert schedule(30) == pytest.approx(0.05) and schedule(60) == pytest.approx(0)


def test_the_solver_is_that_of_the_keys_without_multigrid():
    cfg = grid_cfg("MULTIGRID.LONG_CYCLE", False, "MULTIGRID.SHORT_CYCLE", False)
    assert solver_of(cfg) is cfg.SOLVER
    assert Phases.from_cfg(cfg, World()) is None


@pytest.mark.parametrize(("rank", "size"), [(0, 8), (7, 8)])
def test_norms_of_the_kinetics_phases_are_the_references(rank, size):
    phases = Phases.from_cfg(grid_cfg(), World(rank, size))
    for change in CASES[0]["shape_changes"]:
        splits = change["splits"] if change["norm"] == "sub_batchnorm" else 1
        assert phases.norms(change["epoch"]) == (change["norm"], splits)


def test_few_videos_per_process_share_statistics_with_neighbours():
    overrides = ["TRAIN.BATCH_SIZE", 12, "DATA.TRAIN_CROP_SIZE", 224]
    last = Phases.from_cfg(grid_cfg(*overrides), World(0, 6)).norms(350)  # 2 videos of 8
    assert last == ("sync_batchnorm", 3)  # 4 do not divide the 6 processes


def test_a_single_process_has_nobody_to_share_with():
    assert Phases.from_cfg(grid_cfg("TRAIN.BATCH_SIZE", 2), World()).norms(350) == ("batchnorm", 1)


def test_micro_batches_and_copies_count_as_what_batchnorm_sees():
    phases = Phases.from_cfg(grid_cfg("TRAIN.MICRO_BATCHES", 4, "AUG.NUM_SAMPLE", 2), World())
    assert phases.norms(350) == ("sub_batchnorm", 64 * 2 // 4 // 8)


def test_norms_stay_as_bn_says_without_a_base_size():
    phases = Phases.from_cfg(grid_cfg("MULTIGRID.BN_BASE_SIZE", 0), World())
    net = nn.Sequential(nn.BatchNorm3d(2))
    assert not phases.enter(0, net) and type(net[0]) is nn.BatchNorm3d


def test_frozen_norms_stay():
    phases = Phases.from_cfg(grid_cfg("MODEL.FROZEN_BN", True), World())
    assert phases.norms(0) is None


def test_norms_of_split_networks_cannot_change():
    overrides = ["DIST.STRATEGY", "fsdp"]
    with pytest.raises(ValueError, match="set it to 0, or DIST.STRATEGY to 'ddp'"):
        Phases.from_cfg(grid_cfg(*overrides), World(0, 8))
    assert Phases.from_cfg(grid_cfg(*overrides, "MULTIGRID.BN_BASE_SIZE", 0), World(0, 8))


def test_entering_a_phase_changes_the_norms_once():
    phases = Phases.from_cfg(grid_cfg("TRAIN.BATCH_SIZE", 8), World())
    net = nn.Sequential(nn.BatchNorm3d(2))
    weight, names = net[0].weight, list(net.state_dict())
    assert [phases.enter(epoch, net) for epoch in (0, 1, 73)] == [True, False, True]
    assert net[0].splits == 4
    assert net[0].weight is weight and list(net.state_dict()) == names
    assert phases.enter(142, net) and type(net[0]) is nn.BatchNorm3d


@pytest.mark.parametrize("name", ["SlowFast", "ResNet", "X3D", "UniFormer", "MViT", "R2Plus1D"])
def test_a_network_takes_every_shape(name):
    cfg = grid_cfg(
        *("MODEL.MODEL_NAME", name, "MODEL.NUM_CLASSES", 5, "RESNET.DEPTH", 50),
        *("RESNET.WIDTH_PER_GROUP", 8, "X3D.WIDTH_FACTOR", 0.25, "X3D.DIM_C5", 16),
        *("MVIT.DEPTH", 1, "MVIT.EMBED_DIM", 8, "MVIT.NUM_HEADS", 1),
        *("UNIFORMER.DEPTH", [1, 1, 1, 1], "UNIFORMER.EMBED_DIM", [16, 16, 32, 32]),
        *("UNIFORMER.HEAD_DIM", 16, "DATA.NUM_FRAMES", 8, "DATA.TRAIN_CROP_SIZE", 64),
    )
    cfg.MODEL.ARCH = {"ResNet": "slow", "X3D": "x3d"}.get(name, cfg.MODEL.ARCH)
    net = build_model(cfg).train()
    for shape in Phases.from_cfg(cfg, World()).grid.shapes:
        clip = torch.randn(2, 3, shape.num_frames, shape.crop, shape.crop)
        assert net(clip).shape == (2, 5)
        with torch.no_grad():
            assert net.eval()(clip).shape == (2, 5)
        net.train()
