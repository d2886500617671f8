"""The order of an epoch's videos, its division among processes, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from slowfast.datasets.batch import Batch


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields `(epoch, index)`: all videos in order or, with `seed`, shuffled by seed and epoch.

    Process `rank` of `world` takes every `world`-th video, so that the order of all of them
    together does not depend on their number.  No video is taken twice.  In order, the processes'
    shares may differ by one video; shuffled they are equal, and the few videos left over are others
    in each epoch.  The next iteration passes over the first `start` videos of the common order.
    """

    def __init__(self, length: int, seed: int | None = None, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"process {rank} of {world}: ranks are 0 .. {world - 1}")
        self.length, self.seed = length, seed
        self.rank, self.world = rank, world
        self.epoch = self.start = 0

    def __len__(self) -> int:
        """Videos of this process in a whole epoch, wherever it starts."""
        return len(range(self.rank, self._used, self.world))

    @property
    def _used(self) -> int:
        return self.length - self.length % self.world if self.seed is not None else self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.arange(self.length)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        mine = order[self.start : self._used][self.rank :: self.world].tolist()
        return ((self.epoch, index) for index in mine)


class Loader(DataLoader[Batch]):
    """A DataLoader of `Batch` whose epoch decides order and random numbers.

    Its state, taken between two batches of a loop, goes on with the next batch in a loader of any
    number of workers, of processes, or videos per batch.  Batches that workers have ready are not
    counted, and a loop that is broken off starts anew unless the state is loaded.
    """

    _done = 0  # videos that the loop has had in all processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        if epoch != self.sampler.epoch:
            self.sampler.epoch, self.sampler.start = epoch, 0

    def __iter__(self) -> Iterator[Batch]:
        self._done = self.sampler.start
        for batch in super().__iter__():
            self.sampler.start = 0
            self._done += self.batch_size * self.sampler.world
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its videos all processes together have had."""
        return {"epoch": self.sampler.epoch, "done": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration where `state` was taken."""
        self.sampler.epoch, self.sampler.start = state["epoch"], state["done"]
