"""What the parity tests of TSM and TEA share."""

import copy

import pytest
import torch
from torch import Tensor, nn

from helpers.fixture_weights import input_tensor
from helpers.parity import (
    RATES,
    TAGS,
    assert_gradients,
    assert_running_statistics,
    close,
    step,
)
from slowfast.datasets.batch import Batch
from slowfast.models import FrameFlexible
from slowfast.objectives import cross_entropy

LENGTHS = (3, 4, 6, 8, 10, *(pytest.param(t, marks=pytest.mark.slow) for t in (12, 16, 20)))
# Frames and the rate whose private layers they run through.
FORCED = (
    "T4:H",
    "T8:L",
    "T8:H",
    *(pytest.param(c, marks=pytest.mark.slow) for c in ("T12:M", "T16:L")),
)
COUNTS = {"L": 4, "M": 8, "H": 16}
LOSSES = {"ce_H": "ce_16", "kl_M": "kl_8", "kl_L": "kl_4"}
# The fixtures' own float32 gradients are up to 0.8 % off those in float64: the smallest, sums of
# both signs, nearly cancel.
GRADIENT_RTOL = 2e-2


def clip_of(num_frames: int, pixels: int, batch: int = 4) -> Tensor:
    """The first videos of the fixture's input."""
    name = f"ffn2d:T{num_frames}:px{pixels}"
    frames = input_tensor(name, [4, 3 * num_frames, pixels, pixels])
    return frames.unflatten(1, (num_frames, 3)).transpose(1, 2)[:batch]


@torch.no_grad()
def assert_logits(model: nn.Module, record: dict, num_frames: int) -> None:
    """Those of four videos together, and of the first by itself."""
    for name, batch in (("b4", 4), ("b1", 1)):
        clip = clip_of(num_frames, record["pixels"], batch)
        close(model(clip), record["eval"][name][f"T{num_frames}"])


@torch.no_grad()
def assert_forced_logits(model: FrameFlexible, record: dict, case: str) -> None:
    """Those of "T8:L": 8 frames through the layers of the lowest rate."""
    length, rate = case.split(":")
    with model.rates.at(TAGS[rate]):
        logits = model.net(clip_of(int(length.removeprefix("T")), record["pixels"]))
    close(logits, record["forced"][case])


@torch.no_grad()
def assert_logits_of_three_rates(model: FrameFlexible, record: dict) -> None:
    logits = model(tuple(clip_of(COUNTS[rate], record["pixels"]) for rate in RATES))
    for rate, found in zip(RATES, logits, strict=True):
        close(found, record["three_rates"][rate])


def assert_plain_training(model: nn.Module, record: dict, num_frames: int) -> None:
    """Loss, logits, gradients and statistics of a step, in float32."""
    expected = record["train"][f"T{num_frames}"]
    model = copy.deepcopy(model).train()
    logits = model(clip_of(num_frames, record["pixels"]))
    loss = cross_entropy(logits, torch.tensor(expected["labels"]))
    loss.backward()
    assert abs(loss.item() - expected["losses"]["total"]) < 1e-4
    close(logits.detach(), expected["logits"][f"T{num_frames}"])
    assert_gradients(model, expected, GRADIENT_RTOL)
    assert_running_statistics(model, expected)


def assert_plain_training_in_float64(model: nn.Module, record: dict, num_frames: int) -> None:
    expected = record["train"][f"T{num_frames}"]
    model = copy.deepcopy(model).double().train()
    logits = model(clip_of(num_frames, record["pixels"]).double())
    loss = cross_entropy(logits, torch.tensor(expected["labels"]))
    loss.backward()
    assert abs(loss.item() - expected["float64"]["losses"]["total"]) < 1e-8
    assert_gradients(model, expected["float64"], rtol=1e-6)


def assert_training(model: FrameFlexible, record: dict) -> None:
    """Losses, logits, gradients and statistics of a step at three rates, in float32."""
    expected = record["train"]
    parts, logits, model = step(model, _batch(record), "per_rate")
    for name, part in LOSSES.items():
        assert abs(parts[part].item() - expected["losses"][name]) < 1e-4, name
    for rate in RATES:
        close(logits[COUNTS[rate]], expected["logits"][rate])
    assert_gradients(model, expected, GRADIENT_RTOL)
    assert_running_statistics(model, expected)


def assert_training_in_float64(model: FrameFlexible, record: dict) -> None:
    expected = record["train"]["float64"]
    model = copy.deepcopy(model).double()
    parts, _, model = step(model, _batch(record, torch.float64), "per_rate")
    for name, part in LOSSES.items():
        assert abs(parts[part].item() - expected["losses"][name]) < 1e-8, name
    assert_gradients(model, expected, rtol=1e-6)


def _batch(record: dict, dtype: torch.dtype = torch.float32) -> Batch:
    clips = tuple(clip_of(COUNTS[rate], record["pixels"]).to(dtype) for rate in RATES)
    return Batch(clips, torch.tensor(record["train"]["labels"]), torch.arange(4))
