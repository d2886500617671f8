import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from slowfast.models.flexible import FrameFlexible, checkpoint

COUNTS = (2, 4, 8)


class CheckpointedNet(MarkedNet):
    """Recomputes its block in the backward pass."""

    def forward(self, clip):
        x = checkpoint(self.block, self.adaconv(self.bn(self.stem(clip)).relu()))
        return self.fc(x.mean((2, 3, 4)))


def flexible(net=None, num_frames=COUNTS, **kwargs) -> FrameFlexible:
    return perturb(FrameFlexible(net or MarkedNet(), num_frames, **kwargs))


# ---------------------------------------------------------------------------- checkpointing


def train_all_rates(model: FrameFlexible) -> dict[str, torch.Tensor]:
    """All gradients of a joint step: the backward pass runs after every rate's forward pass."""
    outputs = model.train()(tuple(clip_of(n, batch=4) for n in COUNTS))
    sum(output.square().sum() for output in outputs).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def equal_pair() -> tuple[FrameFlexible, FrameFlexible]:
    """A model that keeps its activations and one that recomputes them."""
    plain, recomputing = flexible(MarkedNet()), flexible(CheckpointedNet())
    recomputing.load_state_dict(plain.state_dict())
    return plain, recomputing


def test_checkpointing_recomputes_at_the_rate_of_the_forward_pass():
    plain, recomputing = equal_pair()
    torch.testing.assert_close(train_all_rates(recomputing), train_all_rates(plain))


def test_checkpointing_updates_running_statistics_once():
    plain, recomputing = equal_pair()
    train_all_rates(plain)
    train_all_rates(recomputing)
    torch.testing.assert_close(dict(recomputing.state_dict()), dict(plain.state_dict()))
    assert {m.momentum for m in recomputing.modules() if isinstance(m, nn.BatchNorm3d)} == {0.1}


def test_a_checkpointed_graph_can_be_walked_back_twice():
    model = flexible(CheckpointedNet()).train()
    loss = model(clip_of(2)).square().sum()
    first = torch.autograd.grad(loss, model.net.stem.weight, retain_graph=True)
    second = torch.autograd.grad(loss, model.net.stem.weight)
    assert torch.equal(first[0], second[0])


def test_checkpointing_works_without_rates():
    plain, recomputing = perturb(MarkedNet()), CheckpointedNet()
    recomputing.load_state_dict(plain.state_dict())
    for net in (plain, recomputing):
        net.train()(clip_of(4)).square().sum().backward()
    torch.testing.assert_close(recomputing.stem.weight.grad, plain.stem.weight.grad)


def test_checkpointing_that_does_not_pin_the_rate_is_an_error():
    class Unpinned(MarkedNet):
        def forward(self, clip):
            x = self.bn(self.stem(clip)).relu()
            x = torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False)
            return self.fc(x.mean((2, 3, 4)))

    loss = flexible(Unpinned()).train()(clip_of(2)).sum()
    with pytest.raises(RuntimeError, match="slowfast.models.flexible.checkpoint"):
        loss.backward()


# ---------------------------------------------------------------------------- compilation


@pytest.mark.parametrize(
    ("net", "counts"), [(MarkedNet, (1, 2, 3, 5, 8)), (CheckpointedNet, (2, 8))]
)
def test_a_compiled_model_computes_the_same_at_every_rate_without_graph_breaks(net, counts):
    torch.compiler.reset()
    model = flexible(net(), counts).train()
    reference = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, recompile_limit=12)
    for num_frames in (*counts, 4):
        clip = clip_of(num_frames)
        for network in (compiled, reference):
            network(clip).square().sum().backward()
    for (name, parameter), same in zip(
        model.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, same.grad, msg=name)
    assert model.rates.active == "8"


# ---------------------------------------------------------------------------- networks of others


def test_a_network_this_project_did_not_write_trains_and_runs_at_any_frame_count():
    torch.manual_seed(0)
    model = FrameFlexible(ForeignNet(), COUNTS).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    clips = tuple(clip_of(n, batch=8) for n in COUNTS)
    labels = torch.arange(8) % 5
    losses = []
    for _ in range(15):
        loss = sum(nn.functional.cross_entropy(logits, labels) for logits in model(clips))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for num_frames in (1, 3, 6, 11, 20):
        assert model.eval()(clip_of(num_frames)).isfinite().all()
