"""The predictions of a test at several rates, as its predictions.csv has them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("path", "label", "frames", "prediction", "score")


class Said(NamedTuple):
    """What a network said of a video at one rate: a class and its score."""

    prediction: int
    score: float


@dataclass(frozen=True)
class Predictions:
    """The predictions of a test.

    rates    frame counts (`8`) or pairs with sizes (`8x112`) as text, cheap to dear
    labels   the true classes of each video, none where they are not known
    said     by video, then by rate
    names    of the classes; empty if the test did not know them
    """

    rates: tuple[str, ...]
    labels: dict[str, frozenset[int]]
    said: dict[str, dict[str, Said]]
    names: dict[int, str]

    def right(self, video: str, rate: str) -> bool:
        return self.said[video][rate].prediction in self.labels[video]

    def name(self, number: int) -> str:
        return self.names.get(number, str(number))


def read_predictions(path: Path) -> Predictions:
    """What a test wrote into predictions.csv, or into the folder of a run around it.

    Names of classes come from per_class.csv beside it.  Raises ValueError for another file, and
    for predictions at one rate alone.
    """
    path = predictions_file(path)
    rows = _rows(path)
    labels, said = {}, {}
    for row in rows:
        numbers = filter(None, row["label"].split(";"))
        labels[row["path"]] = frozenset(map(int, numbers))
        by_rate = said.setdefault(row["path"], {})
        by_rate[row["frames"]] = Said(int(row["prediction"]), float(row["score"]))
    rates = tuple(sorted({row["frames"] for row in rows}, key=_numbers))
    if len(rates) < 2:
        found = f"has predictions at {rates[0]} frames alone" if rates else "is empty"
        raise ValueError(f"{path} {found}; test at several, like TEST.NUM_FRAMES [4,8,16]")
    complete = {video: by_rate for video, by_rate in said.items() if len(by_rate) == len(rates)}
    return Predictions(rates, labels, complete, _class_names(path.with_name("per_class.csv")))


def predictions_file(path: Path) -> Path:
    """The predictions.csv meant by `path`: itself, or in the folder of a run or of its results."""
    for found in (path, path / "predictions.csv", path / "results/predictions.csv"):
        if found.is_file():
            return found
    raise ValueError(f"{path} does not exist, or is a folder without results/predictions.csv")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} is no table but a binary file; give the predictions.csv of a test"
        ) from error
    if missing:
        raise ValueError(
            f"{path} has no column {sorted(missing)[0]!r}; give the predictions.csv of a test"
        )
    return rows


def _numbers(rate: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", rate)))


def _class_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {int(row["class"]): row["name"] for row in csv.DictReader(file)}
