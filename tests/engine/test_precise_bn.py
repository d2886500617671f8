import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, clip_of, perturb
from helpers.processes import run_processes
from slowfast.datasets import Batch, Failure
from slowfast.engine.precise_bn import precise_statistics
from slowfast.engine.processes.world import World
from slowfast.layers.norms import convert_norms
from slowfast.models import FrameFlexible

COUNTS = (2, 4)


def flexible(**options) -> FrameFlexible:
    torch.manual_seed(0)
    return perturb(FrameFlexible(ForeignNet(**options), COUNTS))


def batch_of(*clips: torch.Tensor) -> Batch:
    videos = len(clips[0])
    return Batch(clips, torch.zeros(videos, dtype=torch.int64), torch.arange(videos))


def batches_of(number: int, videos: int = 4, counts=COUNTS) -> list[Batch]:
    return [batch_of(*(b + clip_of(t, videos, seed=b) for t in counts)) for b in range(number)]


def unreadable() -> Batch:
    failures = (Failure(7, "a.mp4", "a.mp4 is damaged"),)
    empty = torch.empty(0, dtype=torch.int64)
    return Batch(tuple(clip_of(t, 0) for t in COUNTS), empty, empty, failures)


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: b.clone() for n, b in model.state_dict().items() if "running_" in n}


def test_statistics_are_those_of_fvcore_on_a_plain_network():
    from fvcore.nn.precise_bn import update_bn_stats  # slow to import, in every process

    model = perturb(ForeignNet()).double()
    reference = copy.deepcopy(model).train()
    batches = [batch_of(batch.clips[0].double()) for batch in batches_of(5, counts=(3,))]
    update_bn_stats(reference, [batch.clips[0] for batch in batches], num_iters=5)
    assert precise_statistics(model, batches, 5)
    found, expected = statistics(model), statistics(reference)
    values = 5 * 4 * 3 * 2 * 2  # batches, videos, frames, and pixels behind the stem
    for name, tensor in expected.items():
        if name.endswith("var"):
            tensor = tensor * values / (values - 1)  # fvcore's is that of the values themselves
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_every_rate_has_the_statistics_of_its_own_clips():
    model, batches = flexible().double(), batches_of(3)
    batches = [batch_of(*(clip.double() for clip in batch.clips)) for batch in batches]
    precise_statistics(model, batches, 3)
    for rate, num_frames in enumerate(COUNTS):
        seen = torch.cat([model.net.stem(batch.clips[rate]) for batch in batches])
        seen = seen.transpose(0, 1).flatten(1)
        state = model.state_dict()
        torch.testing.assert_close(state[f"bn_{num_frames}.running_mean"], seen.mean(1))
        torch.testing.assert_close(state[f"bn_{num_frames}.running_var"], seen.var(1))


def test_only_statistics_change():
    model = flexible(dropout=0.5).train()
    model.net.block.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    precise_statistics(model, batches_of(2), 2)
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == set(statistics(model))
    assert [module.training for module in model.modules()] == modes
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm3d)} == {0.1}


def test_no_more_batches_are_read_than_wanted():
    model, same, batches = flexible(), flexible(), batches_of(5)
    rest = iter(batches)
    precise_statistics(model, rest, 2)
    precise_statistics(same, batches[:2], 200)  # nor more than there are
    torch.testing.assert_close(statistics(model), statistics(same))
    assert len(list(rest)) == 3


def test_training_goes_on_as_if_nothing_had_been_estimated():
    def trained(estimate: bool) -> dict:
        model = flexible()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for batch in batches_of(3):
            model.train()
            sum(logits.square().sum() for logits in model(batch.clips)).backward()
            optimizer.step()
            if estimate:
                precise_statistics(model, batches_of(2), 2)
        return dict(model.named_parameters())

    torch.testing.assert_close(trained(True), trained(False), rtol=0, atol=0)


def test_parts_of_a_batch_are_normalised_one_by_one_as_in_training():
    model, same = flexible(), flexible()
    precise_statistics(model, batches_of(2), 2, micro_batches=2)
    halves = [
        batch_of(*clips)
        for b in batches_of(2)
        for clips in zip(*(c.split(2) for c in b.clips), strict=True)
    ]
    precise_statistics(same, halves, 4)
    torch.testing.assert_close(statistics(model), statistics(same))


def test_a_batch_that_cannot_be_read_is_left_out():
    model, same = flexible(), flexible()
    precise_statistics(model, [unreadable(), *batches_of(2)], 3)
    precise_statistics(same, batches_of(2), 2)
    torch.testing.assert_close(statistics(model), statistics(same))


def test_without_a_readable_batch_the_statistics_stay():
    model = flexible()
    before = statistics(model)
    with pytest.raises(ValueError, match="none of the 2 batches for BN.USE_PRECISE_STATS"):
        precise_statistics(model, [unreadable(), unreadable()], 2)
    torch.testing.assert_close(statistics(model), before, rtol=0, atol=0)


def test_a_network_without_batch_norm_has_nothing_to_estimate():
    assert not precise_statistics(nn.Linear(2, 2), batches_of(1), 1)


def test_a_compiled_network_is_estimated_too():
    model, same = flexible(), flexible()
    model.compile(backend="eager")
    model.train()(batches_of(1)[0].clips)
    same.train()(batches_of(1)[0].clips)
    for net in (model, same):
        precise_statistics(net, batches_of(2), 2)
    torch.testing.assert_close(statistics(model), statistics(same))


def of_a_part(world: World, state: dict, sizes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    model = convert_norms(flexible(), "sync_batchnorm").double()
    model.load_state_dict(state)
    batches = [
        batch_of(*(clip.double().split(sizes)[world.rank] for clip in batch.clips))
        for batch in batches_of(3, videos=sum(sizes))
    ]
    if world.rank == 1:
        batches[1] = unreadable()
    precise_statistics(model, batches, 3, world)
    return statistics(model)


def test_two_processes_estimate_the_statistics_of_both():
    model = flexible().double()
    found = run_processes(of_a_part, 2, model.state_dict(), (4, 2))
    batches = [
        batch_of(*(clip.double() for clip in batch.clips)) for batch in batches_of(3, videos=6)
    ]
    precise_statistics(model, [batches[0], batches[2]], 2)  # one process could not read the other
    for statistics_there in found:
        torch.testing.assert_close(statistics_there, statistics(model), rtol=1e-9, atol=1e-9)


def of_unequal_parts(world: World) -> dict[str, torch.Tensor]:
    model = convert_norms(flexible(), "sync_batchnorm")
    (batch,) = batches_of(1, videos=6)
    mine = batch_of(*(clip.split([4, 2])[world.rank] for clip in batch.clips))
    precise_statistics(model, [mine], 1, world, micro_batches=4)
    return statistics(model)


def test_processes_split_a_batch_into_equally_many_parts_where_one_could_read_fewer():
    one, other = run_processes(of_unequal_parts, 2, timeout=30)
    torch.testing.assert_close(one, other)
