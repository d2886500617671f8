"""The processes that run together, and what they tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """`size` processes, of which this is `rank`, computing on `device`.  Alone, all calls are free.

    Every process of a world makes the same calls in the same order, or all wait for each other.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    origin: str = ""  # who started the processes and where they met, for the log

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files and log."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values`, of one shape everywhere, over all processes."""
        if self.size > 1:
            values = values.to(self.device, copy=True)
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in one of the processes."""
        return bool(self.sum(torch.tensor(float(flag)))) if self.size > 1 else flag

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each process, in the order of ranks."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """The `value` of the main process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()
