"""The two kinds of networks that may stop early, seen alike: exits with a confidence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.config import frame_counts
from slowfast.models import FrameExit, FrameFlexible, to_scores
from slowfast.models.exits import NEVER, Decision, confidence
from slowfast.models.flexible import Specialized, specialize
from slowfast.models.rate_exit import RateExit
from slowfast.report import gflops
from slowfast.report.exit_cost import ExitCosts, frame_exit_costs, rate_exit_costs


class ExitNetwork(Protocol):
    """A network in evaluation mode, and what its E exits are.

    frames        frames that a video has shown when it leaves at each exit
    published     costs at a constant number of GFLOPs per frame, as papers count
    costs         all that runs
    thresholds    the network's own, one per exit but the last; () if it has none
    """

    frames: tuple[int, ...]
    published: ExitCosts
    costs: ExitCosts
    thresholds: tuple[float, ...]

    def look(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores `(B, E, K)` and confidences `(B, E)` of all exits, of a clip per frame count."""

    def infer(self, clips: Sequence[Tensor], thresholds: Sequence[float]) -> Decision:
        """What leaves at each video's exit, computing no more than is needed for it."""

    def fixed_gflops(self, num_frames: int) -> float:
        """The cost of a clip of `num_frames` without exits."""


class Gates:
    """A FrameExit network; exits are frames, or short clips, of a single long clip."""

    def __init__(self, model: FrameExit, num_frames: int, crop: int, act: str = "softmax") -> None:
        self.net = specialize(model, num_frames)
        self.act = act
        num_exits = min(num_frames // model.clip_length, model.num_exits)
        self.frames = tuple(model.clip_length * (t + 1) for t in range(num_exits))
        self.published, self.costs = frame_exit_costs(self.net, crop, num_exits)
        self.thresholds = tuple(model.thresholds(num_exits)[:-1])

    @torch.no_grad()
    def look(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        (clip,) = clips
        exits = self.net(clip)
        logits = exits.logits
        first = confidence(logits[:, :1], self.net.first_confidence)
        scores = to_scores(logits.flatten(0, 1), self.act).unflatten(0, logits.shape[:2])
        return scores, torch.cat([first, exits.gates], dim=1)

    def infer(self, clips: Sequence[Tensor], thresholds: Sequence[float]) -> Decision:
        (clip,) = clips
        first, *gates = [*thresholds, NEVER]
        return self.net.infer(clip, first, gates)

    def fixed_gflops(self, num_frames: int) -> float:
        last = min(num_frames // self.net.clip_length, len(self.frames)) - 1
        # The classifier of the first exit is what asking it costs.
        answer = self.costs.answer[last] or self.costs.ask[last]
        return sum(self.costs.step[: last + 1]) + answer


class RateExits:
    """A frame-flexible network; exits are its rates, each with a clip of its own."""

    def __init__(
        self, model: FrameFlexible, num_frames: Sequence[int], crop: int, act: str = "softmax"
    ) -> None:
        self.model, self.crop, self.act = model, crop, act
        self.frames = tuple(num_frames)
        self.published, self.costs = rate_exit_costs(model, self.frames, crop)
        self.thresholds = ()
        self._nets = Specialized(model)

    @torch.no_grad()
    def look(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        scores = torch.stack([to_scores(self._nets(clip), self.act) for clip in clips], dim=1)
        return scores, scores.amax(2)

    def infer(self, clips: Sequence[Tensor], thresholds: Sequence[float]) -> Decision:
        return self.at(thresholds).infer(clips)

    def at(self, thresholds: Sequence[float]) -> RateExit:
        """Conditional inference with `thresholds`."""
        return RateExit(self.model, thresholds, self.act, self.frames, self._nets)

    def fixed_gflops(self, num_frames: int) -> float:
        shape = (1, 3, num_frames, self.crop, self.crop)
        return gflops(specialize(self.model, num_frames), shape)


def exit_network(model: nn.Module, cfg: CfgNode) -> ExitNetwork:
    """The network of TEST.EXIT; ValueError if `model` has no such exits."""
    crop, act = cfg.DATA.TEST_CROP_SIZE, cfg.MODEL.HEAD_ACT
    if cfg.TEST.EXIT == "gates" and isinstance(model, FrameExit):
        return Gates(model, cfg.DATA.NUM_FRAMES, crop, act)
    if cfg.TEST.EXIT == "rates" and isinstance(model, FrameFlexible):
        return RateExits(model, frame_counts(cfg), crop, act)
    raise ValueError(
        f"TEST.EXIT={cfg.TEST.EXIT!r} and {type(model).__name__} do not go together: gates are "
        "those of FrameExit, rates those of FFN.ENABLE True"
    )
