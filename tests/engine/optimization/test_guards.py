"""What stops a run, what it says, and that a step left out leaves nothing behind."""

import copy
import errno
import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.datasets import Batch
from slowfast.engine import train
from slowfast.engine.optimization.guards import WARM_UP, Guard, is_out_of_memory, memory_remedies
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.processes.world import World
from slowfast.models import FrameFlexible

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def batch() -> Batch:
    clips = tuple(torch.randn(2, 3, t, 4, 4) for t in (2, 4))
    return Batch(clips, torch.tensor([0, 1]), torch.tensor([7, 9]), paths=("a.mp4", "b.mp4"))


@pytest.fixture
def model() -> FrameFlexible:
    net = nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )
    return FrameFlexible(net, (2, 4))


def guard(model, folder, **options) -> Guard:
    made = Guard(model, folder / "dumps", **options)
    made.at(epoch=2, iteration=40)
    return made


def record(loss=1.0, norm=1.0, **parts) -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v) for k, v in {"loss": loss, "grad_norm": norm, **parts}.items()}


def stopped(guard: Guard, *arguments) -> str:
    with pytest.raises(FloatingPointError) as error:
        guard.check(*arguments)
    return str(error.value)


def test_a_sound_step_is_taken_and_nothing_is_written(model, batch, tmp_path):
    assert guard(model, tmp_path).check(record(), batch)
    assert not list(tmp_path.iterdir())


def test_a_bad_loss_names_step_rate_videos_and_remedies(model, batch, tmp_path):
    bad = record(NAN, NAN, ce_4=1.5, kl_2=NAN)
    text = stopped(guard(model, tmp_path), bad, batch)
    for part in ("epoch 3, step 41", "kl_2 nan", "at 2 frames", "a.mp4, b.mp4", "SOLVER.BASE_LR"):
        assert part in text
    assert "ce_4" not in text


def test_a_bad_gradient_names_the_rate_whose_private_layers_have_it(model, batch, tmp_path):
    model(batch.clips[0]).sum().backward()
    switch = model.net[1]
    switch.copies["2"].weight.grad[1] = INF
    text = stopped(guard(model, tmp_path), record(norm=INF), batch)
    assert "the gradient of net.1.copies.2.weight is not finite at 2 frames" in text


def test_a_bad_gradient_of_the_objectives_own_layers_is_said_to_be_theirs(model, batch, tmp_path):
    model(batch.clips[0]).sum().backward()
    text = stopped(guard(model, tmp_path), record(norm=INF), batch)
    assert "the gradient of the objective's own layers is not finite on the videos" in text


def scaler(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


def test_the_message_has_the_loss_scale(model, batch, tmp_path):
    look = guard(model, tmp_path, scaler=scaler(512))
    assert "the loss scale is 512" in stopped(look, record(INF), batch)


def test_an_overflowing_gradient_is_up_to_the_scaler_while_the_scale_can_fall(
    model, batch, tmp_path
):
    assert guard(model, tmp_path, scaler=scaler(2)).check(record(norm=INF), batch)
    text = stopped(guard(model, tmp_path, scaler=scaler(1)), record(norm=INF), batch)
    assert "the loss scale is 1" in text


def test_the_dump_opens_safely_and_has_the_batch_and_the_weights(model, batch, tmp_path):
    text = stopped(guard(model, tmp_path), record(NAN, kl_2=NAN), batch)
    (path,) = (tmp_path / "dumps").iterdir()
    assert path.name == "epoch_00002_step_000040_rank_0.pth" and str(path) in text
    dump = torch.load(path, weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(dump["clips"], batch.clips, strict=True))
    assert dump["paths"] == ["a.mp4", "b.mp4"] and dump["index"].tolist() == [7, 9]
    assert dump["record"]["kl_2"] != dump["record"]["kl_2"]  # NaN
    assert dump["model_state"].keys() == model.state_dict().keys()


def test_a_dump_that_cannot_be_written_hides_nothing(model, batch, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert "a.mp4" in stopped(guard(model, tmp_path), record(NAN), batch)
    assert "No space left" in caplog.text


# ---------------------------------------------------------------------------- steps left out


def test_as_many_steps_as_allowed_are_left_out_and_one_more_stops(model, batch, tmp_path, caplog):
    look = guard(model, tmp_path, skip=2)
    assert [look.check(record(NAN), batch) for _ in range(2)] == [False, False]
    assert look.check(record(), batch)
    assert "2 such steps were left out already" in stopped(look, record(NAN), batch)
    assert "step left out (1 of at most 2)" in caplog.text


def test_a_resumed_run_remembers_the_steps_left_out(model, batch, tmp_path):
    first, second = (guard(model, tmp_path, skip=1) for _ in range(2))
    first.check(record(NAN), batch)
    second.load_state_dict(first.state_dict())
    stopped(second, record(NAN), batch)


def test_a_step_left_out_leaves_network_and_optimiser_as_they_were(model, batch, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(batch.clips[1]).sum().backward()
    optimizer.step()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    look = guard(model, tmp_path, skip=1)
    broken = model(tuple(clip * NAN for clip in batch.clips))
    sum(z.sum() for z in broken).backward()
    assert model.net[1].copies["2"].running_mean.isnan().any()
    assert not look.check(record(NAN), batch)
    after = model.state_dict(), optimizer.state_dict()
    assert all(torch.equal(v, before[0][k]) for k, v in after[0].items())
    state, kept = (s["state"] for s in (after[1], before[1]))
    assert all(
        torch.equal(state[k]["momentum_buffer"], v["momentum_buffer"]) for k, v in kept.items()
    )


@pytest.fixture
def third_step_is_broken(monkeypatch):
    """Makes the clips of a training's third step NaN."""
    backward, steps = Stepper._backward, count(1)

    def broken(self, batch, *rest):
        factor = NAN if next(steps) == 3 else 1.0
        return backward(self, replace(batch, clips=tuple(c * factor for c in batch.clips)), *rest)

    monkeypatch.setattr(Stepper, "_backward", broken)


def test_a_training_goes_on_without_a_broken_step(motion, tmp_path, third_step_is_broken):
    options = ["TRAIN.SKIP_NONFINITE", 1, "SOLVER.MAX_EPOCH", 1, "LOG_PERIOD", 1]
    model = train(tiny_cfg(motion, tmp_path, *options))
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [r["step"] for r in lines if r["_type"] == "train_iter"] == [1, 2, 4]
    assert len(list((tmp_path / "dumps").iterdir())) == 1


def test_an_epoch_may_be_without_a_sound_step(motion, tmp_path, monkeypatch):
    backward = Stepper._backward

    def broken(self, batch, *rest):
        return backward(self, replace(batch, clips=tuple(c * NAN for c in batch.clips)), *rest)

    monkeypatch.setattr(Stepper, "_backward", broken)
    train(tiny_cfg(motion, tmp_path, "TRAIN.SKIP_NONFINITE", 4, "SOLVER.MAX_EPOCH", 1))
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [r["failures"] for r in lines if r["_type"] == "train_epoch"] == [0]


def test_a_training_stops_at_a_broken_step(motion, tmp_path, third_step_is_broken):
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 3: .*ce_4 nan.*train/\d+.mp4"):
        train(tiny_cfg(motion, tmp_path))


# ---------------------------------------------------------------------------- several processes


def _check_in_a_world(world: World, folder: Path, skip: int) -> tuple[bool | str, list[str]]:
    """Rank 1's loss is not finite: the answer, or the error, and the dumps of this process."""
    clips = (torch.zeros(1, 3, 2, 4, 4),)
    mine = Batch(clips, torch.tensor([0]), torch.tensor([0]), paths=(f"{world.rank}.mp4",))
    look = guard(nn.Conv3d(3, 4, 1), folder, world=world, skip=skip)
    try:
        answer = look.check(record(NAN if world.rank else 1.0, ce_2=NAN), mine)
    except FloatingPointError as error:
        answer = str(error)
    return answer, sorted(path.name for path in folder.glob(f"dumps/*rank_{world.rank}.pth"))


def test_all_processes_leave_out_the_step_that_is_bad_in_one(tmp_path):
    answers = run_processes(_check_in_a_world, 2, tmp_path, 1)
    assert [answer for answer, _ in answers] == [False, False]


def test_all_processes_stop_and_name_the_videos_of_the_bad_one(tmp_path):
    (first, _), (second, (dump,)) = run_processes(_check_in_a_world, 2, tmp_path, 0)
    assert first == second
    assert "on the videos 1.mp4" in first and "step_000040_rank_*.pth" in first
    assert dump == "epoch_00002_step_000040_rank_1.pth"


# ---------------------------------------------------------------------------- growth


def test_the_running_mean_is_the_weighted_mean_of_the_losses(model, batch, tmp_path):
    look = guard(model, tmp_path)
    losses = [3.0, 1.0, 2.0]
    for loss in losses:
        look.check(record(loss), batch)
    weights = [0.98**2, 0.98, 1.0]
    expected = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
    assert look.mean_loss == pytest.approx(expected)


def test_a_loss_far_above_its_running_mean_stops(model, batch, tmp_path):
    look = guard(model, tmp_path, max_factor=5.0)
    assert look.check(record(1.0), batch) and look.check(record(9.0), batch)  # warming up
    for _ in range(WARM_UP):
        assert look.check(record(1.0), batch)
    assert look.check(record(4.0), batch)
    text = stopped(look, record(12.0), batch)
    assert "times its running mean" in text and "TRAIN.MAX_LOSS_FACTOR=5" in text
    assert len(list((tmp_path / "dumps").iterdir())) == 1


def test_without_a_factor_the_loss_may_grow(model, batch, tmp_path):
    look = guard(model, tmp_path)
    assert all(look.check(record(10.0**i), batch) for i in range(WARM_UP + 5))


# ---------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_that_runs_out_is_told_with_what_helps(model, batch, tmp_path, error):
    look = guard(model, tmp_path, remedies=("set A", "raise B"))
    with pytest.raises(MemoryError) as raised, look.watch(batch):
        raise error
    text = str(raised.value)
    assert "epoch 3, step 41 with clips of 2x3x2x4x4, 2x3x4x4x4" in text
    assert text.endswith("set A; raise B")


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


def test_other_errors_pass(model, batch, tmp_path):
    with pytest.raises(RuntimeError, match="sizes differ"), guard(model, tmp_path).watch(batch):
        raise RuntimeError("sizes differ")


def test_remedies_are_the_keys_that_are_not_yet_used(tmp_path):
    plain = " ".join(memory_remedies(tiny_cfg(tmp_path, tmp_path, "FFN.BACKWARD", "joint")))
    keys = ["FFN.BACKWARD", "TRAIN.MIXED_PRECISION", "MODEL.ACT_CHECKPOINT", "TRAIN.MICRO_BATCHES"]
    assert all(key in plain for key in keys)
    used = ["TRAIN.MIXED_PRECISION", True, "MODEL.ACT_CHECKPOINT", True, "TRAIN.MICRO_BATCHES", 4]
    (only,) = memory_remedies(tiny_cfg(tmp_path, tmp_path, *used))
    assert "TRAIN.MICRO_BATCHES=4" in only
