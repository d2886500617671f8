"""FrameExit networks, small, and videos that leave them at different exits."""

import torch
from torch import nn

from slowfast.models import TSN, FrameExit
from slowfast.models.frame_order import visit_order

EXITS, CLASSES = 5, 7


def small(backbone: nn.Module | None = None, **options) -> FrameExit:
    """In evaluation mode, with statistics of its clips."""
    torch.manual_seed(0)
    backbone = TSN(18, num_classes=3, width=8) if backbone is None else backbone
    sizes = dict(num_classes=CLASSES, num_exits=EXITS, hidden_dim=16, gate_dims=(8, 4))
    net = FrameExit(backbone, **(sizes | {"fc_init_std": 0.3} | options))
    return with_statistics(net, EXITS * net.clip_length)


def with_statistics(net: FrameExit, num_frames: int) -> FrameExit:
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        for seed in range(4):
            net(clip_of(num_frames, batch=8, seed=10 + seed))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def clip_of(num_frames: int = EXITS, batch: int = 3, size: int = 32, seed: int = 0):
    """Videos of different contrast, so that they differ in what is easy."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(batch, 3, num_frames, size, size, generator=generator)
    return clip * torch.linspace(0.2, 3, batch).view(-1, 1, 1, 1, 1)


@torch.no_grad()
def splitting(net: FrameExit, clip: torch.Tensor) -> tuple[float, list[float]]:
    """Thresholds that about a third of the videos pass at each exit, and none closely."""
    exits = net(clip)
    first = exits.logits[:, 0].softmax(-1).amax(-1)
    limits = []
    for column in [first, *exits.gates.unbind(1)]:
        ranked = column.sort().values
        at = 2 * len(ranked) // 3
        limits.append(((ranked[at] + ranked[at - 1]) / 2).item())
    return limits[0], limits[1:]


def visits(net: FrameExit, num_frames: int) -> tuple[int, ...]:
    return visit_order(num_frames // net.clip_length)[: net.num_exits]
