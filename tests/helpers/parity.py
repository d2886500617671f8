"""What the parity tests of the two backbones share."""

import copy

import pytest
import torch
from torch import Tensor, nn

from helpers.fixture_weights import fill_state_dict, input_tensor
from slowfast.datasets.batch import Batch
from slowfast.models import FrameFlexible
from slowfast.objectives import FrameFlexibleTraining

RATES = ("L", "M", "H")  # low to high; the originals tag them 4, 8 and 16 whatever the counts
TAGS = {"L": "4", "M": "8", "H": "16"}


def filled(model: nn.Module, record: dict) -> nn.Module:
    """`model` with the fixture's weights; its keys must be exactly the fixture's."""
    state = fill_state_dict(record["layout"])
    assert set(model.state_dict()) == set(state)
    model.load_state_dict(state)
    return model.eval()


def clips_of(record: dict) -> tuple[Tensor, ...]:
    """The clips of the fixture, low to high."""
    inputs = (record["inputs"][rate] for rate in RATES)
    return tuple(input_tensor(i["name"], i.get("fast_shape", i.get("shape"))) for i in inputs)


def batch_of(clips: tuple[Tensor, ...], record: dict) -> Batch:
    return Batch(clips, torch.tensor(record["train"]["labels"]), torch.arange(2))


def step(model: FrameFlexible, batch: Batch, backward: str) -> tuple[dict, dict, FrameFlexible]:
    """Parts and logits by frame count after a step of FFN training, and the trained copy."""
    model = copy.deepcopy(model).train()
    parts, logits = {}, {}
    for term in FrameFlexibleTraining(backward=backward)(model, batch):
        term.loss.backward()
        parts |= term.parts
        logits |= term.logits
    return parts, logits, model


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients by the name in the checkpoint."""
    tensors = model.state_dict(keep_vars=True).items()
    return {name: tensor.grad for name, tensor in tensors if tensor.requires_grad}


def assert_gradients(model: nn.Module, expected: dict, rtol: float) -> None:
    """The norms of the fixture's gradients and of all gradients together."""
    found = gradients(model)
    norms = {name: found[name].norm().item() for name in expected["grad_l2"]}
    for name, norm in expected["grad_l2"].items():
        assert abs(norms[name] / norm - 1) < rtol, f"{name}: {norms[name]} is not {norm}"
    total = torch.stack([g.norm() for g in found.values()]).norm().item()
    assert abs(total / expected["grad_l2_all"] - 1) < rtol


def assert_running_statistics(model: nn.Module, expected: dict, rtol: float = 1e-4) -> None:
    state = model.state_dict()
    for name, norm in expected["bn_after"].items():
        assert abs(state[name].norm().item() / norm - 1) < rtol, name


def largest_relative_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Of the tensors' norms; `a` and `b` must have the same names."""
    assert a.keys() == b.keys()
    return max(((a[k] - b[k]).norm() / b[k].norm()).item() for k in a if b[k].norm() > 0)


def close(logits: Tensor, expected: list, atol: float = 1e-4) -> None:
    """The first classes of `logits` are the expected ones."""
    expected = torch.tensor(expected, dtype=logits.dtype)
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, atol=atol, rtol=1e-5)


def assert_like(
    found: Tensor, expected: dict | list, rtol: float = 1e-5, ends_rtol: float | None = None
) -> None:
    """Shape and norm to `rtol`, values at both ends to `ends_rtol` (10 `rtol`) of the scale."""
    if isinstance(expected, list):
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=rtol)
        return
    assert list(found.shape) == expected["shape"]
    assert found.double().norm().item() == pytest.approx(expected["l2"], rel=rtol)
    flat, first, last = found.flatten(), expected["first"], expected["last"]
    ends = torch.cat([flat[: len(first)], flat[-len(last) :]])
    scale = expected["l2"] / len(flat) ** 0.5
    atol = scale * (ends_rtol or 10 * rtol)
    torch.testing.assert_close(ends, torch.tensor(first + last), atol=atol, rtol=rtol)
