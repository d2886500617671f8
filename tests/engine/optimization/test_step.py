import logging
from dataclasses import replace

import pytest
import torch

from helpers.worlds import (
    Scaled,
    batch_of,
    flexible,
    freeze_statistics,
    gradients,
    gradients_of_step,
    stepper,
)
from slowfast.datasets import Batch
from slowfast.engine.optimization.ema import Ema
from slowfast.engine.optimization.step import split
from slowfast.engine.processes.world import World
from slowfast.objectives import FrameFlexibleTraining

PER_RATE = FrameFlexibleTraining()


def frozen(name="marked"):
    return freeze_statistics(flexible(name))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def plain_gradients(batch: Batch, name: str = "marked") -> dict[str, torch.Tensor]:
    """By one backward pass over the whole batch."""
    model = frozen(name)
    for term in FrameFlexibleTraining(backward="joint")(model, batch):
        term.loss.backward()
    return gradients(model)


# ---------------------------------------------------------------------------- micro batches


@pytest.mark.parametrize("backward", ["per_rate", "joint"])
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_parts_of_any_size_have_the_gradient_of_the_whole(parts, backward):
    batch = batch_of(range(5))
    objective = FrameFlexibleTraining(backward=backward)
    actual = gradients_of_step(frozen(), objective, batch, World(), parts)
    torch.testing.assert_close(actual, plain_gradients(batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["slowfast", "uniformer"])
def test_single_videos_have_the_gradient_of_the_whole(name):
    """A size of 1 leaves strides open, which not every kernel reads as they are meant."""
    batch = batch_of(range(3))
    actual = gradients_of_step(frozen(name), PER_RATE, batch, World(), 3)
    torch.testing.assert_close(actual, plain_gradients(batch, name), rtol=1e-6, atol=1e-9)


def test_parts_share_the_labels_of_mixed_videos():
    batch = batch_of(range(5))
    batch = replace(batch, labels=torch.rand(5, 5).double().softmax(dim=1))
    actual = gradients_of_step(frozen(), PER_RATE, batch, World(), 2)
    torch.testing.assert_close(actual, plain_gradients(batch), rtol=1e-9, atol=1e-12)


def test_the_record_of_parts_is_that_of_the_whole():
    whole, parts = (
        stepper(frozen(), PER_RATE, World(), micro_batches=n)(batch_of(range(5))) for n in (1, 3)
    )
    assert set(whole) == {"loss", "ce_4", "kl_2", "top1_2", "top1_4", "grad_norm"}
    torch.testing.assert_close(
        {name: value.double() for name, value in parts.items()},
        {name: value.double() for name, value in whole.items()},
    )
    torch.testing.assert_close(whole["loss"], whole["ce_4"] + whole["kl_2"])


def test_norms_see_the_parts():
    model, alone = flexible("marked"), flexible("marked")
    stepper(model, PER_RATE, World(), micro_batches=2)(batch_of(range(4)))
    with torch.no_grad():
        for videos in ((0, 1), (2, 3)):
            alone(batch_of(videos).clips)
    buffers = dict(alone.named_buffers())
    for name, value in model.named_buffers():
        torch.testing.assert_close(value, buffers[name], msg=name)


def test_splitting_keeps_every_video_with_its_views():
    clips = (torch.arange(10).view(10, 1, 1, 1, 1), 10 * torch.arange(10).view(10, 1, 1, 1, 1))
    paths = tuple("abcde")
    batch = Batch(clips, torch.arange(5), torch.arange(5), num_views=2, paths=paths)
    parts = split(batch, 2)
    assert [len(part) for part in parts] == [3, 2]
    assert [part.paths for part in parts] == [("a", "b", "c"), ("d", "e")]
    for i, clip in enumerate(clips):
        assert torch.equal(torch.cat([part.clips[i] for part in parts]), clip)
        assert len(parts[0].clips[i]) == 6
    assert torch.cat([part.labels for part in parts]).tolist() == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------------- one step


def test_a_step_moves_the_weights_against_the_gradient():
    model, batch = frozen(), batch_of(range(4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    stepper(model, PER_RATE, World())(batch)
    for name, gradient in plain_gradients(batch).items():
        moved = before[name] - 0.1 * gradient
        torch.testing.assert_close(model.get_parameter(name).detach(), moved, msg=name)


def test_a_gradient_is_looked_at_before_it_is_clipped():
    batch, seen = batch_of(range(4)), {}
    model = frozen()
    step = stepper(
        model,
        PER_RATE,
        World(),
        clip_norm=1e-3,
        check=lambda record, _batch: seen.update(gradients(model)),
    )
    record = step(batch)
    expected = plain_gradients(batch)
    torch.testing.assert_close(seen, expected)
    norm = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    torch.testing.assert_close(record["grad_norm"], norm)
    clipped = torch.cat([gradient.flatten() for gradient in gradients(model).values()])
    torch.testing.assert_close(clipped.norm().item(), 1e-3, rtol=1e-3, atol=0)


def test_entries_are_clipped_where_the_objective_learns_nothing_itself():
    batch, model = batch_of(range(4)), frozen()
    stepper(model, PER_RATE, World(), clip_value=0.02)(batch)
    for name, gradient in plain_gradients(batch).items():
        clipped = gradient.clamp(-0.02, 0.02)
        torch.testing.assert_close(model.get_parameter(name).grad, clipped, msg=name)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_what_an_objective_learns_is_clipped_with_the_network(clip):
    """The scale's gradient is the sum of the losses, many times that of any weight."""
    batch, model, objective = batch_of(range(4)), frozen(), Scaled()
    record = stepper(model, objective, World(), **{clip: 0.02})(batch)
    whole = 3 * torch.cat([g.flatten() for g in plain_gradients(batch).values()])
    whole = torch.cat([whole, record["loss"].view(1) / 3])
    torch.testing.assert_close(record["grad_norm"], whole.norm())
    expected = whole.clamp(-0.02, 0.02) if clip == "clip_value" else whole * 0.02 / whole.norm()
    found = [*gradients(model).values(), objective.scale.grad]
    torch.testing.assert_close(torch.cat([g.flatten() for g in found]), expected, rtol=1e-4, atol=0)


def test_a_step_that_the_check_refuses_changes_no_weight_and_no_average():
    model = frozen()
    ema = Ema(model, 0.5)
    before = state_of(model)
    step = stepper(model, PER_RATE, World(), check=lambda *_: False, ema=ema)
    assert step(batch_of(range(4))) == {}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not step.optimizer.state_dict()["state"]
    assert ema.state_dict()["updates"] == 0


def test_a_gradient_that_overflows_leaves_no_trace_in_averages():
    model, batch = frozen().float(), batch_of(range(4))
    batch = replace(batch, clips=tuple(clip.float() for clip in batch.clips))
    ema, before = Ema(model, 0.5), state_of(model)
    step = stepper(model, PER_RATE, World(), amp_dtype=torch.float16, ema=ema)
    step.scaler.load_state_dict(step.scaler.state_dict() | {"scale": 2.0**120})
    record = step(batch)
    assert record["loss"].isfinite() and "grad_norm" not in record
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert ema.state_dict()["updates"] == 0
    assert step.scaler.get_scale() == 2.0**119


def test_the_average_of_the_weights_follows_every_step():
    model = frozen()
    ema = Ema(model, 0.5)
    step = stepper(model, PER_RATE, World(), ema=ema)
    for seed in range(2):
        step(batch_of(range(4 * seed, 4 * seed + 4)))
    assert ema.state_dict()["updates"] == 2


def test_a_step_without_videos_is_left_out_and_said(caplog):
    model = frozen()
    before = state_of(model)
    with caplog.at_level(logging.WARNING, logger="slowfast"):
        assert stepper(model, PER_RATE, World())(batch_of([])) == {}
    assert "no video of process 0 could be read" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_objective_that_yields_more_terms_than_it_says_is_noticed():
    class Longer(FrameFlexibleTraining):
        def num_terms(self, batch):
            return super().num_terms(batch) - 1

    with pytest.raises(AssertionError, match="more terms than num_terms"):
        stepper(frozen(), Longer(), World())(batch_of(range(2)))


@pytest.mark.parametrize(("backward", "rates"), [("per_rate", 1), ("joint", 2)])
def test_a_step_keeps_the_rates_of_one_term_in_memory(backward, rates):
    alive, most = set(), 0

    def pack(tensor):
        nonlocal most
        kept = _Kept(tensor, alive)
        most = max(most, len({size for _, size in alive}))
        return kept

    batch = batch_of(range(4))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        objective = FrameFlexibleTraining(backward=backward)
        stepper(frozen(), objective, World(), micro_batches=2)(batch)
    assert most == rates


class _Kept:
    """A tensor kept for the backward pass; noted by its frames in `alive` while it is."""

    def __init__(self, tensor, alive):
        self.tensor, self.alive = tensor, alive
        self.note = (id(self), tensor.shape[2]) if tensor.ndim == 5 and len(tensor) == 2 else None
        if self.note:
            alive.add(self.note)

    def __del__(self):
        self.alive.discard(self.note)
