"""Fixtures that several rooms share."""

from pathlib import Path

import pytest

from slowfast.datasets.motion import write_motion


@pytest.fixture(scope="session")
def motion(tmp_path_factory) -> Path:
    """A motion data set of 32 training and 16 validation videos."""
    folder = tmp_path_factory.mktemp("motion")
    return write_motion(folder, train_videos=32, val_videos=16, workers=1)
