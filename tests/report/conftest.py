"""An experiment with invented numbers: the shape of real results, for looking and counting only."""

import dataclasses
import random

import pytest

from slowfast.report import Cost, CurvePoint, Dataset, Report, Run

CLASSES = ("left", "right", "up", "down", "clockwise", "counter-clockwise", "grow", "shrink")
CLASSES += ("turn back", "move then stop", "stop then move", "zig-zag <&>")
TESTED = (2, 4, 6, 8, 10, 12, 16)
VIDEOS_PER_CLASS = 25
# Invented top-1 at TESTED of the networks trained at (...) frames.
ACCURACY = {
    (4,): (61.0, 88.2, 83.1, 74.0, 65.2, 58.0, 47.1),
    (8,): (30.3, 62.0, 84.5, 93.4, 92.0, 88.1, 80.3),
    (16,): (14.2, 33.3, 58.0, 77.6, 87.5, 92.1, 96.0),
    (4, 8, 16): (66.0, 90.4, 89.0, 94.9, 93.6, 95.1, 97.2),
}


def invented_confusion(top1: float, draw: random.Random) -> list[list[int]]:
    """Rows of VIDEOS_PER_CLASS videos with about `top1` percent on the diagonal."""
    rows = []
    for truth in range(len(CLASSES)):
        right = min(VIDEOS_PER_CLASS, round(VIDEOS_PER_CLASS * top1 / 100 + draw.gauss(0, 2)))
        row = [0] * len(CLASSES)
        row[truth] = max(0, right)
        for _ in range(VIDEOS_PER_CLASS - row[truth]):
            row[(truth + draw.choice([1, 1, 2, 5, 7])) % len(CLASSES)] += 1
        rows.append(row)
    return rows


def invented_test(trained: tuple[int, ...], seed: int) -> dict:
    """What `results/test.json` of one network and seed holds."""
    draw = random.Random(f"{trained} {seed}")
    by_frames = {}
    for frames, top1 in zip(TESTED, ACCURACY[trained], strict=True):
        confusion = invented_confusion(top1 + draw.gauss(0, 1), draw)
        per_class = [100 * row[i] / VIDEOS_PER_CLASS for i, row in enumerate(confusion)]
        by_frames[str(frames)] = {
            "rate": min(trained, key=lambda r: (abs(r - frames), -r)),
            "top1": sum(per_class) / len(CLASSES),
            "top5": 99.0,
            "per_class": per_class,
            "confusion": confusion,
        }
    videos = VIDEOS_PER_CLASS * len(CLASSES)
    return {
        "name": "invented",
        "model": "R2Plus1D",
        "dataset": "motion",
        "parameters": 120_000 + 1_000 * len(trained),
        "trained": list(trained),
        "views": [1, 1],
        "crop": 48,
        "num_classes": len(CLASSES),
        "classes": list(CLASSES),
        "coverage": {"videos": videos, "read": videos, "failures": []},
        "by_frames": by_frames,
    }


def invented_curves(trained: tuple[int, ...]) -> list[CurvePoint]:
    final = dict(zip(TESTED, ACCURACY[trained], strict=True))
    return [
        CurvePoint(epoch, rate, final[rate] * (1 - 0.85 ** (1.5 * epoch)))
        for rate in trained
        for epoch in range(1, 17)
    ]


def invented_run(trained: tuple[int, ...], seeds: int) -> Run:
    extra = 1.0 if len(trained) == 1 else 1.04
    costs = {t: Cost(0.0131 * t, 1.9 * t * extra, 2.3 * t) for t in TESTED}
    tests = [invented_test(trained, seed) for seed in range(seeds)]
    return Run.from_tests(tests, costs=costs, curves=invented_curves(trained))


def invented_report(seeds: int = 3) -> Report:
    return Report(
        title="One network for 4, 8 and 16 frames",
        dataset=Dataset(
            "Motion", CLASSES, 700, VIDEOS_PER_CLASS * len(CLASSES), "invented numbers"
        ),
        rates=(4, 8, 16),
        tested=TESTED,
        runs=tuple(invented_run(trained, seeds) for trained in ACCURACY),
        seeds=tuple(range(seeds)),
        commands=("make demo", "python tools/report.py --out 'results' && echo \"<done>\""),
        cost_note="latency on 1 thread",
    )


def with_several_labels(test: dict) -> dict:
    """The same test on videos with several labels: mean average precision, no confusion."""
    by_frames = {
        t: {"rate": row["rate"], "map": row["top1"], "hit1": 98.0, "per_class": row["per_class"]}
        for t, row in test["by_frames"].items()
    }
    return {**test, "metric": "map", "by_frames": by_frames}


@pytest.fixture
def precision_report() -> Report:
    """One seed of the invented experiment, on videos with several labels."""
    report = invented_report(1)
    runs = [
        Run.from_tests(
            [with_several_labels(invented_test(run.trained, 0))],
            costs=run.costs,
            curves=invented_curves(run.trained),
        )
        for run in report.runs
    ]
    return dataclasses.replace(report, runs=tuple(runs))


@pytest.fixture(scope="session")
def invented() -> Report:
    """Three seeds of the invented experiment, made once: not to be changed."""
    return invented_report()


@pytest.fixture
def report() -> Report:
    """Three seeds of the invented experiment, for one test alone."""
    return invented_report()


@pytest.fixture
def make_report():
    """`make_report(seeds)`: the invented experiment with as many seeds."""
    return invented_report
