"""Scores of every video at every frame count of a loader: used while training and for testing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from slowfast.datasets import Batch, Failure
from slowfast.engine.meters import METERS, Meter
from slowfast.engine.processes.world import World
from slowfast.models import to_scores
from slowfast.models.flexible import Rate, Specialized, sized


class Scored(NamedTuple):
    """A batch with its scores (B, K) by frame count or `Rate`, views already made one."""

    batch: Batch
    scores: dict[int | Rate, Tensor]


@dataclass
class Evaluation:
    """What came out at each frame count or `Rate`, and the videos that could not be read."""

    by_frames: dict[int | Rate, Meter] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    videos: int = 0

    @property
    def coverage(self) -> str:
        return f"{self.videos - len(self.failures)} of {self.videos} videos read"

    @property
    def summary(self) -> dict[str, float]:
        """Every number of every frame count: `top1_4`, `top1_8`, ..."""
        by_frames = {t: meter.summary for t, meter in self.by_frames.items()}
        return {f"{name}_{t}": row[name] for t, row in by_frames.items() for name in row}

    @property
    def mean(self) -> float:
        """The data set's metric, averaged over frame counts; 0 if no video could be read."""
        return sum(m.main for m in self.by_frames.values()) / max(len(self.by_frames), 1)


def join_views(scores: Tensor, num_views: int, method: str) -> Tensor:
    """Scores (B * V, K) of views as (B, K) of videos: their mean (`sum`) or maximum (`max`)."""
    by_video = scores.unflatten(0, (-1, num_views))
    if method == "sum":
        return by_video.mean(dim=1)
    if method == "max":
        return by_video.amax(dim=1)
    raise ValueError(f"DATA.ENSEMBLE_METHOD={method!r} must be sum or max")


def score_batches(
    model: Callable[..., Tensor],
    batches: Iterable[Batch],
    device: torch.device,
    act: str,
    ensemble: str,
    sizes: Sequence[int] = (),
) -> Iterator[Scored]:
    """The batches with their scores at each of `sizes`, where there are any.

    Switches nothing: the caller gives a model in eval mode.
    """
    for batch in batches:
        batch = batch.to(device)
        scores = {
            rate: join_views(to_scores(model(clip), act), batch.num_views, ensemble)
            for rate, clip in sized(batch.clips if len(batch) else (), sizes).items()
        }
        yield Scored(batch, scores)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    device: torch.device,
    cfg: CfgNode,
    metric: str = "top1",
    on_batch: Callable[[Scored], None] | None = None,
    world: World = World(),
    sizes: Sequence[int] = (),
) -> Evaluation:
    """The `metric` of METERS at every frame count the loader yields, at each of `sizes` if any.

    The model is left as it is.  What runs is the specialised network of each rate: the same scores
    in less time, for a copy of the weights per rate.
    `loader` has this process's share of the videos; what comes out is that of all processes of
    `world`, in each of them.  `on_batch` is called with each scored batch of this one.  Videos that
    cannot be read are listed, never replaced, and count in no accuracy.
    """
    scorer = Specialized(model)
    result = Evaluation()
    silent = None if world.is_main else True
    bar = tqdm(loader, desc="evaluating", unit="batch", leave=False, disable=silent)
    scored_batches = score_batches(
        scorer, bar, device, cfg.MODEL.HEAD_ACT, cfg.DATA.ENSEMBLE_METHOD, sizes
    )
    for scored in scored_batches:
        result.failures += scored.batch.failures
        result.videos += len(scored.batch) + len(scored.batch.failures)
        for num_frames, scores in scored.scores.items():
            if num_frames not in result.by_frames:
                result.by_frames[num_frames] = METERS[metric](cfg.MODEL.NUM_CLASSES)
            result.by_frames[num_frames].add(scores, scored.batch.labels)
        if on_batch is not None:
            on_batch(scored)
    return _together(world.gather(result))


def _together(parts: Sequence[Evaluation]) -> Evaluation:
    """What the processes found, as one would have; failures in the order of the list."""
    result = parts[0]
    for part in parts[1:]:
        result.videos += part.videos
        result.failures += part.failures
        for num_frames, meter in part.by_frames.items():
            if num_frames in result.by_frames:
                result.by_frames[num_frames].merge(meter)
            else:
                result.by_frames[num_frames] = meter
    result.failures.sort(key=lambda failure: failure.index)
    return result
