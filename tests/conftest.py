"""Fixtures that several rooms share."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from slowfast.datasets.motion import write_motion


@pytest.fixture(scope="session")
def motion(tmp_path_factory) -> Path:
    """A motion data set of 32 training and 16 validation videos."""
    folder = tmp_path_factory.mktemp("motion")
    return write_motion(folder, train_videos=32, val_videos=16, workers=1)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """After a test that ran something whole, which sets up the project's log for itself."""
    yield
    log = logging.getLogger("slowfast")
    log.setLevel(logging.NOTSET)
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
