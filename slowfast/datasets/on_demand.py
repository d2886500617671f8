"""Clips of a video rate by rate, for networks that look at more frames only if they have to."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

import torch
from torch import Tensor

from slowfast.datasets.dataset import DecodedVideo, VideoDataset
from slowfast.datasets.sampling import union
from slowfast.datasets.video import Video


class GrowingClips:
    """The clips of an open video, each decoded when it is asked for, no frame twice.

    They are those of `dataset`, which has fixed views.  With `NestedViews`, all frames of lower
    rates are among those of the higher ones.  Between two frames of a file the decoder still has
    to pass those that others refer to; of a folder of images nothing else is read.
    """

    def __init__(self, dataset: VideoDataset, video: Video | DecodedVideo) -> None:
        if dataset.random:
            raise ValueError("a data set of random clips has no fixed ones to read rate by rate")
        self._dataset, self._video = dataset, video
        self._clips = dataset.sampling.clips(video.num_frames, video.fps)
        self._indices = torch.empty(0, dtype=torch.int64)  # of the frames below, rising
        self._frames: Tensor | None = None

    @property
    def decoded(self) -> int:
        """How many frames were decoded until now."""
        return len(self._indices)

    def clip(self, rate: int) -> Tensor:
        """All views at the rate of this number, `(V, 3, T, H, W)`; VideoError if one is damaged."""
        wanted, positions = union([(rates[rate],) for rates in self._clips])
        self._decode(wanted)
        frames = self._frames[torch.searchsorted(self._indices, wanted)]
        return self._dataset.views(frames, positions, self._dataset.crops, None)[0]

    def _decode(self, wanted: Tensor) -> None:
        missing = wanted[~torch.isin(wanted, self._indices)]
        if not len(missing):
            return
        frames, indices = self._video.frames(missing), missing
        if self._frames is not None:
            frames, indices = torch.cat([self._frames, frames]), torch.cat([self._indices, missing])
        self._indices, order = indices.sort()
        self._frames = frames[order]


class GrowingBatch:
    """`GrowingClips` of several videos of `dataset`, open as long as the `with` block lasts.

    `read` is what `RateExit.infer_on_demand` asks.  Raises VideoError if one cannot be read.
    """

    def __init__(self, dataset: VideoDataset, indices: Iterable[int]) -> None:
        self._dataset, self._indices = dataset, list(indices)
        self._open = ExitStack()
        self.videos: list[GrowingClips] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for index in self._indices:
                video = stack.enter_context(self._dataset.open(index))
                self.videos.append(GrowingClips(self._dataset, video))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def decoded(self) -> list[int]:
        """Frames that were decoded of each video."""
        return [video.decoded for video in self.videos]

    def read(self, rate: int, rows: Tensor) -> Tensor:
        """Clips `(n * V, 3, T, H, W)` of the videos `rows` (n,) at the rate of this number."""
        return torch.cat([self.videos[row].clip(rate) for row in rows.tolist()])
