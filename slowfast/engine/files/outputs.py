"""What a test leaves besides its numbers: predictions, classes, confusion and hardest videos."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slowfast.engine.evaluate import Evaluation, Scored
from slowfast.engine.processes.world import World
from slowfast.models.flexible import Rate
from slowfast.report.heatmaps import save_confusion

HARDEST = 100  # mistakes listed per frame count


class Prediction(NamedTuple):
    """A video at a frame count or `Rate`: its best class, its score, and that of the true one.

    `label` joins several true classes by semicolons; the score is the highest of theirs.  `top5`
    lists the classes of the highest scores.
    """

    path: str
    label: str
    frames: int | Rate
    prediction: int
    score: float
    label_score: float
    top5: str

    @property
    def is_mistake(self) -> bool:
        return self.label != "" and str(self.prediction) not in self.label.split(";")

    def written(self) -> list[Any]:
        """The fields with scores as short as they are useful."""
        return [f"{value:.4f}" if isinstance(value, float) else value for value in self]


def predictions(
    paths: Sequence[str], labels: Tensor, rate: int | Rate, scores: Tensor
) -> list[Prediction]:
    """A prediction per video from `scores` (B, K) and `labels`, (B,) or (B, K)."""
    scores, labels = scores.cpu(), labels.cpu()
    values, best = (part.tolist() for part in scores.topk(min(5, scores.shape[1]), dim=1))
    if labels.ndim == 1:
        labels = torch.nn.functional.one_hot(labels, scores.shape[1])
    own = scores.masked_fill(labels == 0, -torch.inf).amax(dim=1).tolist()
    rows = zip(paths, labels, values, best, own, strict=True)
    return [
        Prediction(
            path=path,
            label=";".join(map(str, label.nonzero()[:, 0].tolist())),
            frames=rate,
            prediction=classes[0],
            score=top[0],
            label_score=score,
            top5=" ".join(map(str, classes)),
        )
        for path, label, top, classes, score in rows
    ]


class ResultFiles:
    """Writes the files of a test into `folder`.

    predictions.csv      a line per frame count and video, in the order of the list
    predictions.parquet  the same, if pyarrow is installed
    per_class.csv        videos of each class and its accuracy or precision at each frame count
    confusion.png        where videos have one class
    hardest.csv          mistakes, first those with the largest lead over the true class
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes
        self._found: list[tuple[int | Rate, int, Prediction]] = []  # rate and place in the list
        self._rows: list[Prediction] = []

    def add(self, scored: Scored) -> None:
        """Take in the predictions of a batch."""
        batch = scored.batch
        for rate, scores in scored.scores.items():
            rows = predictions(batch.paths, batch.labels, rate, scores)
            places = zip(batch.index.tolist(), rows, strict=True)
            self._found += [(rate, place, row) for place, row in places]

    def finish(self, result: Evaluation, world: World = World()) -> None:
        """Write the files in the main process, from all predictions and what `result` counted."""
        found = chain(*world.gather(self._found))
        if not world.is_main:
            return
        self._rows = [row for _, _, row in sorted(found, key=itemgetter(0, 1))]
        with open(self.folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
            rows = (row.written() for row in self._rows)
            csv.writer(file).writerows([Prediction._fields, *rows])
        if find_spec("pyarrow") is not None:
            _write_parquet(self.folder / "predictions.parquet", self._rows)
        self._write_classes(result)
        self._write_hardest()
        records = {t: meter.record() for t, meter in result.by_frames.items()}
        matrices = {t: r["confusion"] for t, r in records.items() if "confusion" in r}
        if matrices:
            save_confusion(self.folder / "confusion.png", matrices, self.classes)

    def _write_classes(self, result: Evaluation) -> None:
        meters = result.by_frames
        columns = [meter.per_class for meter in meters.values()]
        counts = next((meter.counts for meter in meters.values()), [])
        with open(self.folder / "per_class.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "name", "videos", *(f"frames_{t}" for t in meters)])
            for number, (count, *values) in enumerate(zip(counts, *columns, strict=True)):
                cells = ["" if value is None else f"{value:.2f}" for value in values]
                writer.writerow([number, self._name(number), count, *cells])

    def _write_hardest(self) -> None:
        mistakes = [row for row in self._rows if row.is_mistake]
        mistakes.sort(key=lambda row: (row.frames, row.label_score - row.score))
        shown: dict[int, int] = {}
        with open(self.folder / "hardest.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*Prediction._fields, "label_name", "prediction_name"])
            for row in mistakes:
                shown[row.frames] = shown.get(row.frames, 0) + 1
                if shown[row.frames] <= HARDEST:
                    labels = ";".join(self._name(int(c)) for c in row.label.split(";"))
                    writer.writerow([*row.written(), labels, self._name(row.prediction)])

    def _name(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)


def _write_parquet(path: Path, rows: Iterable[Prediction]) -> None:
    from pyarrow import Table, parquet

    tuples = [row._asdict() for row in rows]
    for row in tuples:
        row["frames"] = getattr(row["frames"], "plain", row["frames"])  # of a `Rate` its text
    parquet.write_table(Table.from_pylist(tuples), path)
