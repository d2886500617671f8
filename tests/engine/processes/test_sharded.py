"""Processes that split the weights among them train as one that has them all."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from helpers.worlds import Scaled, batch_of, flexible, freeze_statistics, stepper
from slowfast.engine.optimization.ema import Ema
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.precise_bn import precise_statistics
from slowfast.engine.processes.parallel import (
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
    parallel,
    unwrap,
    whole,
)
from slowfast.engine.processes.world import World
from slowfast.engine.train import train
from slowfast.objectives import FrameFlexibleTraining

VIDEOS = 4


def network(act_checkpoint: bool = False) -> nn.Module:
    return freeze_statistics(flexible("uniformer", act_checkpoint))


def training(model: nn.Module, world: World, backward: str, ema: Ema | None = None) -> Stepper:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    objective = FrameFlexibleTraining(backward=backward)
    return Stepper(model, objective, optimizer, world.device, clip_norm=0.05, world=world, ema=ema)


def take_steps(step: Stepper, numbers: range, micro_batches: int = 1) -> list[dict[str, Tensor]]:
    step.micro_batches = micro_batches
    world = step.world
    return [step(batch_of(range(4 * n + world.rank, 4 * n + VIDEOS, world.size))) for n in numbers]


def in_one_process(steps: int) -> tuple[Stepper, Ema, Tensor]:
    model = network()
    ema = Ema(model, 0.5)
    step = training(model, World(), "joint", ema)
    records = take_steps(step, range(steps))
    return step, ema, records[-1]["grad_norm"]


def in_parts(world: World, backward: str, act_checkpoint: bool, micro_batches: int) -> tuple:
    """What came out of three steps, and how much of the weights a process held."""
    model = parallel(network(act_checkpoint), world, "fsdp")
    ema = Ema(model, 0.5)
    step = training(model, world, backward, ema)
    records = take_steps(step, range(3), micro_batches)
    held = sum(parameter.to_local().numel() for parameter in model.parameters())
    share = held / sum(parameter.numel() for parameter in model.parameters())
    states = whole(model).state_dict(), ema.whole().state_dict(), optimizer_state(step.optimizer)
    return *states, records[-1]["grad_norm"], share


@pytest.mark.parametrize(
    ("backward", "act_checkpoint", "micro_batches"),
    [
        ("per_rate", True, 2),
        pytest.param("per_rate", False, 1, marks=pytest.mark.slow),
        pytest.param("joint", True, 1, marks=pytest.mark.slow),
    ],
)
def test_split_weights_take_the_steps_of_whole_ones(backward, act_checkpoint, micro_batches):
    step, ema, norm = in_one_process(3)
    for found in run_processes(in_parts, 2, backward, act_checkpoint, micro_batches):
        model_after, ema_after, optimizer_after, norm_after, share = found
        assert model_after.keys() == step.model.state_dict().keys()
        torch.testing.assert_close(model_after, dict(step.model.state_dict()))
        torch.testing.assert_close(ema_after, dict(ema.whole().state_dict()))
        torch.testing.assert_close(optimizer_after["state"], step.optimizer.state_dict()["state"])
        torch.testing.assert_close(norm_after, norm)
        assert share < 0.6


def clipped(world: World, strategy: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The gradient's norm, and after clipping what the objective and the network have of it."""
    model, objective = parallel(network(), world, strategy), Scaled()
    step = stepper(model, objective, world, clip_norm=0.05)
    (record,) = take_steps(step, range(1))
    found = {n: p.grad for n, p in unwrap(model).named_parameters() if p.grad is not None}
    whole = {n: g.full_tensor() if hasattr(g, "full_tensor") else g for n, g in found.items()}
    return record["grad_norm"], objective.scale.grad, whole


def test_what_an_objective_learns_is_clipped_with_split_weights():
    expected = clipped(World(), "ddp")
    for found in run_processes(clipped, 2, "fsdp"):
        torch.testing.assert_close(found, expected)
    assert 0 < expected[1] < 0.05 < expected[0]


def going_on(world: World, model_before: dict, optimizer_before: dict, ema_before: dict) -> tuple:
    """The states after a third step in these processes, from those after two."""
    model = parallel(flexible("uniformer"), world, "fsdp" if world.size > 1 else "ddp")
    freeze_statistics(model)
    ema = Ema(model, 0.5)
    step = training(model, world, "per_rate", ema)
    load_model_state(model, model_before)
    load_optimizer_state(step.optimizer, optimizer_before)
    ema.load_state_dict(ema_before)
    take_steps(step, range(2, 3))
    return model_state(model), optimizer_state(step.optimizer), ema.state_dict()


def test_split_weights_go_on_from_whole_ones_and_whole_from_split():
    step, ema, _ = in_one_process(2)
    start = copy.deepcopy((step.model.state_dict(), step.optimizer.state_dict(), ema.state_dict()))
    expected = going_on(World(), *copy.deepcopy(start))
    for found in run_processes(going_on, 2, *start):
        model_after, optimizer_after, ema_after = found
        torch.testing.assert_close(model_after, dict(expected[0]))
        torch.testing.assert_close(optimizer_after["state"], expected[1]["state"])
        torch.testing.assert_close(dict(ema_after["model_state"]), dict(expected[2]["model_state"]))


def evaluated(world: World) -> tuple[Tensor, bool]:
    """The logits of the whole copy, and whether training weights and modes stayed."""
    model = parallel(network(), world, "fsdp").train()
    before = model_state(model)
    scorer = whole(model).eval()
    with torch.inference_mode():
        logits = scorer(batch_of(range(2)).clips[0])
    same = all(torch.equal(value, before[name]) for name, value in model_state(model).items())
    return logits, same and unwrap(model).training


def test_a_network_with_split_weights_is_evaluated_as_a_whole_copy():
    expected = network().eval()(batch_of(range(2)).clips[0])
    for logits, unchanged in run_processes(evaluated, 2):
        torch.testing.assert_close(logits, expected)
        assert unchanged


def refused(world: World) -> list[str]:
    """What is said of a network without blocks, and of half precision with scaling."""
    with pytest.raises(ValueError) as without_blocks:
        parallel(flexible("marked"), world, "fsdp")
    model = parallel(network(), world, "fsdp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError) as scaled:
        objective = FrameFlexibleTraining()
        Stepper(model, objective, optimizer, world.device, torch.float16, world=world)
    return [str(error.value) for error in (without_blocks, scaled)]


def test_what_does_not_go_with_split_weights_is_refused_with_the_remedy():
    for without_blocks, scaled in run_processes(refused, 2):
        assert "FrameFlexible has none; take 'ddp'" in without_blocks
        assert "TRAIN.AMP_DTYPE='fp16'" in scaled and "take 'bf16'" in scaled


UNIFORMER = (
    *("MODEL.MODEL_NAME", "UniFormer", "UNIFORMER.DEPTH", [1, 1, 1, 1]),
    *("UNIFORMER.EMBED_DIM", [8, 8, 16, 16], "UNIFORMER.HEAD_DIM", 8),
    *("UNIFORMER.DROP_DEPTH_RATE", 0.0, "MODEL.FROZEN_BN", True),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
    *("DATA.TRAIN_JITTER_SCALES", [32, 36], "SOLVER.OPTIMIZING_METHOD", "adamw"),
    *("SOLVER.BASE_LR", 1e-3, "SOLVER.CLIP_GRAD_L2NORM", 1.0, "TRAIN.EMA_DECAY", 0.9),
)


def weights_of_a_run(world: World, data: Path, output: Path, strategy: str) -> dict:
    cfg = tiny_cfg(data, output, *UNIFORMER, "DIST.STRATEGY", strategy)
    return dict(train(cfg, world).state_dict())


@pytest.mark.slow
def test_a_run_with_split_weights_ends_as_one_without_and_goes_on_without(motion, tmp_path):
    expected = weights_of_a_run(World(), motion, tmp_path / "one", "ddp")
    found = run_processes(weights_of_a_run, 2, motion, tmp_path / "two", "fsdp")
    (tmp_path / "two/checkpoints/checkpoint_epoch_00002.pyth").unlink()
    for state in (*found, weights_of_a_run(World(), motion, tmp_path / "two", "ddp")):
        torch.testing.assert_close(state, expected, rtol=1e-4, atol=1e-5)


def precise(world: World, strategy: str) -> dict[str, Tensor]:
    model = parallel(flexible("uniformer"), world, strategy)
    mine = batch_of(range(world.rank, VIDEOS, world.size))
    precise_statistics(unwrap(model), [mine], 1, world)
    return {name: t for name, t in model_state(model).items() if "running_" in name}


def test_split_weights_get_the_precise_statistics_of_whole_ones():
    split, whole = (run_processes(precise, 2, strategy)[0] for strategy in ("fsdp", "ddp"))
    torch.testing.assert_close(split, whole)
