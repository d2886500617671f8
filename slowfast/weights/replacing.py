"""Files that are never half written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"  # of a file that is being written; a process killed meanwhile leaves it behind

# What network file systems answer that have no fsync of folders.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP)


class DiskFull(OSError):
    """A file that found no room; str() is the sentence for the user."""


@contextmanager
def replacing(path: Path, size: int) -> Iterator[Path]:
    """A path to write about `size` bytes to; it replaces `path` once it is whole and on the disk.

    After an error `path` is what it was, and nothing else is left.  Raises DiskFull, naming `path`,
    what it needs and what is free, for whatever error a full disk has caused.
    """
    temporary = path.with_name(path.name + SUFFIX)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except Exception as error:
        temporary.unlink(missing_ok=True)  # before the free space is asked for
        if not _is_disk_full(error):
            raise
        free = shutil.disk_usage(path.parent).free
        raise DiskFull(
            f"no room for {path}: it takes {_mega(size)}, {_mega(free)} are free; what was there "
            "before is whole. Make room and start again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let a power failure not undo a renaming in `folder`, on the systems where one can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def _is_disk_full(error: BaseException | None) -> bool:
    """Also where a library has put an error of its own on top, as torch.save does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _mega(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
