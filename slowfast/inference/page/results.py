"""What one column of the demo page shows: a prediction, and what testing found at its rate."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.report.results import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from slowfast.inference.predictions import Prediction


@dataclass(frozen=True)
class Accuracy:
    """What a test of the network found: `percent` by rate, "16" or "16x112", of a metric.

    Rates without a size are of pictures with `crop` pixels a side.
    """

    name: str
    percent: Mapping[str, float]
    crop: int
    videos: int
    views: str

    def at(self, num_frames: int, size: int) -> float | None:
        """The percentage at this rate; None where it was not tested."""
        usual = self.percent.get(str(num_frames)) if size == self.crop else None
        return self.percent.get(f"{num_frames}x{size}", usual)


@dataclass(frozen=True)
class View:
    """One column: a prediction, and the pictures `(T, S, S, 3)` uint8 that it was made from."""

    prediction: Prediction
    pixels: Tensor
    indices: tuple[int, ...]
    video_frames: int
    fps: float

    @property
    def num_frames(self) -> int:
        return len(self.indices)


def read_results(source: str | os.PathLike, num_classes: int = 0) -> Accuracy:
    """What `results/test.json` of a run says; `source` is that file or the run's folder.

    Raises ValueError if there is no such file, if it is none of a test, or if it is of another
    number of classes.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "results/test.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        metric = record.get("metric", "top1")
        name = METRICS[metric].short
        percent = {rate: float(row[metric]) for rate, row in record["by_frames"].items()}
        videos, crop = int(record["coverage"]["read"]), int(record["crop"])
        clips, crops = record["views"]
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); --results takes the folder of "
            "a run, or its results/test.json"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} holds no results of a test ({type(error).__name__}: {error}); give the "
            "results/test.json of a run"
        ) from error
    if num_classes and record.get("num_classes", num_classes) != num_classes:
        raise ValueError(
            f"{path} is of a network with {record['num_classes']} classes, this one has "
            f"{num_classes}; give the results of the same run"
        )
    views = f"{clips * crops} views each" if clips * crops > 1 else "one view each"
    return Accuracy(name, percent, crop, videos, views)


def results_beside(checkpoint: str | os.PathLike) -> Path | None:
    """The test of the run that wrote `RUN/checkpoints/best.safetensors`, if it has one."""
    folder = Path(checkpoint).resolve().parent
    path = folder.parent / "results/test.json"
    return path if folder.name == "checkpoints" and path.is_file() else None
