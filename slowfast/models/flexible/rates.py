"""Which frame counts, at which sizes, a network is trained for, and which of them is active."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from typing import NamedTuple

import torch


class Rate(NamedTuple):
    """A frame count and, where a network is trained for several, the side of the frames in pixels.

    As text it is `16` or `16x112`.
    """

    num_frames: int
    size: int = 0

    @property
    def pixels(self) -> int:
        """Pixels of a clip, of which its cost is about a multiple; frames if there is no size."""
        return self.num_frames * max(self.size, 1) ** 2

    @property
    def plain(self) -> int | str:
        """As files have it: the frame count, or `16x112`."""
        return str(self) if self.size else self.num_frames

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.size}" if self.size else str(self.num_frames)


class Rates:
    """The trained rates, cheap to dear, their checkpoint tags, and the one active now.

    These are all `num_frames`, or all pairs of them with `sizes`; a dear one of equally many pixels
    has more frames.  `tags` (None: the rates as text) are one for each.  One object is shared by
    all private layers of a network.  Outside `at` the dearest is active.  Raises ValueError unless
    there are two rates or more, of rising positive counts and sizes, each with its own tag.
    """

    def __init__(
        self,
        tags: Sequence[str] | None,
        num_frames: Sequence[int],
        sizes: Sequence[int] = (),
    ) -> None:
        _check_several("num_frames", num_frames, "frame counts, like (4, 8, 16)")
        _check_several("sizes", sizes, "sides in pixels, like (112, 224)")
        self.num_frames, self.sizes = tuple(num_frames), tuple(sizes)
        _check_rising("num_frames", self.num_frames)
        _check_rising("sizes", self.sizes)
        self.all = all_rates(self.num_frames, self.sizes)
        if len(self.all) < 2:
            raise ValueError(
                f"num_frames={self.num_frames}: frame flexibility takes two or more trained frame "
                "counts, like (4, 8, 16), or sizes; for a single one use the plain network"
            )
        self.tags = tuple(map(str, self.all if tags is None else tags))
        _check_tags(self.tags, self.all)
        self._pinned: str | None = None

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

    def nearest(self, num_frames: int, size: float = 0) -> str:
        """The tag of the trained rate nearest to a clip; a tie goes to the dearer one.

        Frame counts alone are compared by their difference, the rule of the paper.  With sizes, it
        counts by which factors frames and pixels, and with each the cost, have to grow or shrink:
        8 frames of 112 pixels are one doubling from 16 of 112, and two from 8 of 224.  `size` is
        the side of a square, 0 stands for the largest one.
        """
        best, least = 0, float("inf")
        for i, rate in enumerate(self.all):  # spelt out: torch.compile traces no min(key=)
            distance = self._distance(rate, num_frames, size)
            if distance <= least:
                best, least = i, distance
        return self.tags[best]

    def _distance(self, rate: Rate, num_frames: int, size: float) -> float:
        if not self.sizes:
            return abs(rate.num_frames - num_frames)
        frames = _factor(rate.num_frames, num_frames)
        return frames * _factor(rate.size, size or self.sizes[-1]) ** 2

    def rate(self, tag: str) -> Rate:
        """The rate that `tag` labels."""
        return self.all[self.tags.index(tag)]

    def add(self, tag: str, num_frames: int) -> None:
        """One more frame count, in its place among the others; ValueError as for a new object."""
        if self.sizes:
            raise ValueError(f"{self}: a rate is added to frame counts, not to pairs with sizes")
        both = [*zip(self.num_frames, self.tags, strict=True), (num_frames, tag)]
        counts, tags = zip(*sorted(both), strict=True)
        _check_rising("num_frames", counts)
        _check_tags(tags, counts)
        self.num_frames, self.tags, self.all = counts, tags, all_rates(counts)

    def __repr__(self) -> str:
        named = {tag: str(rate) for tag, rate in zip(self.tags, self.all, strict=True)}
        return f"Rates({named})"


def all_rates(num_frames: Sequence[int], sizes: Sequence[int] = ()) -> tuple[Rate, ...]:
    """Every frame count, at every size if there are any, cheap to dear."""
    pairs = [Rate(*pair) for pair in product(num_frames, sizes or (0,))]
    return tuple(sorted(pairs, key=lambda rate: (rate.pixels, rate.num_frames)))


def _factor(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _check_several(name: str, values: object, wanted: str) -> None:
    if not isinstance(values, Iterable):
        raise ValueError(f"{name}={values!r} must be all trained {wanted}")


def _check_rising(name: str, values: tuple[int, ...]) -> None:
    for value in values:
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={values} must be positive integers; got {value!r}")
    for low, high in pairwise(values):
        if high <= low:
            raise ValueError(f"{name}={values} must rise; got {high} after {low}")


def _check_tags(tags: tuple[str, ...], rates: Sequence[object]) -> None:
    if len(tags) != len(rates) or len(set(tags)) != len(tags):
        names = ", ".join(map(str, rates))
        raise ValueError(f"tags={tags} must be {len(rates)} different labels, one each for {names}")
    for tag in tags:
        if not tag or "." in tag:
            raise ValueError(f"tags={tags}: {tag!r} must be a non-empty label without dots")


def _in_backward() -> bool:
    # What torch.utils.checkpoint asks too; -1 outside of a backward pass.
    return torch._C._current_graph_task_id() != -1
