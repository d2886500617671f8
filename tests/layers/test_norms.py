import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from helpers.processes import run_processes
from slowfast.engine.processes.world import World
from slowfast.layers.norms import SubBatchNorm, SyncBatchNorm, convert_norms
from slowfast.models.flexible import FrameFlexible, checkpoint, specialize

HALVES = [torch.bfloat16, torch.float16]
KINDS = [("sub_batchnorm", {"splits": 2}), ("sync_batchnorm", {})]


class CheckpointedNet(ForeignNet):
    def forward(self, clip):
        x = checkpoint(self.block, self.bn(self.stem(clip)).relu())
        return self.fc(x.mean((2, 3, 4)))


def a_norm(dims: int = 3, **kwargs) -> nn.Module:
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    return perturb(kind(4, **kwargs))


def converted(norm: nn.Module, kind: str, **kwargs) -> nn.Module:
    return convert_norms(nn.Sequential(copy.deepcopy(norm)), kind, **kwargs)[0]


def batch_of(size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Each video with a mean and a scale of its own, as real ones have."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(size, 4, 2, 3, 3, generator=generator, dtype=torch.float64)
    offset = torch.randn(size, 4, 1, 1, 1, generator=generator, dtype=torch.float64)
    return (x * offset.exp() + 3 * offset).to(dtype)


def train_step(model: nn.Module, x: torch.Tensor, weights: torch.Tensor) -> dict:
    """All there is to see of a forward and a backward pass."""
    x = x.clone().requires_grad_()
    y = model.train()(x)
    (y * weights).sum().backward()
    found = {f"d_{name}": p.grad for name, p in model.named_parameters()}
    return {"y": y.detach(), "d_x": x.grad, **found, **dict(model.named_buffers())}


# ---------------------------------------------------------------------------- conversion


@pytest.mark.parametrize(("kind", "numbers"), KINDS)
def test_conversion_keeps_parameters_buffers_and_names(kind, numbers):
    net = FrameFlexible(ForeignNet(), (2, 4))
    before = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    names = list(net.state_dict())
    convert_norms(net, kind, **numbers)
    after = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert list(net.state_dict()) == names
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)


@pytest.mark.parametrize(("kind", "numbers"), KINDS)
def test_conversion_reaches_every_private_copy(kind, numbers):
    net = convert_norms(FrameFlexible(ForeignNet(), (2, 4, 8)), kind, **numbers)
    norms = [m for m in net.modules() if isinstance(m, SubBatchNorm | SyncBatchNorm)]
    assert len(norms) == 3 * 3
    assert not any(type(m) is nn.BatchNorm3d for m in net.modules())


def test_a_norm_in_two_places_stays_one():
    norm = nn.BatchNorm3d(4)
    net = convert_norms(nn.Sequential(norm, nn.ReLU(), norm), "sub_batchnorm", splits=2)
    assert net[0] is net[2]


def test_conversion_can_be_undone_and_done_again():
    net = ForeignNet(norm=lambda dim: nn.BatchNorm3d(dim, eps=0.5, momentum=None))
    weight = net.bn.weight
    convert_norms(net, "sub_batchnorm", splits=2)
    convert_norms(net, "sub_batchnorm", splits=4)
    assert net.bn.splits == 4 and net.bn.eps == 0.5
    convert_norms(net, "batchnorm")
    assert type(net.bn) is nn.BatchNorm3d and net.bn.weight is weight
    assert net.bn.eps == 0.5 and net.bn.momentum is None


@pytest.mark.parametrize(("kind", "numbers"), KINDS)
def test_in_evaluation_a_converted_network_is_the_plain_one(kind, numbers):
    plain = perturb(FrameFlexible(ForeignNet(), (2, 4))).eval()
    net = convert_norms(copy.deepcopy(plain), kind, **numbers)
    for num_frames in (2, 4):
        assert torch.equal(net(clip_of(num_frames)), plain(clip_of(num_frames)))


@pytest.mark.parametrize(("kind", "numbers"), KINDS)
def test_converted_norms_are_folded_like_plain_ones(kind, numbers):
    def block():
        return nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(1))

    net = convert_norms(perturb(block()), kind, **numbers)
    folded = specialize(net, 4)
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(clip_of(4)), net.eval()(clip_of(4)))


def test_a_norm_with_a_computation_of_its_own_is_named():
    class NormAndActivation(nn.BatchNorm3d):
        def forward(self, x):
            return super().forward(x).relu()

    net = nn.Sequential(nn.ReLU(), NormAndActivation(4))
    with pytest.raises(ValueError, match="'1', a NormAndActivation"):
        convert_norms(net, "sync_batchnorm")
    assert convert_norms(net, "batchnorm") is net


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "groupnorm"}, "BN.NORM_TYPE='groupnorm' must be one of batchnorm"),
        ({"kind": "sub_batchnorm", "splits": 0}, "BN.NUM_SPLITS=0"),
        ({"kind": "sync_batchnorm", "processes": -1}, "BN.NUM_SYNC_DEVICES=-1"),
    ],
)
def test_unusable_numbers_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        convert_norms(ForeignNet(), **arguments)


def test_the_wrong_number_of_dimensions_is_an_error_as_before():
    with pytest.raises(ValueError, match="expected 5D input"):
        converted(nn.BatchNorm3d(4), "sub_batchnorm", splits=2)(torch.zeros(2, 4, 3, 3))


# ---------------------------------------------------------------------------- parts


def test_each_part_is_normalised_as_by_a_norm_of_its_own():
    x, plain = batch_of(6), a_norm().double()
    sub = converted(plain, "sub_batchnorm", splits=3)
    expected = torch.cat([copy.deepcopy(plain)(part) for part in x.split(2)])
    torch.testing.assert_close(sub(x), expected)


def test_gradients_of_parts_are_those_of_norms_of_their_own():
    x, plain = batch_of(6), a_norm().double()
    weights = torch.randn(x.shape, dtype=x.dtype)
    sub = train_step(converted(plain, "sub_batchnorm", splits=3), x, weights)
    parts = [
        train_step(copy.deepcopy(plain), a, b)
        for a, b in zip(x.split(2), weights.split(2), strict=True)
    ]
    torch.testing.assert_close(sub["d_x"], torch.cat([part["d_x"] for part in parts]))
    torch.testing.assert_close(sub["d_weight"], sum(part["d_weight"] for part in parts))


@pytest.mark.parametrize("splits", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_of_parts_are_those_of_the_whole_batch(splits, momentum):
    plain = a_norm(momentum=momentum).double()
    sub = converted(plain, "sub_batchnorm", splits=splits)
    for norm in (plain, sub):
        norm(batch_of(5))
        norm(batch_of(7) * 2)
    torch.testing.assert_close(dict(sub.named_buffers()), dict(plain.named_buffers()))


def test_parts_are_fewer_where_one_would_hold_a_single_value():
    plain = a_norm(1).double()
    sub = converted(plain, "sub_batchnorm", splits=4)
    x = batch_of(5)[..., 0, 0, 0]
    expected = torch.cat([copy.deepcopy(plain)(part) for part in (x[:3], x[3:])])
    torch.testing.assert_close(sub(x), expected)


# ---------------------------------------------------------------------------- processes


def step_of_a_part(world, norm, x, weights, sizes, **kwargs):
    norm = converted(norm, "sync_batchnorm", **kwargs)
    own = [part[world.rank] for part in (x.split(sizes), weights.split(sizes))]
    return train_step(norm, *own)


def joined(answers: list[dict]) -> dict:
    """What the processes found, as one process on the joint batch would have."""
    found = {name: torch.cat([a[name] for a in answers]) for name in ("y", "d_x")}
    sums = {name: sum(a[name] for a in answers) for name in ("d_weight", "d_bias")}
    return answers[0] | found | {n: s for n, s in sums.items() if n in answers[0]}


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (1, 5), (6, 0)])
def test_two_processes_see_the_batch_of_both(sizes):
    x, norm = batch_of(6), a_norm().double()
    weights = torch.randn(x.shape, dtype=x.dtype)
    answers = run_processes(step_of_a_part, 2, norm, x, weights, sizes)
    expected = train_step(norm, x, weights)
    torch.testing.assert_close(joined(answers), expected, rtol=1e-9, atol=1e-9)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(answers[0][name], answers[1][name])


def test_alone_a_synchronised_norm_is_a_plain_one():
    x, norm = batch_of(3), a_norm().double()
    weights = torch.randn(x.shape, dtype=x.dtype)
    sync = converted(norm, "sync_batchnorm")
    assert isinstance(sync, SyncBatchNorm)
    found, expected = train_step(sync, x, weights), train_step(norm, x, weights)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def several_norms(world, x):
    """Answers of this process for norms of other kinds, and the sizes of groups it refused."""
    found = {}
    own = x.tensor_split(world.size)[world.rank]
    pair = converted(a_norm().double(), "sync_batchnorm", processes=2)
    found["pair"] = pair(own).detach()
    found["copied"] = copy.deepcopy(pair)(own).detach()
    norm = converted(a_norm(momentum=None).double(), "sync_batchnorm")
    norm(own), norm(own + 1)
    found["cumulative"] = dict(norm.named_buffers())
    rows = converted(a_norm(1).double(), "sync_batchnorm")
    found["rows"] = rows(own.mean((2, 3, 4))).detach()
    several = converted(a_norm().double(), "sync_batchnorm", processes=8)
    found["more than there are"] = several(own).detach()
    bare = converted(nn.BatchNorm3d(4, affine=False, track_running_stats=False), "sync_batchnorm")
    found["bare"] = bare(own).detach()
    for dtype in HALVES:
        half, x_half = converted(a_norm(), "sync_batchnorm"), own.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype):
            y = half(x_half)
        y.float().square().sum().backward()
        found[dtype] = y.detach(), x_half.grad, half.weight.grad
    with pytest.raises(ValueError, match="BN.NUM_SYNC_DEVICES=3 must divide the 4 processes"):
        convert_norms(ForeignNet(), "sync_batchnorm", processes=3)
    return found


@pytest.fixture(scope="module")
def of_four():
    x = batch_of(8)
    return x, run_processes(several_norms, 4, x)


@pytest.mark.parametrize("name", ["pair", "copied"])
def test_neighbours_in_rank_share_statistics_and_others_do_not(of_four, name):
    x, answers = of_four
    found = torch.cat([answer[name] for answer in answers])
    norm = a_norm().double()
    torch.testing.assert_close(found, torch.cat([norm(x[:4]), norm(x[4:])]).detach())


def test_rows_of_features_are_synchronised_too(of_four):
    x, answers = of_four
    found = torch.cat([answer["rows"] for answer in answers])
    torch.testing.assert_close(found, a_norm(1).double()(x.mean((2, 3, 4))).detach())


def test_more_processes_than_there_are_is_all_of_them(of_four):
    x, answers = of_four
    found = torch.cat([answer["more than there are"] for answer in answers])
    torch.testing.assert_close(found, a_norm().double()(x).detach())


def test_a_cumulative_average_counts_joint_batches(of_four):
    x, answers = of_four
    norm = a_norm(momentum=None).double()
    norm(x), norm(x + 1)
    torch.testing.assert_close(answers[2]["cumulative"], dict(norm.named_buffers()))


def test_a_norm_without_weights_and_statistics_is_synchronised_too(of_four):
    x, answers = of_four
    norm = nn.BatchNorm3d(4, affine=False, track_running_stats=False)
    found = torch.cat([answer["bare"] for answer in answers])
    torch.testing.assert_close(found, norm(x))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_keeps_its_type_and_is_computed_in_float32(of_four, dtype):
    x, answers = of_four
    norm, whole = a_norm(), x.to(dtype).requires_grad_()
    y = norm(whole)
    y.float().square().sum().backward()
    expected = y.detach(), whole.grad, norm.weight.grad
    found = [torch.cat([a[dtype][i] for a in answers]) for i in range(2)]
    found.append(sum(a[dtype][2] for a in answers))
    assert found[0].dtype == found[1].dtype == dtype
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.05)


# ---------------------------------------------------------------------------- recomputation


def recomputed_step(world, net, kind, numbers):
    """Gradients and statistics of a step over two rates with activations kept and recomputed."""
    clips = [clip_of(n, batch=4, seed=world.rank).double() for n in (2, 4)]
    found = []
    for block in (ForeignNet, CheckpointedNet):
        model = FrameFlexible(block(), (2, 4)).double()
        model.load_state_dict(net)
        convert_norms(model, kind, **numbers).train()
        sum(logits.square().sum() for logits in model(clips)).backward()
        found.append(dict(model.named_buffers()))
        found[-1] |= {name: p.grad for name, p in model.named_parameters()}
    return found


@pytest.mark.parametrize(("kind", "numbers"), KINDS)
def test_recomputed_activations_give_the_same_gradients_and_count_no_batch_twice(kind, numbers):
    net = perturb(FrameFlexible(ForeignNet(), (2, 4))).state_dict()
    for kept, recomputed in run_processes(recomputed_step, 2, net, kind, numbers):
        assert kept["net.bn.copies.2.num_batches_tracked"] == 1
        torch.testing.assert_close(recomputed, kept)


# ---------------------------------------------------------------------------- compilation, GPU


def compiled_steps(world, kind, numbers):
    """What two steps of a compiled network leave behind, and the same without compilation."""
    model = convert_norms(perturb(FrameFlexible(MarkedNet(), (2, 4))), kind, **numbers).train()
    found = []
    for net in (copy.deepcopy(model), model):
        forward = torch.compile(net, backend="aot_eager") if net is model else net
        for _ in range(2):
            clips = [clip_of(n, batch=4, seed=world.rank) for n in (2, 4)]
            sum(z.square().sum() for z in forward(clips)).backward()
        gradients = {f"d_{name}": p.grad for name, p in net.named_parameters()}
        found.append(gradients | dict(net.named_buffers()))
    return found


def test_a_compiled_network_computes_the_same():
    plain, compiled = compiled_steps(World(), "sub_batchnorm", {"splits": 2})
    torch.testing.assert_close(compiled, plain)


@pytest.mark.slow
def test_compiled_networks_in_two_processes_compute_the_same():
    for plain, compiled in run_processes(compiled_steps, 2, "sync_batchnorm", {}):
        torch.testing.assert_close(compiled, plain)


def step_on_the_gpu(world, norm, x, weights, sizes):
    own = step_of_a_part(world, norm.cuda(), x.cuda(), weights.cuda(), sizes)
    return {name: value.cpu() for name, value in own.items()}


@pytest.mark.gpu
def test_two_processes_on_a_gpu_see_the_batch_of_both():
    x, norm = batch_of(6), a_norm().double()
    weights = torch.randn(x.shape, dtype=x.dtype)
    answers = run_processes(step_on_the_gpu, 2, norm, x, weights, (4, 2))
    expected = train_step(norm, x, weights)
    torch.testing.assert_close(joined(answers), expected, rtol=1e-6, atol=1e-6)
