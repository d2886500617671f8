"""What a network saw of a video at a rate, what it made of it, and what in it spoke for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast.config import CfgNode
from slowfast.config.registry import nearest
from slowfast.datasets import DATASETS
from slowfast.datasets.pipeline import build_crops
from slowfast.datasets.transforms import Box, Crops, cut
from slowfast.inference.explain.gradcam import Evidence, Explainer
from slowfast.inference.recognizer import Clip, Recognizer
from slowfast.inference.sources import open_source
from slowfast.models import to_scores
from slowfast.models.flexible import Rate

DECODED_BYTES = 2**28


@dataclass(frozen=True)
class Seen:
    """One video at one rate.

    clip      what the network saw, `rate` as it was asked for
    scores    (K,) of all classes, whose names are `labels`
    evidence  for one class; None where it was not asked for
    """

    rate: Rate
    clip: Clip
    scores: Tensor
    labels: tuple[str, ...]
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """The rate in words, `8 frames` or `8 frames of 112 px`."""
        frames = f"{self.rate.num_frames} frame{'s' * (self.rate.num_frames != 1)}"
        return f"{frames} of {self.rate.size} px" if self.rate.size else frames

    @property
    def best(self) -> int:
        """The number of the most likely class."""
        return int(self.scores.argmax())

    @property
    def target(self) -> int:
        """The number of the class in question: the explained one, else the most likely."""
        return self.best if self.evidence is None else self.evidence.target

    def said(self, number: int) -> str:
        """A class with its score, `right 98.1 %`."""
        return f"{self.labels[number]} {100 * self.scores[number]:.1f} %"

    @cached_property
    def heat(self) -> np.ndarray:
        """`(T, S, S)` from 0 to 1, the strongest place of the clip: what spoke for the class."""
        size = self.clip.pixels.shape[1]
        heat = self.evidence.heat(len(self.clip.indices), size).numpy()
        return heat / max(heat.max(), np.finfo(np.float32).tiny)

    @cached_property
    def shares(self) -> np.ndarray:
        """`(T,)`: each frame's part of all that spoke for the class."""
        return self.evidence.shares(len(self.clip.indices)).numpy()


def look(
    recognizer: Recognizer,
    source: str,
    rates: Sequence[Rate],
    explainer: Explainer | None = None,
    target: int | None = None,
) -> list[Seen]:
    """`source` at each of `rates`, explained by `explainer` for the class `target`.

    Without a target this is the most likely class of each rate.  Raises VideoError if the source
    cannot be read.
    """
    found = []
    for rate in rates:
        clip = recognizer.read(source, *rate)
        if explainer is None:
            scores, evidence = recognizer.scores(clip).cpu(), None
        else:
            evidence = Evidence(*map(_on_cpu, explainer(clip.tensor.to(recognizer.device), target)))
            scores = to_scores(evidence.logits[None], recognizer.cfg.MODEL.HEAD_ACT)[0]
        found.append(Seen(rate, clip, scores, recognizer.labels, evidence))
    return found


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def class_number(name: str, labels: Sequence[str]) -> int:
    """The number of the class `name`, which is one of `labels` or a number.

    Raises ValueError, with the names that are most alike, if there is none.
    """
    lower = [label.lower() for label in labels]
    if name.lower() in lower:
        return lower.index(name.lower())
    if name.isdecimal() and int(name) < len(labels):
        return int(name)
    hint = f"did you mean {', '.join(close)}?" if (close := nearest(name, labels, 3)) else ""
    raise ValueError(f"no class {name!r} among {len(labels)}; {hint or 'give a name or a number'}")


class Views:
    """The pictures behind a clip: frames of a video in their own resolution, whole or cropped."""

    def __init__(self, cfg: CfgNode) -> None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.DECODE_SHORT_SIDE = 1, 0
        self.cfg = cfg
        self.crops: Crops = build_crops(cfg, "test", DATASETS.get(cfg.TEST.DATASET))

    def box(self, height: int, width: int) -> Box:
        """What of frames of that size the network sees."""
        (box,) = self.crops.boxes(height, width)
        return box

    def whole(self, source: str, indices: Sequence[int]) -> np.ndarray:
        """`(n, H, W, 3)` uint8."""
        with open_source(source, self.cfg) as video:
            return video.frames(indices).numpy()

    def cropped(self, source: str, indices: Sequence[int], side: int) -> Iterator[np.ndarray]:
        """`(side, side, 3)` uint8 each: what the network's crop keeps of the frames."""
        with open_source(source, self.cfg) as video:
            most = max(DECODED_BYTES // (video.num_bytes // video.num_frames), 1)
            for start in range(0, len(indices), most):
                frames = video.frames(torch.as_tensor(indices[start : start + most]))
                box = self.box(*frames.shape[1:3])
                yield from cut(frames, box, side).permute(0, 2, 3, 1).numpy()
