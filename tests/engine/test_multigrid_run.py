"""A multigrid training from start to end, and one that is interrupted."""

import json

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.engine import train
from slowfast.engine.multigrid import Phases
from slowfast.engine.processes.world import World
from slowfast.engine.training import Training

GRID = (
    *("FFN.ENABLE", False, "MULTIGRID.LONG_CYCLE", True, "MULTIGRID.SHORT_CYCLE", True),
    *("MULTIGRID.LONG_CYCLE_FACTORS", [[0.5, 0.75], [1.0, 1.0]], "MULTIGRID.EPOCH_FACTOR", 2.0),
    *("MULTIGRID.SHORT_CYCLE_FACTORS", [0.5], "MULTIGRID.BN_BASE_SIZE", 4),
    *("TRAIN.BATCH_SIZE", 4, "SOLVER.MAX_EPOCH", 2, "LOG_PERIOD", 1, "TEST.NUM_FRAMES", [4]),
    *("SOLVER.STEPS", [0, 1], "SOLVER.LRS", [1, 0.1]),
    *("SOLVER.LR_POLICY", "steps_with_relative_lrs"),
)


def records(folder, kind):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["_type"] == kind]


@pytest.fixture(scope="module")
def whole(motion, tmp_path_factory):
    """The configuration and the network of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    cfg = tiny_cfg(motion, folder, *GRID)
    return cfg, folder, train(cfg)


def test_a_run_goes_through_all_phases(whole):
    cfg, folder, _ = whole
    grid = Phases.from_cfg(cfg, World()).grid
    epochs = records(folder, "train_epoch")
    assert [record["epoch"] for record in epochs] == [*range(1, grid.max_epoch + 1)]
    for epoch, record in enumerate(epochs):
        assert f"ce_{grid.phase(epoch).shape.num_frames}" in record
    assert {phase.shape.num_frames for phase in grid.phases} == {2, 4}


def test_learning_rates_of_a_run_are_those_of_its_phases(whole):
    cfg, folder, _ = whole
    grid = Phases.from_cfg(cfg, World()).grid
    for epoch, record in enumerate(records(folder, "train_epoch")):
        rates = [lr for step, lr in zip(grid.steps, grid.lrs, strict=True) if step <= epoch]
        assert record["lr"] == pytest.approx(cfg.SOLVER.BASE_LR * rates[-1], abs=1e-5)


def test_validations_of_a_run_are_those_of_its_phases(whole):
    cfg, folder, _ = whole
    grid = Phases.from_cfg(cfg, World()).grid
    epochs = range(1, grid.max_epoch + 1)
    expected = [epoch for epoch in epochs if grid.validates_after(epoch)]
    assert [record["epoch"] for record in records(folder, "val_epoch")] == expected
    assert all("top1_4" in record for record in records(folder, "val_epoch"))


def test_a_run_resumed_within_a_short_cycle_equals_one_that_was_not_interrupted(
    whole, motion, tmp_path
):
    cfg = tiny_cfg(
        *(motion, tmp_path, *GRID, "TRAIN.CHECKPOINT_STEPS", 1, "TRAIN.KEEP_CHECKPOINTS", 99)
    )
    train(cfg)
    for file in (tmp_path / "checkpoints").glob("checkpoint_*"):
        if file.stem > "checkpoint_epoch_00001_step_000001":
            file.unlink()
    resumed = train(cfg)
    for name, value in whole[2].state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def trained(world, cfg):
    return dict(train(cfg, world).state_dict())


def test_processes_train_together(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, *GRID)
    first, second = run_processes(trained, 2, cfg)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_rates_train_on_mixed_clips_of_changing_size(motion, tmp_path):
    flexible = ("FFN.ENABLE", True, "MIXUP.ENABLE", True, "TRAIN.MICRO_BATCHES", 2)
    train(tiny_cfg(motion, tmp_path, *GRID, *flexible, "MODEL.LOSS_FUNC", "soft_cross_entropy"))
    for record in records(tmp_path, "train_epoch"):
        assert {"ce_4", "kl_2", "top1_2", "top1_4"} <= record.keys()


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_precise_statistics_are_those_of_whole_clips_in_any_phase(motion, tmp_path, decay):
    def statistics(*overrides):
        bn = ("BN.NUM_BATCHES_PRECISE", 2, "TRAIN.EMA_DECAY", decay)
        cfg = tiny_cfg(motion, tmp_path, *GRID, *bn, *overrides)
        training, loader = Training.from_cfg(cfg), build_loader(cfg, "train")
        training.start_epoch(loader)
        training.estimate_statistics(loader)
        state = training.tested_model.state_dict()
        return {name: value for name, value in state.items() if "run" in name}

    plain = statistics("MULTIGRID.LONG_CYCLE", False, "MULTIGRID.SHORT_CYCLE", False)
    found = statistics()
    assert found and all(torch.equal(found[name], plain[name]) for name in plain)
