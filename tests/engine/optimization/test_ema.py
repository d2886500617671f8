import copy

import pytest
import torch
from torch import nn

from helpers.runs import tiny_cfg
from slowfast.engine.optimization.ema import Ema, build_ema

DECAY = 0.75


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def change(model: nn.Module, seed: int) -> nn.Module:
    """`model` itself as a step might leave it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator).to(tensor))
            else:
                tensor.add_(7)
    return model


def trained(model: nn.Module, ema: Ema, seeds: range) -> list[dict]:
    """The states after each update."""
    states = []
    for seed in seeds:
        ema.update(change(model, seed))
        states.append(copy.deepcopy(model.state_dict()))
    return states


def test_the_average_is_the_weighted_sum_of_all_steps():
    model = net()
    ema = Ema(model, DECAY)
    states = trained(model, ema, range(4))
    weights = [DECAY**3, *((1 - DECAY) * DECAY**k for k in (2, 1, 0))]
    for name, average in ema.whole().state_dict().items():
        if average.is_floating_point():
            pairs = zip(weights, states, strict=True)
            torch.testing.assert_close(average, sum(w * state[name] for w, state in pairs))


def test_counters_are_those_of_the_network():
    model = net()
    ema = Ema(model, DECAY)
    trained(model, ema, range(3))
    assert ema.whole()[1].num_batches_tracked == model[1].num_batches_tracked == 21


def test_the_network_itself_is_left_alone_and_its_average_needs_no_gradient():
    model = net()
    before = copy.deepcopy(model.state_dict())
    ema = Ema(model, DECAY)
    ema.update(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in ema.whole().parameters())


def test_the_state_has_the_names_of_the_network_and_goes_on_bit_for_bit():
    model = net()
    ema = Ema(model, DECAY)
    trained(model, ema, range(3))
    state, half = copy.deepcopy(ema.state_dict()), copy.deepcopy(model)
    assert state["model_state"].keys() == model.state_dict().keys()
    trained(model, ema, range(3, 6))
    resumed = Ema(net(), DECAY)
    resumed.load_state_dict(state)
    trained(half, resumed, range(3, 6))
    assert resumed.state_dict()["updates"] == 6
    expected = ema.whole().state_dict()
    assert all(torch.equal(v, expected[name]) for name, v in resumed.whole().state_dict().items())


@pytest.mark.parametrize(("decay", "kind"), [(0.0, type(None)), (0.99, Ema)])
def test_the_configuration_says_whether_there_is_an_average(tmp_path, decay, kind):
    cfg = tiny_cfg(tmp_path, tmp_path, "TRAIN.EMA_DECAY", decay)
    assert isinstance(build_ema(net(), cfg), kind)
