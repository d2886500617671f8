"""Frames of videos by index: exactly those asked for, upright, or an error that says why not."""

from slowfast.datasets.video.base import Video, VideoError
from slowfast.datasets.video.images import check_template
from slowfast.datasets.video.open import BACKENDS, check_backend, open_video

__all__ = ["BACKENDS", "Video", "VideoError", "check_backend", "check_template", "open_video"]
