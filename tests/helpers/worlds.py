"""Small networks and batches that one process and several compute alike."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from helpers.foreign_net import MarkedNet, perturb
from slowfast.datasets import Batch
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.processes.parallel import unwrap
from slowfast.engine.processes.world import World
from slowfast.models import FrameFlexible, SlowFast, UniFormer
from slowfast.models.flexible import RateSwitch
from slowfast.objectives import FrameFlexibleTraining, Term

COUNTS = (2, 4)
CLASSES = 5


def flexible(name: str, act_checkpoint: bool = False) -> FrameFlexible:
    """A float64 network in training mode whose private copies differ."""
    torch.manual_seed(0)
    if name == "slowfast":
        net = SlowFast(18, CLASSES, width=8, alpha=2, dropout=0.0, act_checkpoint=act_checkpoint)
    elif name == "uniformer":
        sizes = {"depth": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8, "drop_path": 0.0}
        net = UniFormer(CLASSES, **sizes, act_checkpoint=act_checkpoint)
    else:
        net = MarkedNet(classes=CLASSES)
    model = FrameFlexible(net, COUNTS).double().train()
    for module in model.modules():
        if isinstance(module, RateSwitch):
            perturb(module, 0.3)
    return model


def freeze_statistics(model: nn.Module) -> nn.Module:
    """`model` itself; its norms no longer see the batch."""
    for module in model.modules():
        if isinstance(module, _NormBase):
            module.eval()
    return model


def batch_of(videos: Iterable[int], size: int = 32) -> Batch:
    """A float64 batch of these videos, each the same in every batch."""
    videos = list(videos)
    clips = tuple(
        torch.stack([_clip(video, count, size) for video in videos])
        if videos
        else torch.empty(0, 3, count, size, size, dtype=torch.float64)
        for count in COUNTS
    )
    labels = torch.tensor([video % CLASSES for video in videos], dtype=torch.int64)
    paths = tuple(f"{video}.mp4" for video in videos)
    return Batch(clips, labels, torch.tensor(videos, dtype=torch.int64), paths=paths)


def _clip(video: int, count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * video + count)
    return torch.randn(3, count, size, size, generator=generator, dtype=torch.float64)


class Scaled(nn.Module):
    """FFN's objective times a number that it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.terms = FrameFlexibleTraining()

    def num_terms(self, batch: Batch) -> int:
        return self.terms.num_terms(batch)

    def forward(self, model: nn.Module, batch: Batch) -> Iterator[Term]:
        for term in self.terms(model, batch):
            yield term._replace(loss=term.loss * self.scale)


def stepper(model: nn.Module, objective: object, world: World, **kwargs: object) -> Stepper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Stepper(model, objective, optimizer, world.device, world=world, **kwargs)


def gradients_of_step(
    model: nn.Module, objective: object, batch: Batch, world: World, micro_batches: int = 1
) -> dict[str, Tensor]:
    """The gradients as the optimiser would see them, by name."""
    found: dict[str, Tensor] = {}

    def look(_record: dict, _batch: Batch) -> bool:
        found.update(gradients(unwrap(model)))
        return False

    step = stepper(model, objective, world, micro_batches=micro_batches, check=look)
    assert step(batch) == {}
    return found


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """The gradient of every parameter, 0 where it has none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }
