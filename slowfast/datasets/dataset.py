"""The one data set class: videos of a list, as clips at every rate from a single decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import product

import av
import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from slowfast.datasets.batch import Failure, Sample
from slowfast.datasets.records import Records
from slowfast.datasets.sampling import Indices, Sampling, union
from slowfast.datasets.transforms import (
    ColorJitter,
    Crops,
    Normalize,
    Patch,
    RandAugment,
    RandomErasing,
    cut_all,
)
from slowfast.datasets.video import Video, VideoError, open_video


class DecodedVideo:
    """All frames of a video in memory, read like a `Video`."""

    def __init__(self, video: Video) -> None:
        self.fps = video.fps
        self.num_frames = video.num_frames
        self._frames = video.frames(range(video.num_frames))

    @property
    def num_bytes(self) -> int:
        return self._frames.numel()

    def frames(self, indices: Tensor) -> Tensor:
        return self._frames.index_select(0, indices)


class VideoCache:
    """Decoded videos by index, added until they fill `capacity` bytes and then kept."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._videos: dict[int, DecodedVideo] = {}

    def get(self, index: int) -> DecodedVideo | None:
        return self._videos.get(index)

    def offer(self, index: int, video: Video) -> Video | DecodedVideo:
        """`video`, wholly decoded and kept if there is room for it and nothing in it is damaged."""
        if video.num_bytes > self._free:
            return video
        try:
            decoded = DecodedVideo(video)
        except VideoError:  # of a damaged video the frames that a sample takes may still read
            return video
        self._videos[index] = decoded
        self._free -= decoded.num_bytes
        return decoded


class VideoDataset(Dataset):
    """Samples of the videos in `records`, by `(epoch, index)` or plain index (epoch 0).

    `(epoch, index, shape)` takes frames and crops from `shapes[shape]` instead.

    With `random` every sample has its own random numbers, made from seed, epoch and index alone:
    the same for any number of worker processes and in any order.  Without it, the fixed views:
    each clip of `sampling` in each crop of `crops`, clips first.  The union of the frames of all
    rates and views is decoded once.  A video that cannot be read becomes a Failure, never another.
    A random sample has `copies` views: one clip, cropped, changed by `augment` and `erasing` anew
    for each, but alike for all of its frames and rates.  `failures` are known before: the videos
    and errors of those that will not be opened.
    """

    def __init__(
        self,
        records: Records,
        sampling: Sampling,
        crops: Crops,
        normalize: Normalize,
        *,
        augment: RandAugment | ColorJitter | None = None,
        erasing: RandomErasing | None = None,
        copies: int = 1,
        random: bool = False,
        seed: int = 0,
        opener: Callable[[str], Video] = open_video,
        failures: Mapping[int, str] | None = None,
        cache_bytes: int = 0,
        shapes: Sequence[tuple[Sampling, Crops]] = (),
    ) -> None:
        self.records = records
        self.sampling = sampling
        self.crops = crops
        self.normalize = normalize
        self.augment = augment
        self.erasing = erasing
        self.copies = copies
        self.random = random
        self.seed = seed
        self.opener = opener
        self.failures = failures or {}
        self.cache = VideoCache(cache_bytes)
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, ...]) -> Sample | Failure:
        epoch, index, *shape = key if isinstance(key, tuple) else (0, key)
        sampling, crops = self.shapes[shape[0]] if shape else (self.sampling, self.crops)
        path = self.records.path(index)
        if index in self.failures:
            return Failure(index, path, self.failures[index])
        generator = sample_generator(self.seed, epoch, index) if self.random else None
        try:
            with self.open(index) as video:
                clips = sampling.clips(video.num_frames, video.fps, generator)
                wanted, positions = union(clips)
                frames = video.frames(wanted)
        except (VideoError, av.FFmpegError, OSError) as error:
            return Failure(index, path, str(error))
        views = self.views(frames, positions, crops, generator)
        return Sample(views, self.records.label(index), index, path)

    @contextmanager
    def open(self, index: int) -> Iterator[Video | DecodedVideo]:
        """Video `index`, as long as the block lasts."""
        if decoded := self.cache.get(index):
            yield decoded
            return
        with self.opener(self.records.path(index)) as video:
            yield self.cache.offer(index, video)

    def views(
        self, frames: Tensor, positions: list[Indices], crops: Crops, generator: Generator | None
    ) -> tuple[Tensor, ...]:
        """A (V, 3, T, H, W) per rate; `positions[clip][rate]` says which of `frames` it takes."""
        copies = range(self.copies)
        views = [view for _ in copies for view in self._pixels(frames, crops, generator)]
        return tuple(self._stack(rate, views, crops.size) for rate in zip(*positions, strict=True))

    def _pixels(
        self, frames: Tensor, crops: Crops, generator: Generator | None
    ) -> list[tuple[Tensor, list[Patch]]]:
        """The crops of `frames` as (n, 3, S, S) uint8, and what will cover parts of each."""
        size = crops.size
        boxes = crops.boxes(*frames.shape[1:3], generator)
        views = []
        for pixels in cut_all(frames, boxes, size):
            if self.augment is not None:
                pixels = self.augment(pixels, generator)
            patches = []
            if self.erasing is not None:
                patches = self.erasing.patches(len(pixels), size, generator)
            views.append((torch.from_numpy(np.ascontiguousarray(pixels.numpy())), patches))
        return views

    def _stack(self, clips: Indices, views: list[tuple[Tensor, list[Patch]]], size: int) -> Tensor:
        """A (V, 3, T, H, W): the frames of each of `clips` in each of `views`, clips first."""
        shape = (len(clips) * len(views), 3, len(clips[0]), size, size)
        # NumPy asks for large pages: the first writing takes half the time that torch.empty costs.
        stack = torch.from_numpy(np.empty(shape, np.float32))
        for out, (where, view) in zip(stack, product(clips, views), strict=True):
            pixels, patches = view
            self.normalize.write(pixels, where, out)
            for patch in patches:
                patch.put(out, where)
        return stack


def sample_generator(seed: int, epoch: int, index: int) -> Generator:
    """The random numbers of one sample in one epoch."""
    digest = blake2b(f"{seed} {epoch} {index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))
