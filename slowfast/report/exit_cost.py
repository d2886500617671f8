"""What a video costs that leaves a network at one of its exits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from slowfast.models import FrameExit, FrameFlexible
from slowfast.models.exits import NEVER
from slowfast.models.flexible import specialize
from slowfast.report.cost import gflops, gflops_of


class ExitCosts(NamedTuple):
    """GFLOPs (multiply-adds) of one video, by exit.

    step      of coming to an exit, from the one before
    ask       of finding out how sure it is, if its threshold can be passed
    answer    of its prediction, beside what asking has computed
    """

    step: tuple[float, ...]
    ask: tuple[float, ...]
    answer: tuple[float, ...]

    def of_exits(self, thresholds: Sequence[float]) -> list[float]:
        """The whole cost of leaving at each exit under `thresholds`, one per exit but the last."""
        found, spent = [], 0.0
        limits = [*thresholds, NEVER]  # the last one is taken unasked
        for step, ask, answer, limit in zip(*self, limits, strict=True):
            spent += step + (ask if limit < NEVER else 0.0)
            found.append(spent + answer)
        return found

    @property
    def most(self) -> float:
        """The cost without exits: all steps and the last answer."""
        return sum(self.step) + self.answer[-1]


@torch.no_grad()
def frame_exit_costs(net: FrameExit, crop: int, num_exits: int) -> tuple[ExitCosts, ExitCosts]:
    """Of clips of `crop` x `crop` pixels, as it is counted in the paper and truly.

    The paper's counts the backbone of each step and nothing else; truly there are the features
    behind it, the gates and the classifiers.  `net` is in evaluation mode.
    """
    like = next(net.parameters())
    shape = (1, 3, net.clip_length, crop, crop)
    clip = torch.zeros(shape, device=like.device, dtype=like.dtype)
    seen = net.features(clip)
    step = gflops_of(lambda: net.features(clip))
    gates = [gflops_of(lambda t=t: net.gate(t, seen, seen)) for t in range(1, num_exits)]
    answers = [gflops_of(lambda t=t: net.classify(t, seen)) for t in range(num_exits)]
    # The first exit asks its own classifier, whose answer is then there.
    ask, answer = (answers[0], *gates), (0.0, *answers[1:])
    if num_exits == 1:
        ask, answer = (0.0,), (answers[0],)
    nothing = (0.0,) * num_exits
    published = ExitCosts((gflops(net.backbone, shape),) * num_exits, nothing, nothing)
    return published, ExitCosts((step,) * num_exits, ask, answer)


def rate_exit_costs(
    model: FrameFlexible, counts: Sequence[int], crop: int
) -> tuple[ExitCosts, ExitCosts]:
    """Of clips of `counts` frames, low to high, and `crop` x `crop` pixels: as in papers and truly.

    Papers have a constant per frame: that of the highest rate.  A rate begins anew, so what lower
    ones have computed is spent, and a frame counts as often as a rate looks at it.
    """
    true = [gflops(specialize(model, t), (1, 3, t, crop, crop)) for t in counts]
    constant = [true[-1] * t / counts[-1] for t in counts]
    return _of_rates(constant), _of_rates(true)


def _of_rates(costs: Sequence[float]) -> ExitCosts:
    """A lower rate is its own question; the highest is only an answer."""
    nothing = (0.0,) * len(costs)
    return ExitCosts(nothing, (*costs[:-1], 0.0), (*nothing[1:], costs[-1]))
