"""Which frame counts a network is trained for, and which of them is active."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class Rates:
    """The trained frame counts, low to high, their checkpoint tags, and the one active now.

    One object is shared by all private layers of a network.  Outside `at` the highest is active.
    Raises ValueError unless there are two or more rising positive counts, each with its own tag.
    """

    def __init__(self, tags: Sequence[str], num_frames: Sequence[int]) -> None:
        self.tags = tuple(str(tag) for tag in tags)
        self.num_frames = tuple(num_frames)
        self._pinned: str | None = None
        _check_counts(self.num_frames)
        _check_tags(self.tags, self.num_frames)

    @property
    def active(self) -> str:
        """The tag whose private layers run."""
        if self._pinned is None and not torch.compiler.is_compiling() and _in_backward():
            raise RuntimeError(
                "a frame-flexible layer is recomputed in the backward pass without its rate; "
                "replace torch.utils.checkpoint by slowfast.models.flexible.checkpoint"
            )
        return self._pinned or self.tags[-1]

    @contextmanager
    def at(self, tag: str) -> Iterator[None]:
        """Makes `tag` active inside the `with` block; ValueError if there is no such tag."""
        if tag not in self.tags:
            raise ValueError(f"no rate {tag!r}; the rates are {', '.join(self.tags)}")
        before, self._pinned = self._pinned, tag
        try:
            yield
        finally:
            self._pinned = before

    def nearest(self, num_frames: int) -> str:
        """The tag of the trained count nearest to `num_frames`; a tie goes to the higher one."""
        best = 0
        for i, count in enumerate(self.num_frames):  # spelt out: torch.compile traces no min(key=)
            if abs(count - num_frames) <= abs(self.num_frames[best] - num_frames):
                best = i
        return self.tags[best]

    def add(self, tag: str, num_frames: int) -> None:
        """One more rate, in its place among the others; ValueError as for a new object."""
        both = [*zip(self.num_frames, self.tags, strict=True), (num_frames, tag)]
        counts, tags = zip(*sorted(both), strict=True)
        _check_counts(counts)
        _check_tags(tags, counts)
        self.num_frames, self.tags = counts, tags

    def __repr__(self) -> str:
        return f"Rates({dict(zip(self.tags, self.num_frames, strict=True))})"


def _check_counts(counts: tuple[int, ...]) -> None:
    if len(counts) < 2:
        raise ValueError(
            f"num_frames={counts}: frame flexibility takes two or more trained frame counts, "
            "like (4, 8, 16); for a single one use the plain network"
        )
    for count in counts:
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"num_frames={counts} must be positive integers; got {count!r}")
    for low, high in zip(counts, counts[1:], strict=False):
        if high <= low:
            raise ValueError(f"num_frames={counts} must rise; got {high} after {low}")


def _check_tags(tags: tuple[str, ...], counts: tuple[int, ...]) -> None:
    if len(tags) != len(counts) or len(set(tags)) != len(tags):
        raise ValueError(
            f"tags={tags} must be {len(counts)} different labels, one per count in {counts}"
        )
    for tag in tags:
        if not tag or "." in tag:
            raise ValueError(f"tags={tags}: {tag!r} must be a non-empty label without dots")


def _in_backward() -> bool:
    # What torch.utils.checkpoint asks too; -1 outside of a backward pass.
    return torch._C._current_graph_task_id() != -1
