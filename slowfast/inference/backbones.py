"""The halves of a network at the rate of a clip, to look between them."""

from __future__ import annotations

from torch import Tensor, nn

from slowfast.models import FrameFlexible
from slowfast.models.backbone import Backbone
from slowfast.models.flexible import specialize


class Backbones:
    """Plain copies of `model`, a network of ours, one per trained rate.

    Each is made when first needed, from the weights that `model` has then, in evaluation mode and
    without gradients; `model` itself is never run.  What its head takes is the same as in `model`,
    up to rounding.  With `fold_norms` the copies are faster, see `specialize`.
    Raises ValueError for a network that shows no map of its features.
    """

    def __init__(self, model: nn.Module, fold_norms: bool = True) -> None:
        self.model, self.net = model, backbone_of(model)
        # A norm in front of the classifier would move what the classifier takes into its weights.
        before_last = any(self.net.classifier in chain for chain in getattr(self.net, "folds", ()))
        self.fold_norms = fold_norms and not before_last
        self._copies: dict[str, Backbone] = {}

    def __call__(self, clip: Tensor) -> Backbone:
        """The copy with the private layers that run for `clip`, `(B, 3, T, H, W)`."""
        tag, num_frames, size = "", 0, 0
        if isinstance(self.model, FrameFlexible):
            tag = self.model.tag_of(clip)
            num_frames, size = self.model.rates.rate(tag)
        if tag not in self._copies:
            net = specialize(self.model, num_frames, self.fold_norms, size)
            self._copies[tag] = net.requires_grad_(False)
        return self._copies[tag]


def backbone_of(model: nn.Module) -> Backbone:
    """The network of ours in `model`.  Raises ValueError for any other."""
    net = model.net if isinstance(model, FrameFlexible) else model
    if not isinstance(net, Backbone):
        raise ValueError(
            f"{type(net).__name__} shows no map of its features; take one of this project's own "
            "networks: MViT, R2Plus1D, ResNet, SlowFast, TEA, TSM, TSN, UniFormer, VideoSwin, X3D"
        )
    return net
