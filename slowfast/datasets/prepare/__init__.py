"""Getting a data set ready: lists from folders and official files, checks, smaller copies."""

from slowfast.datasets.prepare.check import Findings, check_videos, summary
from slowfast.datasets.prepare.folders import init_folder
from slowfast.datasets.prepare.listing import convert_lists, read_splits
from slowfast.datasets.prepare.pack import Packing, pack_videos

__all__ = [
    "Findings",
    "Packing",
    "check_videos",
    "convert_lists",
    "init_folder",
    "pack_videos",
    "read_splits",
    "summary",
]
