"""Videos of a list as clips at several frame counts: lists, sampling, decoding, crops, loaders."""

from slowfast.datasets.batch import Batch, Failure
from slowfast.datasets.catalogue import DATASETS, Entry
from slowfast.datasets.epochs import Loader
from slowfast.datasets.loader import build_loader
from slowfast.datasets.video import Video, VideoError, open_video

__all__ = [
    "DATASETS",
    "Batch",
    "Entry",
    "Failure",
    "Loader",
    "Video",
    "VideoError",
    "build_loader",
    "open_video",
]
