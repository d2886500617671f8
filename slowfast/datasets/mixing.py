"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) of a batch with clips at several rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn.functional import one_hot

from slowfast.config import CfgNode
from slowfast.datasets.batch import Batch


class Mix(NamedTuple):
    """A video's share of itself in the mixture; with `box` the partner fills this rectangle.

    `box` is top, bottom, left and right.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Mixing:
    """Mixes every video with the one as far from the other end of the batch.

    One draw serves the whole batch with all its frames and rates.  `prob` of the batches are mixed,
    `switch` of these by CutMix (if both strengths are above 0).  Labels become class probabilities
    (B, num_classes), of which `smoothing` is spread over all classes, mixed batch or not; weights
    of classes (B, num_classes) are only mixed.
    """

    num_classes: int
    alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if max(self.alpha, self.cutmix_alpha) <= 0:
            raise ValueError(
                "MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0; set MIXUP.ENABLE False instead"
            )

    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch:
        """`batch`, changed in place, mixed as seed, epoch and step say."""
        mix = self.draw(epoch, step, batch.clips[-1].shape[-2:])
        for clip in batch.clips:
            blend(clip, mix, batch.clips[-1].shape[-2:])
        return replace(batch, labels=self._mixed_labels(batch.labels, mix.share))

    def draw(self, epoch: int, step: int, size: tuple[int, int]) -> Mix:
        """The mixture of one step for frames of `size`; it depends on nothing that ran before."""
        random = np.random.default_rng((self.seed, epoch, step))
        if random.random() >= self.prob:
            return Mix(1.0)
        cut = self.alpha <= 0 or (self.cutmix_alpha > 0 and random.random() < self.switch)
        strength = self.cutmix_alpha if cut else self.alpha
        share = random.beta(strength, strength)
        return cut_out(share, size, random) if cut else Mix(share)

    def _mixed_labels(self, labels: Tensor, share: float) -> Tensor:
        if labels.ndim == 1:
            labels = one_hot(labels, self.num_classes).float()
            labels = labels * (1 - self.smoothing) + self.smoothing / self.num_classes
        return share * labels + (1 - share) * labels.flip(0)


def cut_out(share: float, size: tuple[int, int], random: np.random.Generator) -> Mix:
    """A rectangle of 1 - `share` of a frame, wherever its centre falls, cut off at the frame.

    The share that comes back is what really remains.
    """
    edges = []
    for length in size:
        half = int(length * sqrt(1 - share)) // 2
        centre = random.integers(length)
        edges += [max(centre - half, 0), min(centre + half, length)]
    top, bottom, left, right = map(int, edges)
    covered = (bottom - top) * (right - left)
    return Mix(1 - covered / (size[0] * size[1]), (top, bottom, left, right))


def blend(clip: Tensor, mix: Mix, size: tuple[int, int]) -> None:
    """Mix the videos of `clip` (B, 3, T, H, W) in place; a box refers to frames of `size`."""
    if mix.share == 1 and mix.box is None:
        return
    if mix.box is None:
        partner = clip.flip(0)
        clip.mul_(mix.share).add_(partner, alpha=1 - mix.share)
        return
    height, width = clip.shape[-2:]
    top, bottom = (round(edge * height / size[0]) for edge in mix.box[:2])
    left, right = (round(edge * width / size[1]) for edge in mix.box[2:])
    clip[..., top:bottom, left:right] = clip[..., top:bottom, left:right].flip(0)


def build_mixing(cfg: CfgNode) -> Mixing | None:
    """What MIXUP says, or None."""
    if not cfg.MIXUP.ENABLE:
        return None
    return Mixing(
        cfg.MODEL.NUM_CLASSES,
        alpha=cfg.MIXUP.ALPHA,
        cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
        prob=cfg.MIXUP.PROB,
        switch=cfg.MIXUP.SWITCH_PROB,
        smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        seed=cfg.RNG_SEED,
    )
