"""What a finished experiment is made of: networks, and how each did at every tested frame count.

Percentages are 0 to 100.  Dictionaries map a tested frame count to its value.  A `Report` goes to
JSON with `save` and comes back equal with `load`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple


class Metric(NamedTuple):
    """What a network is judged by, in words and in short, with all classes and with each.

    `beside` is the key of a second number of a test, `beside_short` its name.
    """

    name: str
    short: str
    per_class: str
    beside: str
    beside_short: str


METRICS = {
    "top1": Metric("Top-1 accuracy", "Top-1", "Accuracy", "top5", "Top-5"),
    "map": Metric("Mean average precision", "mAP", "Average precision", "hit1", "Hit@1"),
}


@dataclass(frozen=True)
class Dataset:
    """What was learned: its name, class names in label order, and numbers of videos."""

    name: str
    classes: tuple[str, ...]
    train_videos: int
    val_videos: int
    note: str = ""

    @property
    def chance(self) -> float:
        """Accuracy of guessing, in percent, when all classes are equally frequent."""
        return 100 / len(self.classes)


@dataclass(frozen=True)
class Cost:
    """Cost of one clip: 1e9 multiply-adds, milliseconds, MiB of activations."""

    gflops: float
    latency_ms: float
    peak_mb: float


@dataclass(frozen=True)
class Coverage:
    """How many of the listed videos a test could read, and which not (`index`, `path`, `error`)."""

    videos: int
    read: int
    failures: tuple[Mapping, ...] = ()


@dataclass(frozen=True)
class CurvePoint:
    """Validation accuracy, or its like, at one rate after a (fractional) number of epochs."""

    epoch: float
    rate: int
    top1: float


@dataclass(frozen=True)
class Run:
    """One network, trained once per seed and tested at many frame counts.

    `kind` is `ffn` or `plain`; `accuracy` and `top5` hold one number per seed, `per_class` means
    over seeds (None for a class without videos), `confusion` sums over seeds with the truth in
    rows.  `metric`, of METRICS, says what stands for accuracy and top-5; without one class per
    video there is no confusion.  `curves` may hold several seeds: points of equal epoch and rate
    are averaged.
    """

    name: str
    kind: str
    trained: tuple[int, ...]
    parameters: int
    accuracy: dict[int, list[float]]
    top5: dict[int, list[float]]
    per_class: dict[int, list[float | None]]
    confusion: dict[int, list[list[int]]]
    coverage: Coverage
    costs: dict[int, Cost] = field(default_factory=dict)
    curves: tuple[CurvePoint, ...] = ()
    views: tuple[int, int] = (1, 1)
    crop: int = 0
    metric: str = "top1"

    def __post_init__(self):
        if self.kind not in ("ffn", "plain"):
            raise ValueError(f"kind={self.kind!r} of run {self.name!r} must be 'ffn' or 'plain'")

    def mean(self, frames: int) -> float:
        """Mean top-1 accuracy over seeds, in percent."""
        return statistics.fmean(self.accuracy[frames])

    def std(self, frames: int) -> float:
        """Sample standard deviation over seeds; 0 for a single seed."""
        values = self.accuracy[frames]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @classmethod
    def from_tests(
        cls,
        tests: Sequence[Mapping | str | Path],
        name: str = "",
        costs: Mapping[int, Cost] | None = None,
        curves: Sequence[CurvePoint] = (),
    ) -> Run:
        """The run behind one `results/test.json` per seed (paths or their contents).

        Without `name` it is "FFN" or "trained at N".  Raises ValueError when the files disagree in
        trained counts, tested counts or classes.
        """
        tests = [t if isinstance(t, Mapping) else json.loads(Path(t).read_text()) for t in tests]
        _check_agreement(tests)
        trained = tuple(tests[0]["trained"])
        counts = sorted(tests[0]["by_frames"], key=int)
        by_frames = {int(t): [test["by_frames"][t] for test in tests] for t in counts}
        metric = tests[0].get("metric", "top1")
        beside = METRICS[metric].beside
        return cls(
            name=name or (f"trained at {trained[0]}" if len(trained) == 1 else "FFN"),
            kind="plain" if len(trained) == 1 else "ffn",
            trained=trained,
            parameters=tests[0]["parameters"],
            accuracy={t: [s[metric] for s in seeds] for t, seeds in by_frames.items()},
            top5={t: [s[beside] for s in seeds] for t, seeds in by_frames.items()},
            per_class={t: _means(seeds) for t, seeds in by_frames.items()},
            confusion={t: _sums(seeds) for t, seeds in by_frames.items() if metric == "top1"},
            coverage=_merged_coverage([test["coverage"] for test in tests]),
            costs=dict(costs or {}),
            curves=tuple(curves),
            views=tuple(tests[0]["views"]),
            crop=tests[0]["crop"],
            metric=metric,
        )


@dataclass(frozen=True)
class Report:
    """All runs of one experiment: FFN, the network of the highest rate, and one per other rate.

    `rates` are the trained frame counts, `tested` all that were tested, both low to high;
    `commands` reproduce the experiment; `cost_note` says on what latency was measured.
    """

    title: str
    dataset: Dataset
    rates: tuple[int, ...]
    tested: tuple[int, ...]
    runs: tuple[Run, ...]
    seeds: tuple[int, ...] = (0,)
    commands: tuple[str, ...] = ()
    cost_note: str = ""

    def __post_init__(self):
        trained = [run.trained for run in self.runs if run.kind == "plain"]
        if not any(run.kind == "ffn" for run in self.runs):
            raise ValueError(f"no run of kind 'ffn' among {[run.name for run in self.runs]}")
        for rate in self.rates:
            if (rate,) not in trained:
                raise ValueError(
                    f"no plain run trained at {rate} frames; plain runs have {trained}"
                )
        for run in self.runs:
            if missing := [t for t in self.tested if t not in run.accuracy]:
                raise ValueError(f"run {run.name!r} was not tested at {missing} frames")

    @property
    def metric(self) -> Metric:
        """What the networks are judged by."""
        return METRICS[self.ffn.metric]

    @property
    def chance(self) -> float | None:
        """The metric of guessing, in percent; None where there is no such number."""
        return self.dataset.chance if self.ffn.metric == "top1" else None

    @property
    def ordered(self) -> tuple[Run, ...]:
        """The plain networks by their trained count, low to high, then the frame-flexible ones."""
        return tuple(sorted(self.runs, key=lambda run: (run.kind == "ffn", run.trained)))

    @property
    def ffn(self) -> Run:
        """The (first) frame-flexible network."""
        return next(run for run in self.runs if run.kind == "ffn")

    def separate(self, rate: int) -> Run:
        """The plain network trained at `rate` frames."""
        return next(run for run in self.runs if run.kind == "plain" and run.trained == (rate,))

    @property
    def high(self) -> Run:
        """The plain network trained at the highest rate."""
        return self.separate(self.rates[-1])

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        values = json.loads(Path(path).read_text())
        tuples = {key: tuple(values[key]) for key in ("rates", "tested", "seeds", "commands")}
        dataset = {**values["dataset"], "classes": tuple(values["dataset"]["classes"])}
        runs = tuple(_run_from_json(run) for run in values["runs"])
        return cls(**{**values, **tuples, "dataset": Dataset(**dataset), "runs": runs})


def _run_from_json(values: Mapping) -> Run:
    """The run again: JSON made text of its integer keys and lists of its tuples."""
    by_frames = ("accuracy", "top5", "per_class", "confusion", "costs")
    parts = {key: {int(t): v for t, v in values[key].items()} for key in by_frames}
    parts["costs"] = {t: Cost(**cost) for t, cost in parts["costs"].items()}
    parts["curves"] = tuple(CurvePoint(**point) for point in values["curves"])
    parts["coverage"] = _coverage(values["coverage"])
    parts |= {key: tuple(values[key]) for key in ("trained", "views")}
    return Run(**{**values, **parts})


def _coverage(values: Mapping) -> Coverage:
    return Coverage(values["videos"], values["read"], tuple(values["failures"]))


def _check_agreement(tests: Sequence[Mapping]) -> None:
    if not tests:
        raise ValueError("no test results given; expected one test.json per seed")
    for key in ("trained", "num_classes", "parameters", "by_frames"):
        values = [sorted(t[key]) if key == "by_frames" else t[key] for t in tests]
        if any(value != values[0] for value in values):
            raise ValueError(f"test results of one run disagree in {key!r}: {values}")


def _means(seeds: Sequence[Mapping]) -> list[float | None]:
    """The mean accuracy of each class over the seeds that saw a video of it."""
    by_class = zip(*(seed["per_class"] for seed in seeds), strict=True)
    known = [[value for value in values if value is not None] for values in by_class]
    return [statistics.fmean(values) if values else None for values in known]


def _sums(seeds: Sequence[Mapping]) -> list[list[int]]:
    """The confusion matrix of all seeds together."""
    by_row = zip(*(seed["confusion"] for seed in seeds), strict=True)
    return [[sum(cell) for cell in zip(*rows, strict=True)] for rows in by_row]


def _merged_coverage(coverages: Sequence[Mapping]) -> Coverage:
    """The seed that read least, and every video that failed under any seed, once."""
    least = min(coverages, key=lambda c: c["read"] / max(c["videos"], 1))
    failures = {f["path"]: dict(f) for c in coverages for f in c["failures"]}
    return Coverage(least["videos"], least["read"], tuple(failures.values()))
