"""The batches of an epoch, their division among processes, and how far an epoch has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from slowfast.datasets.batch import Batch


class Kind(NamedTuple):
    """A batch of `videos`, those of all processes together, as clips of the data set's `shape`."""

    videos: int
    shape: int | None = None


Kinds = Callable[[int], Sequence[Kind]]  # by epoch, what its batches repeat


class EpochBatches(Sampler[list[tuple[int, ...]]]):
    """Yields the keys of each batch: `(epoch, index)` or `(epoch, index, shape)` per video.

    The videos are in order or, with `seed`, shuffled by seed and epoch.  Each batch takes `videos`
    of them or, unless `whole` is set, the kinds that `kinds` says repeat in an epoch.  Batches do
    not depend on the number of processes, and no video is taken twice.  Of each, process `rank` of
    `world` gets its share.

    In order the shares may differ by one video, or a process may have one batch less.  Shuffled
    they are equal: a last batch that `world` does not divide loses a few videos, others in each
    epoch.  There video i from one end of the batch lies in the same process as video i from the
    other, if the process gets an even number, so that `Mixing` pairs the same videos in any world.

    `drop_last` leaves out the batch that is not full.  The next iteration passes over the first
    `start` videos of the epoch.
    """

    def __init__(
        self,
        length: int,
        videos: int,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        kinds: Kinds | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"process {rank} of {world}: ranks are 0 .. {world - 1}")
        self.length, self.seed = length, seed
        self.rank, self.world = rank, world
        self.drop_last = drop_last
        self.epoch = self.start = 0
        self.whole = False
        self._videos, self._kinds = videos, kinds
        self._lengths: dict[tuple[Kind, ...], int] = {}

    def __len__(self) -> int:
        """Batches of this process in a whole epoch, wherever it starts."""
        kinds = self.kinds
        if kinds not in self._lengths:
            self._lengths[kinds] = len(self._batches(0))
        return self._lengths[kinds]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What the batches of the epoch repeat."""
        if self.whole or self._kinds is None:
            return (Kind(self._videos),)
        return tuple(self._kinds(self.epoch))

    def ends(self) -> list[int]:
        """Where each batch of the next iteration ends in the epoch, in videos of all processes."""
        return [stop for _, stop, _ in self._batches(self.start)]

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        epoch, order = self.epoch, torch.arange(self.length)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(self.length, generator=generator)
        batches = self._batches(self.start)
        return (
            [(epoch, index, *shape) for index in order[self._mine(first, stop)].tolist()]
            for first, stop, shape in batches
        )

    def _batches(self, start: int) -> list[tuple[int, int, tuple[int, ...]]]:
        """First and last place, the latter excluded, and shape of this process's batches."""
        found, first = [], 0
        for kind in cycle(self.kinds):
            stop = first + kind.videos
            if stop <= start:
                first = stop
                continue
            first = max(first, start)  # another batch size than that of `start` goes on from there
            stop = first + kind.videos
            if stop > self.length:
                stop = first if self.drop_last else self._last(first)
            if self._mine(first, stop):
                found.append((first, stop, () if kind.shape is None else (kind.shape,)))
            if stop < first + kind.videos:
                return found
            first = stop

    def _last(self, first: int) -> int:
        """Where the last batch ends, which is not full."""
        rest = max(self.length - first, 0)
        return first + (rest - rest % self.world if self.seed is not None else rest)

    def _mine(self, first: int, stop: int) -> list[int]:
        """This process's places among `first` .. `stop` - 1.

        Shuffled, 2 processes:  0 1 1 0 0 1 1 0.  In order:  0 1 0 1 0 1 0 1.
        """
        places = range(first + self.rank, stop, self.world)
        if self.seed is None:
            return list(places)
        back = self.world - 1 - 2 * self.rank
        return [place + back * (row % 2) for row, place in enumerate(places)]


class Loader(DataLoader[Batch]):
    """A DataLoader of `Batch` whose epoch decides order, kinds of batches and random numbers.

    Its state, taken between two batches of a loop, goes on with the next batch in a loader of any
    number of workers, of processes, or videos per batch.  Batches that workers have ready are not
    counted, and a loop that is broken off starts anew unless the state is loaded.
    """

    def __init__(self, dataset: Dataset, batches: EpochBatches, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self._done = 0  # videos that the loop has had in all processes

    def set_epoch(self, epoch: int, whole: bool = False) -> None:
        """Choose the epoch that the next iteration yields; `whole` makes all batches of one kind.

        They hold the clips that the network is meant for, also in multigrid training.
        """
        self.batch_sampler.whole = whole
        if epoch != self.batch_sampler.epoch:
            self.batch_sampler.epoch, self.batch_sampler.start = epoch, 0

    def __iter__(self) -> Iterator[Batch]:
        self._done, ends = self.batch_sampler.start, self.batch_sampler.ends()
        batches = super().__iter__()  # the sampler has been asked
        self.batch_sampler.start = 0
        for end, batch in zip(ends, batches, strict=True):
            self._done = end
            yield batch

    @property
    def remaining(self) -> int:
        """Batches of the next iteration."""
        return len(self.batch_sampler.ends())

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its videos all processes together have had."""
        return {"epoch": self.batch_sampler.epoch, "done": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration where `state` was taken."""
        self.batch_sampler.epoch, self.batch_sampler.start = state["epoch"], state["done"]
