"""In which order frames are looked at, so that the first few cover the whole video."""

from __future__ import annotations

from itertools import count, pairwise

# Of the released networks for ten frames; Algorithm 1 would say 4, 0, 9, 2, 6, 1, 3, 5, 7, 8.
RELEASED = (5, 0, 9, 2, 7, 4, 6, 3, 8, 1)


def visit_order(num_frames: int) -> tuple[int, ...]:
    """The indices 0 .. num_frames - 1, coarse to fine.

    Middle, beginning, end, then the middles of halves, quarters and so on (FrameExit, Algorithm 1):

        5 frames:  . . 0 . .   1 . 0 . 2   1 3 0 4 2   are visited as  2, 0, 4, 1, 3

    Ten frames have the order of the released networks.  Raises ValueError if num_frames < 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames={num_frames} must be 1 or more")
    if num_frames == len(RELEASED):
        return RELEASED
    last = num_frames - 1
    order = dict.fromkeys([last // 2, 0, last])  # keeps the first of equal frames
    for level in count(1):
        if len(order) == num_frames:
            return tuple(order)
        # The paper counts frames from 1 and rounds the bounds, and the middles between them, down.
        bounds = [1 + last * i // 2**level for i in range(2**level + 1)]
        order |= dict.fromkeys((low + high) // 2 - 1 for low, high in pairwise(bounds))
    raise AssertionError("unreachable: the middles of ever finer parts reach every frame")
