"""Results that are there whole or not at all, without waiting for the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; it replaces `path` at the end, and is removed after an error.

    Unlike `weights.replacing` it does not wait until the disk has it: what is made of videos can be
    made again, and a thousand small files would take minutes.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
