"""R(2+1)D: residual networks of 2D convolutions, each followed by a 1D one (arXiv:1711.11248)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.layers.alter import Alter
from slowfast.models.backbone import Backbone
from slowfast.models.resnet3d import conv, init_weights


class FactoredConv(nn.Module):
    """A 1x3x3 convolution, norm, ReLU and a 3x1x1 convolution; only the first one strides."""

    folds = (("space", "bn"),)

    def __init__(self, dim_in: int, dim_out: int, stride: int = 1):
        super().__init__()
        self.space = conv(dim_in, dim_out, (1, 3, 3), (1, stride, stride))
        self.bn = nn.BatchNorm3d(dim_out)
        self.relu = nn.ReLU(inplace=True)
        self.time = conv(dim_out, dim_out, (3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.time(self.relu(self.bn(self.space(x))))


class FactoredBlock(nn.Module):
    """Two factored convolutions and a shortcut, a 1x1x1 convolution where the shape changes."""

    folds = (("adaconv", "conv1.space"), ("conv1.time", "bn1"), ("conv2.time", "bn2"))

    def __init__(self, dim_in: int, dim_out: int, stride: int = 1):
        super().__init__()
        self.adaconv = Alter(dim_in)
        self.conv1 = FactoredConv(dim_in, dim_out, stride)
        self.bn1 = nn.BatchNorm3d(dim_out)
        self.conv2 = FactoredConv(dim_out, dim_out)
        self.bn2 = nn.BatchNorm3d(dim_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if dim_in != dim_out or stride != 1:
            self.shortcut = nn.Sequential(
                conv(dim_in, dim_out, (1, 1, 1), (1, stride, stride)), nn.BatchNorm3d(dim_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(self.adaconv(x))))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class R2Plus1D(Backbone):
    """A factored stem and a stage of factored blocks per width; each halves height and width.

    Takes `(B, 3, T, H, W)` and returns logits `(B, K)`.  No layer strides in time, so any T >= 1
    goes through.  `widths` and `blocks` are channels and residual blocks per stage.
    Raises ValueError if they differ in length.
    """

    archs = ("r2plus1d",)
    classifier = "projection"
    depth_order = ("stem", r"stages\.(\d+)")
    folds = (("stem.0.time", "stem.1"),)

    def __init__(
        self,
        num_classes: int = 400,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        dropout: float = 0.5,
        fc_init_std: float = 0.01,
    ):
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths={widths} and blocks={blocks} must name the same stages")
        dim = max(widths[0] // 2, 1)
        self.stem = nn.Sequential(FactoredConv(3, dim, 2), nn.BatchNorm3d(dim), nn.ReLU(True))
        stages = []
        for width, count in zip(widths, blocks, strict=True):
            stages.append(FactoredBlock(dim, width, stride=2))
            stages.extend(FactoredBlock(width, width) for _ in range(count - 1))
            dim = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(dim, num_classes)
        init_weights(self, fc_init_std)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> R2Plus1D:
        return cls(
            num_classes=cfg.MODEL.NUM_CLASSES,
            widths=cfg.R2PLUS1D.WIDTHS,
            blocks=cfg.R2PLUS1D.BLOCKS,
            dropout=cfg.MODEL.DROPOUT_RATE,
            fc_init_std=cfg.MODEL.FC_INIT_STD,
        )

    def encode(self, clip: Tensor) -> Tensor:
        return self.stages(self.stem(clip))

    def classify(self, encoded: Tensor) -> Tensor:
        return self.projection(self.dropout(encoded.mean((2, 3, 4))))
