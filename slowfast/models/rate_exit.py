"""Conditional inference over frame rates: more frames only for videos that few leave unsure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slowfast.models.build import to_scores
from slowfast.models.exits import ALWAYS, CONFIDENCES, NEVER, Decision, first_exit
from slowfast.models.flexible import FrameFlexible, Specialized

# Clips (n, 3, T, H, W) of the videos `rows` (n,) at the rate of a number, 0 the lowest.
Read = Callable[[int, Tensor], Tensor]


class RateExit:
    """The rates of a frame-flexible network as exits: from the lowest up to one that is sure.

        4 frames:  max score > thresholds[0] ? exit 0 :
        8 frames:  max score > thresholds[1] ? exit 1 :
        16 frames: exit 2

    `thresholds` has one for each rate but the highest, which is always taken.  A rate whose
    threshold no score can pass (`NEVER`, 1, or more) is left out: it would only cost.  `kind` is
    the activation behind the scores, softmax or sigmoid.  `num_frames` are the frame counts to use,
    None all trained ones.  Each runs as its specialised network, made when first needed of the
    weights that `model` has then; `nets` may hold those that are made.  Raises ValueError for
    another number of thresholds or an unknown kind.
    """

    def __init__(
        self,
        model: FrameFlexible,
        thresholds: Sequence[float],
        kind: str = "softmax",
        num_frames: Sequence[int] | None = None,
        nets: Specialized | None = None,
    ) -> None:
        self.num_frames = tuple(num_frames or model.rates.num_frames)
        self.thresholds = [*map(float, thresholds), ALWAYS]
        self.kind = kind
        if len(self.thresholds) != len(self.num_frames):
            raise ValueError(
                f"thresholds={list(thresholds)} must hold one for each rate but the highest of "
                f"{self.num_frames}: {len(self.num_frames) - 1}"
            )
        if kind not in CONFIDENCES:
            raise ValueError(f"kind={kind!r} must be one of {', '.join(CONFIDENCES)}")
        self._rates = model.rates
        self._net = Specialized(model) if nets is None else nets

    @property
    def asked(self) -> list[int]:
        """The numbers of the rates that run, low to high."""
        return [rate for rate, limit in enumerate(self.thresholds) if limit < NEVER]

    def infer(self, clips: Sequence[Tensor]) -> Decision:
        """Logits and exit of each video, from a clip `(B, 3, T, H, W)` per rate, low to high.

        A video that is sure leaves the batch: higher rates see only the others.
        """
        if len(clips) != len(self.num_frames):
            raise ValueError(
                f"{len(clips)} clips for the rates {self.num_frames}: give one each, low to high"
            )
        return self.infer_on_demand(lambda rate, rows: clips[rate][rows], len(clips[0]))

    @torch.no_grad()
    def infer_on_demand(self, read: Read, num_videos: int) -> Decision:
        """The same of clips that `read(rate, rows)` returns when the network asks for them.

        Of a video that leaves at a low rate, the frames of a higher one are never asked for.
        """
        rows = torch.arange(num_videos)
        exits = torch.zeros_like(rows)
        finished, predictions = [rows[:0]], []
        for rate in self.asked:
            logits = self.logits(rate, read(rate, rows))
            sure = (self.confidence(logits) > self.thresholds[rate]).cpu()
            if self.thresholds[rate] == ALWAYS:
                sure[:] = True  # also where the confidence is no number
            finished.append(rows[sure])
            predictions.append(logits[sure.to(logits.device)])
            exits[rows[sure]] = rate
            rows = rows[~sure]
            if not len(rows):
                break
        order = torch.cat(finished).argsort()
        found = torch.cat(predictions)
        return Decision(found[order.to(found.device)], exits.to(found.device))

    @torch.no_grad()
    def logits(self, rate: int, clip: Tensor) -> Tensor:
        """Those of clips at the rate of this number; ValueError for clips of another rate."""
        num_frames = clip.shape[2]
        if self._rates.nearest(num_frames) != self._rates.nearest(self.num_frames[rate]):
            raise ValueError(
                f"a clip of {num_frames} frames is none of the rate of {self.num_frames[rate]}; "
                "give one clip per rate, low to high"
            )
        return self._net(clip)

    def confidence(self, logits: Tensor) -> Tensor:
        """How sure a rate is, `(B,)`: the largest score of a class."""
        return to_scores(logits, self.kind).amax(1)

    def decide(self, logits: Tensor) -> Decision:
        """What `infer` returns, of the logits `(B, rates, K)` of all rates."""
        scores = self.confidence(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
        exits = first_exit(scores, self.thresholds)
        return Decision(logits[torch.arange(len(logits), device=logits.device), exits], exits)
