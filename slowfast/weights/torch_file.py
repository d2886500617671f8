"""Torch files with a checksum: replaced whole, and damage in them is seen.

torch.load does not look at the sums that a zip file has of its parts: a flipped bit becomes a wrong
weight.  So the sha256 of what torch.save wrote is the file's zip comment, which all who read zip or
torch files pass over:

    PK .. tensors .. directory .. [length of the comment, 2 bytes] sha256:<64 hexadecimal digits>
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from slowfast.weights.replacing import replacing

_COMMENT = re.compile(rb"\x47\x00sha256:([0-9a-f]{64})")  # 0x47 = 71 characters
_NO_COMMENT = b"\0\0"
_BLOCK = 1 << 20  # bytes


class _Summed:
    """A file to write to, for torch.save, that sums up what it gets."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_torch(state: Mapping[str, Any], path: Path) -> None:
    """Save `state` with its checksum; `path` holds the old file or the whole new one at any time.

    Raises DiskFull as `replacing` does.
    """
    with replacing(path, size=tensor_bytes(state)) as temporary, open(temporary, "wb") as file:
        summed = _Summed(file)
        torch.save(state, summed)
        comment = b"sha256:" + summed.sum.hexdigest().encode()
        file.seek(-len(_NO_COMMENT), os.SEEK_END)
        file.write(struct.pack("<H", len(comment)) + comment)


def has_checksum(path: Path) -> bool:
    """Whether `path` carries a checksum, which then is right.  Raises ValueError if it is wrong."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = size - len(_NO_COMMENT) - 71
        if length < 0:
            return False
        file.seek(length)
        found = _COMMENT.fullmatch(file.read())
        if not found:
            return False
        file.seek(0)
        summed = hashlib.sha256()
        while left := length - file.tell():
            summed.update(file.read(min(left, _BLOCK)))
        summed.update(_NO_COMMENT)
    if summed.hexdigest().encode() != found[1]:
        raise ValueError("its content does not have the checksum it was written with")
    return True


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors in `state`, about the size of its file."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        state = state.values()
    elif isinstance(state, str) or not isinstance(state, Iterable):
        return 0
    return sum(map(tensor_bytes, state))
