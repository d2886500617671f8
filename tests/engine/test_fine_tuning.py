"""Trainings that start from another one's weights, and what of the network they change."""

import json

import pytest
import torch

from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.engine import train
from slowfast.engine.files.checkpoint import read
from slowfast.engine.precise_bn import precise_statistics
from slowfast.models import build_model

STEPS = ("SOLVER.STEPS", [0], "SOLVER.LRS", [1.0])
FIRST, LAST = (f"checkpoints/checkpoint_epoch_0000{epoch}.pyth" for epoch in (1, 2))


@pytest.fixture(scope="module")
def finished(motion, tmp_path_factory):
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("run")
    train(tiny_cfg(motion, folder))
    return folder


@pytest.fixture
def run_from(motion, finished, tmp_path):
    """Train with some settings from the first epoch of the finished run; the last checkpoint."""

    def run(*overrides):
        path = ("TRAIN.CHECKPOINT_FILE_PATH", str(finished / FIRST))
        cfg = tiny_cfg(motion, tmp_path, *path, *overrides)
        train(cfg)
        return read(tmp_path / f"checkpoints/checkpoint_epoch_{cfg.SOLVER.MAX_EPOCH:05d}.pyth")

    return run


def changed(state, before) -> set[str]:
    pairs = state["model_state"], before["model_state"]
    return {name for name, tensor in pairs[0].items() if not torch.equal(tensor, pairs[1][name])}


def curve(folder) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["_type"] == "train_iter"}


def test_by_default_a_training_starts_at_its_first_epoch(run_from, finished, tmp_path):
    run_from("SOLVER.MAX_EPOCH", 1)
    assert min(curve(tmp_path)) == min(curve(finished))


def test_without_the_reset_it_goes_on_as_if_it_had_never_stopped(run_from, finished, tmp_path):
    state = run_from("TRAIN.CHECKPOINT_EPOCH_RESET", False)
    assert not changed(state, read(finished / LAST))
    later = {step: loss for step, loss in curve(finished).items() if step in curve(tmp_path)}
    assert curve(tmp_path) == later and len(later) == len(curve(finished)) // 2


def test_a_linear_probe_changes_the_classifier_alone(run_from, finished):
    state = run_from("MODEL.DETACH_FINAL_FC", True, "SOLVER.MAX_EPOCH", 1)
    assert changed(state, read(finished / FIRST)) == {"projection.weight", "projection.bias"}
    kept = [len(group["params"]) for group in state["optimizer_state"]["param_groups"]]
    assert kept == [2]


def test_frozen_norms_keep_their_statistics_over_epochs_and_validations(run_from, finished):
    names = changed(run_from("MODEL.FROZEN_BN", True), read(finished / FIRST))
    assert not any("running" in name or "batches" in name for name in names)
    assert "stages.0.bn1_2.weight" in names and "stages.0.conv1.space.weight" in names


def test_precise_statistics_are_those_of_the_weights_in_the_checkpoint(run_from, motion, tmp_path):
    state = run_from("BN.USE_PRECISE_STATS", True, "BN.NUM_BATCHES_PRECISE", 3)
    cfg = tiny_cfg(motion, tmp_path)
    model = build_model(cfg)
    model.load_state_dict(state["model_state"])
    loader = build_loader(cfg, "train")
    loader.set_epoch(1)  # the one that has ended
    precise_statistics(model, loader, 3)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state["model_state"][name], tensor, msg=name)


def test_the_estimate_leaves_the_loss_curve_alone(run_from, finished, tmp_path):
    run_from("TRAIN.CHECKPOINT_EPOCH_RESET", False, "BN.USE_PRECISE_STATS", True)
    assert curve(tmp_path).items() <= curve(finished).items()


def test_layers_learn_at_rates_of_their_own(run_from):
    numbers = ("SOLVER.LAYER_DECAY", 0.5, "SOLVER.REFERENCE_BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 1)
    state = run_from(*numbers, "SOLVER.LR_POLICY", "steps_with_relative_lrs", *STEPS)
    rates = {group["lr"] for group in state["optimizer_state"]["param_groups"]}
    top = 0.05 * 8 / 2  # BASE_LR, and 8 videos for rates that were meant for 2
    assert rates == {top, top / 2, top / 4, top / 8}  # classifier, two blocks, stem


@pytest.mark.parametrize("kind", ["sub_batchnorm", "sync_batchnorm"])
def test_checkpoints_have_the_names_of_plain_norms(run_from, finished, kind):
    state = run_from("BN.NORM_TYPE", kind, "BN.NUM_SPLITS", 2, "SOLVER.MAX_EPOCH", 1)
    assert list(state["model_state"]) == list(read(finished / FIRST)["model_state"])
