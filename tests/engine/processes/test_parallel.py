"""Several processes compute what one would with all their videos."""

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import GradBucket
from torch.futures import Future

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from helpers.worlds import (
    CLASSES,
    batch_of,
    flexible,
    freeze_statistics,
    gradients,
    gradients_of_step,
    stepper,
)
from slowfast.datasets import Batch
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.processes.parallel import Statistics, compiled, parallel, unwrap, whole, wrap
from slowfast.engine.processes.world import World
from slowfast.engine.train import train
from slowfast.layers.norms import convert_norms
from slowfast.objectives import FrameFlexibleTraining, Term

VIDEOS = 8
CASES = list(itertools.product(("frozen", "sync"), ("per_rate", "joint"), (False, True), (1, 2)))


def case_name(case):
    norms, backward, act_checkpoint, parts = case
    return f"{norms}-{backward}-{'recomputed' if act_checkpoint else 'kept'}-{parts}"


# ---------------------------------------------------------------------------- gradients


def in_two_processes(world: World, network: str) -> dict[tuple, dict[str, torch.Tensor]]:
    return {case: gradients_in(world, network, *case) for case in CASES}


def gradients_in(world, network, norms, backward, act_checkpoint, micro_batches):
    model = flexible(network, act_checkpoint)
    if norms == "frozen":
        freeze_statistics(model)
    else:
        convert_norms(model, "sync_batchnorm")
    objective = FrameFlexibleTraining(backward=backward)
    batch = batch_of(range(world.rank, VIDEOS, world.size))
    return gradients_of_step(parallel(model, world), objective, batch, world, micro_batches)


@pytest.fixture(scope="module", params=["slowfast", "uniformer"])
def computed(request):
    return request.param, run_processes(in_two_processes, 2, request.param)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_two_processes_have_the_gradient_of_one_with_all_videos(computed, case):
    network, (first, second) = computed
    norms, backward, _, parts = case
    expected = expected_gradients(network, norms == "frozen", parts)
    for actual in (first[case], second[case]):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


@cache
def expected_gradients(network, frozen, parts):
    """By plain passes over all videos; norms that see the batch see a part of each process's."""
    model = flexible(network)
    if frozen:
        freeze_statistics(model)
    size = VIDEOS // parts
    for start in range(0, VIDEOS, size):
        for term in FrameFlexibleTraining(backward="joint")(
            model, batch_of(range(start, start + size))
        ):
            (term.loss / parts).backward()
    return gradients(model)


SHARES = ((0, 1, 2, 3, 4), (5, 6, 7))  # videos that each process could read


def with_unequal_shares(world: World) -> tuple[dict, dict]:
    """Gradients, and the records of all, of a step whose processes have SHARES."""
    model, batch = freeze_statistics(flexible("marked")), batch_of(SHARES[world.rank])
    objective = FrameFlexibleTraining()
    found = gradients_of_step(
        parallel(copy.deepcopy(model), world), objective, batch, world, micro_batches=2
    )
    step = stepper(parallel(model, world), objective, world)
    return found, step.mean_record(step(batch), len(batch))


def test_unequal_shares_of_the_videos_give_gradient_and_record_of_all():
    model, batch = freeze_statistics(flexible("marked")), batch_of(range(VIDEOS))
    record = stepper(model, FrameFlexibleTraining(), World())(batch)
    for found, mean in run_processes(with_unequal_shares, 2):
        torch.testing.assert_close(found, gradients(model))
        assert mean.keys() == record.keys()
        for name, value in mean.items():
            torch.testing.assert_close(value, record[name].double(), msg=name)


def without_videos(world: World) -> tuple[dict, bool, dict]:
    """A step in which the second process has no video, whether it moved weights; the next step."""
    model = freeze_statistics(flexible("marked"))
    before = copy.deepcopy(model.state_dict())
    step = stepper(parallel(model, world), FrameFlexibleTraining(), world)
    record = step(batch_of(range(4) if world.is_main else ()))
    moved = any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    step(batch_of(range(world.rank, VIDEOS, world.size)))
    return record, moved, gradients(model)


def test_a_step_in_which_one_process_has_no_video_is_left_out_by_all():
    for record, moved, following in run_processes(without_videos, 2):
        assert record == {} and not moved
        torch.testing.assert_close(following, expected_gradients("marked", True, 1))


def exchanges(world: World, backward: str) -> int:
    """How often a step of two parts with two rates exchanges gradients."""
    model, calls = parallel(flexible("marked"), world), []

    def hook(_state: None, bucket: GradBucket) -> Future[torch.Tensor]:
        calls.append(bucket)
        done = Future()
        done.set_result(bucket.buffer())
        return done

    model.register_comm_hook(None, hook)
    step = stepper(model, FrameFlexibleTraining(backward=backward), world, micro_batches=2)
    step(batch_of(range(4)))
    return len(calls)


@pytest.mark.parametrize("backward", ["per_rate", "joint"])
def test_gradients_are_exchanged_once_per_step(backward):
    assert run_processes(exchanges, 2, backward) == [1, 1]


# ---------------------------------------------------------------------------- statistics


def statistics_after_a_step(world: World, norms: str) -> dict[str, torch.Tensor]:
    model = flexible("marked")
    convert_norms(model, norms)
    step = stepper(parallel(model, world), FrameFlexibleTraining(), world)
    step(batch_of(range(world.rank, VIDEOS, world.size)))
    return dict(model.named_buffers())


def statistics_alone(videos) -> dict[str, torch.Tensor]:
    model = flexible("marked")
    with torch.no_grad():
        model(batch_of(videos).clips)
    return dict(model.named_buffers())


def test_running_statistics_of_every_rate_are_the_mean_over_the_processes():
    first, second = (statistics_alone(range(rank, VIDEOS, 2)) for rank in (0, 1))
    for found in run_processes(statistics_after_a_step, 2, "batchnorm"):
        for name, value in found.items():
            mean = (first[name] + second[name]) / 2
            torch.testing.assert_close(value, mean.to(value.dtype), msg=name)


def test_shared_norms_have_the_statistics_of_all_videos():
    expected = statistics_alone(range(VIDEOS))
    for found in run_processes(statistics_after_a_step, 2, "sync_batchnorm"):
        torch.testing.assert_close(found, expected)


def test_norms_in_evaluation_mode_are_not_averaged():
    assert not run_processes(frozen_statistics_change, 2)[1]


def frozen_statistics_change(world: World) -> bool:
    model = freeze_statistics(flexible("marked"))
    for buffer in model.buffers():
        buffer += world.rank
    before = [buffer.clone() for buffer in model.buffers()]
    Statistics(model, world).average()
    return any(not torch.equal(*pair) for pair in zip(before, model.buffers(), strict=True))


# ---------------------------------------------------------------------------- resuming


def trained(world: World, restart: bool) -> dict[str, torch.Tensor]:
    """The network after four steps, all in one run or two in each of two."""
    model, objective = flexible("marked").float(), FrameFlexibleTraining(backward="joint")
    step = start(model, objective, world)
    for number in range(4):
        if restart and number == 2:
            state = copy.deepcopy((model.state_dict(), step.optimizer.state_dict()))
            model = flexible("marked").float()
            model.load_state_dict(state[0])
            step = start(model, objective, world)
            step.optimizer.load_state_dict(state[1])
        batch = batch_of(range(world.rank + 9 * number, 9 * number + 9, world.size))
        clips = tuple(clip.float() for clip in batch.clips)
        step(replace(batch, clips=clips))
    return model.state_dict()


def start(model, objective, world) -> Stepper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Stepper(parallel(model, world), objective, optimizer, world.device, world=world)


def test_three_processes_resume_bit_for_bit():
    (whole_run, *_), (resumed, *others) = (run_processes(trained, 3, r) for r in (False, True))
    for state in (resumed, *others):
        assert all(torch.equal(value, whole_run[name]) for name, value in state.items())


# ---------------------------------------------------------------------------- compilation


def compiled_gradients(world: World, backward: str) -> tuple[int, dict[str, torch.Tensor]]:
    """The number of graphs and the gradients of the second of two steps."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    model = compiled(freeze_statistics(flexible("marked")), counter)
    objective, batch = FrameFlexibleTraining(backward=backward), batch_of(range(world.rank, 8, 2))
    wrapped = parallel(model, world)
    gradients_of_step(wrapped, objective, batch, world)
    return counter.frame_count, gradients_of_step(wrapped, objective, batch, world)


@pytest.mark.slow
def test_a_compiled_network_has_a_graph_per_rate_and_the_same_gradients():
    for graphs, found in run_processes(compiled_gradients, 2, "per_rate"):
        assert graphs == 2
        torch.testing.assert_close(found, expected_gradients("marked", True, 1))


# ---------------------------------------------------------------------------- configuration


def test_one_process_takes_the_network_as_it_is(tmp_path):
    model = flexible("marked")
    assert wrap(model, tiny_cfg(tmp_path, tmp_path), World()) is model
    assert unwrap(model) is whole(model) is model


def test_a_compiled_network_keeps_its_names_and_is_copied_without_its_graphs(tmp_path):
    names = flexible("marked").state_dict().keys()
    model = wrap(flexible("marked"), tiny_cfg(tmp_path, tmp_path, "TRAIN.COMPILE", True), World())
    assert model.state_dict().keys() == names
    assert model._compiled_call_impl is not None
    assert copy.deepcopy(model)._compiled_call_impl is None


def test_compilation_of_split_weights_is_refused_with_the_remedy(tmp_path):
    cfg = tiny_cfg(tmp_path, tmp_path, "TRAIN.COMPILE", True, "DIST.STRATEGY", "fsdp")
    with pytest.raises(ValueError, match="take 'ddp' or set TRAIN.COMPILE False"):
        wrap(flexible("uniformer"), cfg, World())


def test_an_unknown_strategy_names_the_known_ones():
    with pytest.raises(ValueError, match="DIST.STRATEGY='zero' must be one of ddp, fsdp"):
        parallel(nn.Linear(1, 1), World(), "zero")


# ------------------------------------------------------------ what an objective learns itself


class Projected(nn.Module):
    """The cross-entropy of the logits behind a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.projection = nn.Linear(CLASSES, CLASSES).double()

    def num_terms(self, batch: Batch) -> int:
        return len(batch.clips)

    def forward(self, model: nn.Module, batch: Batch) -> Iterator[Term]:
        for clip in batch.clips:
            loss = nn.functional.cross_entropy(self.projection(model(clip)), batch.labels)
            yield Term(loss, {}, {})


def projection_gradient(world: World, shares: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    model, objective = freeze_statistics(flexible("marked")), Projected()
    gradients_of_step(parallel(model, world), objective, batch_of(shares[world.rank]), world)
    return gradients(objective)


def test_the_layers_of_an_objective_have_the_gradient_of_all_videos():
    expected = projection_gradient(World(), [range(VIDEOS)])
    for found in run_processes(projection_gradient, 2, SHARES):
        torch.testing.assert_close(found, expected)


# ---------------------------------------------------------------------------- whole runs


def weights_of_a_run(world: World, data: Path, output: Path, *options: object) -> dict:
    return train(tiny_cfg(data, output, "SOLVER.MAX_EPOCH", 1, *options), world).state_dict()


@pytest.mark.parametrize(
    "options",
    [
        ("BN.NORM_TYPE", "sync_batchnorm"),
        ("MODEL.FROZEN_BN", True, "TRAIN.MICRO_BATCHES", 2, "TRAIN.EMA_DECAY", 0.9),
    ],
    ids=["sync", "frozen"],
)
def test_a_run_of_two_processes_ends_as_that_of_one(motion, tmp_path, options):
    expected = weights_of_a_run(World(), motion, tmp_path / "one", *options)
    for found in run_processes(weights_of_a_run, 2, motion, tmp_path / "two", *options):
        torch.testing.assert_close(found, dict(expected), rtol=1e-4, atol=1e-5)
    records = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("one", "two")]
    one, two = ([json.loads(line) for line in text.splitlines()] for text in records)
    for ours, theirs in zip(two, one, strict=True):
        assert ours.get("loss") == pytest.approx(theirs.get("loss"), abs=2e-5)
