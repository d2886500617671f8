"""A run that is interrupted anywhere and taken up again is the run that never was interrupted."""

import json
import os
import signal
from importlib import import_module

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.engine.files.checkpoint import read
from slowfast.engine.processes.preemption import Preempted
from slowfast.engine.processes.world import World
from slowfast.engine.train import train
from slowfast.engine.training import Training

LOOP = import_module("slowfast.engine.train")  # the package has a function of this name

# All that draws random numbers or has a memory: dropout, mixing, augmentation, momentum, averages.
RICH = [
    *("MODEL.DROPOUT_RATE", 0.5, "MIXUP.ENABLE", True, "AUG.ENABLE", True),
    *("AUG.AA_TYPE", "", "TRAIN.EMA_DECAY", 0.9, "LOG_PERIOD", 1, "TRAIN.MAX_LOSS_FACTOR", 1e6),
]
STEPS_PER_EPOCH = 4  # 32 videos, 8 per batch


def interrupted_after(monkeypatch, steps):
    """Make the run get a signal during its step number `steps`, counted over all calls."""
    take_step, taken = LOOP.take_step, []

    def signalled(*args):
        taken.append(1)
        if len(taken) == steps:
            os.kill(os.getpid(), signal.SIGUSR1)
        return take_step(*args)

    monkeypatch.setattr(LOOP, "take_step", signalled)


def curve(folder):
    """All records of a run but for its times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "data_wait")}
        for line in lines
    ]


def final_state(folder):
    return read(folder / "checkpoints/checkpoint_epoch_00002.pyth")


def assert_equal(a, b, path="state"):
    """Equal in every tensor and number, bit for bit."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_equal(*pair, f"{path}[{i}]")
    else:
        assert a == b, path


@pytest.fixture(scope="module")
def whole(motion, tmp_path_factory):
    """The folder of a run of two epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny_cfg(motion, folder, *RICH))
    return folder


@pytest.mark.parametrize(
    ("steps", "workers"), [(1, 0), (3, 2), (STEPS_PER_EPOCH, 0), (STEPS_PER_EPOCH + 2, 1)]
)
def test_a_run_interrupted_at_any_step_ends_the_same(
    whole, motion, tmp_path, monkeypatch, steps, workers
):
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        interrupted_after(patch, steps)
        train(tiny_cfg(motion, tmp_path, *RICH))
    train(tiny_cfg(motion, tmp_path, *RICH, "DATA_LOADER.NUM_WORKERS", workers))
    ours, uninterrupted = final_state(tmp_path), final_state(whole)
    del ours["cfg"], uninterrupted["cfg"]  # the folders and workers differ
    assert_equal(ours, uninterrupted)
    assert curve(tmp_path) == curve(whole)


def test_a_run_interrupted_while_it_validates_ends_the_same(whole, motion, tmp_path, monkeypatch):
    evaluate = LOOP.evaluate

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args)

    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(LOOP, "evaluate", signalled)
        train(tiny_cfg(motion, tmp_path, *RICH))
    assert [record["_type"] for record in curve(tmp_path)][-1] == "train_epoch"
    train(tiny_cfg(motion, tmp_path, *RICH))
    assert curve(tmp_path) == curve(whole)


def test_an_average_that_begins_with_a_resumed_run_begins_with_its_weights(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1))
    training = Training.from_cfg(tiny_cfg(motion, tmp_path, "TRAIN.EMA_DECAY", 0.9))
    training.resume()
    averaged = training.tested_model.state_dict()
    for name, value in training.model.state_dict().items():
        assert torch.equal(averaged[name], value), name


def test_precise_statistics_follow_an_epoch_that_was_interrupted_at_its_last_step(
    motion, tmp_path, monkeypatch
):
    options = ["BN.USE_PRECISE_STATS", True, "BN.NUM_BATCHES_PRECISE", 2, "TRAIN.EMA_DECAY", 0.9]
    train(tiny_cfg(motion, tmp_path / "whole", *options))
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        interrupted_after(patch, STEPS_PER_EPOCH)
        train(tiny_cfg(motion, tmp_path / "parts", *options))
    train(tiny_cfg(motion, tmp_path / "parts", *options))
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_a_run_interrupted_while_it_estimates_statistics_ends_the_same(
    motion, tmp_path, monkeypatch
):
    options = ["BN.USE_PRECISE_STATS", True, "BN.NUM_BATCHES_PRECISE", 3, "TRAIN.EMA_DECAY", 0.9]
    module = import_module("slowfast.engine.training")
    estimate, finished = module.precise_statistics, []

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        finished.append(estimate(*args))

    train(tiny_cfg(motion, tmp_path / "whole", *options))
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(module, "precise_statistics", signalled)
        train(tiny_cfg(motion, tmp_path / "parts", *options))
    assert not finished
    train(tiny_cfg(motion, tmp_path / "parts", *options))
    ours, whole = (final_state(tmp_path / name) for name in ("parts", "whole"))
    assert_equal(ours["model_state"], whole["model_state"])
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_a_checkpoint_that_does_not_fit_is_named_with_the_remedy(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1))
    with pytest.raises(ValueError, match=r"checkpoint_epoch_00001\.pyth .*another OUTPUT_DIR"):
        train(tiny_cfg(motion, tmp_path, "FFN.NUM_FRAMES", [1, 2, 4]))


@pytest.mark.parametrize("methods", [("sgd", "adamw"), ("adamw", "sgd")])
def test_so_is_one_of_another_optimiser(motion, tmp_path, methods):
    before, after = (
        tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", n, "SOLVER.OPTIMIZING_METHOD", method)
        for n, method in enumerate(methods, start=1)
    )
    train(before)
    with pytest.raises(ValueError, match=r"another OUTPUT_DIR.*SOLVER\.OPTIMIZING_METHOD"):
        train(after)


def test_so_is_one_that_another_program_wrote(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1))
    path = tmp_path / "checkpoints/checkpoint_epoch_00001.pyth"
    state = read(path)
    torch.save({name: state[name] for name in ("epoch", "model_state", "optimizer_state")}, path)
    with pytest.raises(ValueError, match=r"has no .*TRAIN\.CHECKPOINT_FILE_PATH"):
        train(tiny_cfg(motion, tmp_path))


def test_a_resumed_run_has_the_decay_and_momentum_of_its_configuration(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1))
    cfg = tiny_cfg(motion, tmp_path, "SOLVER.WEIGHT_DECAY", 0.3, "SOLVER.MOMENTUM", 0.5)
    training = Training.from_cfg(cfg)
    training.resume()
    optimizer = training.step.optimizer
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.3}
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}
    assert all("momentum_buffer" in optimizer.state[p] for p in training.model.parameters())


def test_checkpoints_within_an_epoch_come_every_so_many_steps(motion, tmp_path):
    options = ["TRAIN.CHECKPOINT_STEPS", 3, "TRAIN.KEEP_CHECKPOINTS", 9]
    train(tiny_cfg(motion, tmp_path, *options))
    names = {path.name for path in (tmp_path / "checkpoints").glob("checkpoint_*")}
    assert names == {
        "checkpoint_epoch_00000_step_000003.pyth",
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00001_step_000003.pyth",
        "checkpoint_epoch_00002.pyth",
    }


def train_part(world: World, motion, folder, stop_after: int) -> None:
    cfg = tiny_cfg(motion, folder, "TRAIN.CHECKPOINT_STEPS", 1, "MODEL.FROZEN_BN", True)
    if not stop_after:
        train(cfg, world)
        return
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Preempted):
        interrupted_after(patch, stop_after)
        train(cfg, world)


def test_another_number_of_processes_takes_a_run_up_in_the_middle_of_an_epoch(motion, tmp_path):
    """Frozen statistics: those of a batch would depend on how many processes share it."""
    train_part(World(), motion, tmp_path / "whole", 0)
    run_processes(train_part, 2, motion, tmp_path / "parts", 3)
    train_part(World(), motion, tmp_path / "parts", 0)
    ours, whole = (final_state(tmp_path / name)["model_state"] for name in ("parts", "whole"))
    for name, value in whole.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)
    losses = [
        [record["loss"] for record in curve(tmp_path / name) if record["_type"] == "train_epoch"]
        for name in ("parts", "whole")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4)])
def test_batches_of_another_size_go_on_with_the_learning_rate(
    motion, tmp_path, monkeypatch, before, after
):
    options = ["SOLVER.MAX_EPOCH", 1, "LOG_PERIOD", 1, "TRAIN.BATCH_SIZE"]
    train(tiny_cfg(motion, tmp_path / "whole", *options, after))
    half = 16 // before
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        interrupted_after(patch, half)
        train(tiny_cfg(motion, tmp_path / "parts", *options, before))
    train(tiny_cfg(motion, tmp_path / "parts", *options, after))
    rates, whole = (
        [r["lr"] for r in curve(tmp_path / name) if r["_type"] == "train_iter"]
        for name in ("parts", "whole")
    )
    assert rates[half:] == whole[16 // after :]


def test_a_step_draws_the_same_numbers_whatever_was_drawn_before(motion, tmp_path):
    training = Training.from_cfg(tiny_cfg(motion, tmp_path))
    training.seed_step()
    first = torch.rand(3)
    torch.rand(7)
    training.seed_step()
    assert torch.equal(torch.rand(3), first)
    training.iteration += 1
    training.seed_step()
    assert not torch.equal(torch.rand(3), first)
