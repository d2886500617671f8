"""FrameExit against its released inference code, with a ResNet-50 on ten frames."""

from functools import cache

import pytest
import torch
from torch import Tensor

from helpers.fixture_weights import fill_state_dict, fill_tensor, input_tensor, read_fixture
from slowfast.models import TSN, Exits, FrameExit
from slowfast.weights import load_weights

RECORD = read_fixture("frameexit_r50")
NAMES = list(RECORD["inputs"])
LARGE = "g"  # 224 pixels; all others have 64
RUNS = pytest.mark.parametrize("run", RECORD["runs"], ids=["tuned biases", "biases as filled"])


def clip_of(name: str) -> Tensor:
    """`(1, 3, 10, H, W)` in temporal order."""
    about = RECORD["inputs"][name]
    frames = input_tensor(f"frameexit_{name}", about["shape"]) * about["scale"] + about["shift"]
    return frames.transpose(0, 1)[None]


def released(overrides: dict | None = None) -> dict[str, Tensor]:
    """The checkpoint as it lies on disk."""
    state = fill_state_dict(RECORD["layout"])
    state |= {name: torch.tensor(value) for name, value in (overrides or {}).items()}
    return {f"module.{name}": tensor for name, tensor in state.items()}


@cache
def net() -> FrameExit:
    model = FrameExit(TSN(50), num_classes=200).eval()
    report = load_weights(model, released())
    assert report.format == "frame_exit" and len(report.loaded) == 489 == len(model.state_dict())
    return model


@cache
@torch.no_grad()
def exits(name: str) -> Exits:
    return net()(clip_of(name))


def filled_bias(gate: int) -> float:
    return fill_tensor(f"exit_selector.{gate}.linear.bias", [1], torch.float32).item()


def with_biases_of(run: dict, name: str) -> Exits:
    """What all exits say under the biases of the run, which are the last that a gate adds."""
    said, shift = exits(name), torch.zeros(9)
    for key, (bias,) in run["overrides"].items():
        number = int(key.split(".")[1])
        shift[number] = filled_bias(number) - bias  # ours says the opposite
    return said._replace(gate_logits=said.gate_logits + shift)


def test_the_network_has_the_released_number_of_parameters():
    assert sum(p.numel() for p in net().parameters()) == 44_901_593


@pytest.mark.parametrize("name", NAMES)
def test_every_exit_has_the_released_logits(name):
    expected = torch.tensor(RECORD["all_exits"][name]["logits"])
    logits = exits(name).logits[0, :, : expected.shape[1]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gates_are_the_released_ones_turned_round(name):
    biases = torch.tensor([filled_bias(number) for number in range(9)])
    expected = torch.tensor(RECORD["all_exits"][name]["gate_linear_without_bias"]) + biases
    torch.testing.assert_close(exits(name).gate_logits[0], -expected, atol=1e-4, rtol=1e-5)


@RUNS
@pytest.mark.parametrize("name", NAMES)
def test_soft_gates_and_the_chosen_exit_are_those_of_the_run(run, name):
    said, expected = with_biases_of(run, name), run["results"][name]
    going_on = 1 - said.gates[0]
    torch.testing.assert_close(going_on, torch.tensor(expected["gate_soft"]), atol=1e-4, rtol=0)
    first = said.logits[0, 0].softmax(-1).max().item()
    assert first == pytest.approx(expected["first_conf"], abs=1e-4)
    decision = net().decide(said, first=run["first_threshold"])
    assert decision.exits.tolist() == [expected["exit"]]
    logits = torch.tensor(expected["logits"])
    torch.testing.assert_close(decision.logits[0], logits, atol=1e-4, rtol=1e-5)


@RUNS
def test_conditional_inference_in_a_batch_takes_the_exits_of_the_run(run):
    model = FrameExit(TSN(50), num_classes=200).eval()
    load_weights(model, released(run["overrides"]))
    names = [name for name in NAMES if name != LARGE]
    decision = model.infer(torch.cat([clip_of(name) for name in names]), run["first_threshold"])
    assert decision.exits.tolist() == [run["results"][name]["exit"] for name in names]
    expected = torch.tensor([run["results"][name]["logits"] for name in names])
    torch.testing.assert_close(decision.logits, expected, atol=1e-4, rtol=1e-5)
