"""A network that is explained by hand: its places are pixels, its channels are colours."""

import torch
from torch import Tensor, nn

from slowfast.models.backbone import Backbone


class LinearNet(Backbone):
    """Its map is the clip, its logits are `weight` (K, 3) times the mean colour, plus `bias`."""

    classifier = "fc"

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.fc = nn.Linear(3, len(weight))
        with torch.no_grad():
            self.fc.weight.copy_(weight)
            self.fc.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)

    def encode(self, clip: Tensor) -> Tensor:
        return clip

    def classify(self, encoded: Tensor) -> Tensor:
        return self.fc(encoded.mean((2, 3, 4)))
