"""A (2+1)D video network as a user might bring it, and what tests do with it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slowfast.layers.alter import Alter


class ForeignBlock(nn.Module):
    def __init__(self, dim: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.spatial = nn.Conv3d(dim, dim, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.temporal = nn.Conv3d(dim, dim, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.norms = nn.ModuleList([norm(dim), norm(dim)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](self.spatial(x)).relu()
        return (x + self.norms[1](self.temporal(y))).relu()


class ForeignNet(nn.Module):
    """It knows nothing of this project."""

    def __init__(
        self,
        dim: int = 8,
        classes: int = 5,
        norm: Callable[[int], nn.Module] = nn.BatchNorm3d,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.stem = nn.Conv3d(3, dim, (1, 4, 4), (1, 4, 4), bias=False)
        self.bn = norm(dim)
        self.block = ForeignBlock(dim, norm)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(dim, classes)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.block(self.bn(self.stem(clip)).relu())
        return self.fc(self.drop(x.mean((2, 3, 4))))


class MarkedNet(ForeignNet):
    """The foreign network with a mark in front of its block."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.adaconv = Alter(self.fc.in_features)

    def forward(self, clip):
        x = self.block(self.adaconv(self.bn(self.stem(clip)).relu()))
        return self.fc(self.drop(x.mean((2, 3, 4))))


def perturb(model: nn.Module, scale: float = 0.3) -> nn.Module:
    """Makes all parameters and statistics differ: private copies start equal and hide mistakes."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor += scale * torch.rand(tensor.shape, generator=generator).to(tensor)
    return model


def clip_of(num_frames: int, batch: int = 2, size: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + num_frames)
    return torch.randn(batch, 3, num_frames, size, size, generator=generator)
