"""Untrained frame counts: the rules for their private layers beside networks trained for them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from slowfast.models.flexible import RULES
from slowfast.report.tables import Cell, Table, number

Tests = Sequence[Mapping]  # the test.json of one network, one per seed

_NAMES = {
    "nearest": "nearest (the paper's)",
    "interpolated_recalibrated": "interpolated and recalibrated",
}


def any_frame_table(rules: Mapping[str, Tests], separate: Mapping[int, Tests]) -> Table:
    """Accuracy at every untrained count of `rules` (by rule) and of `separate` (by trained count).

    Bold is the best rule.  Several seeds give `mean ± standard deviation`.
    """
    counts = _untrained_counts(rules)
    best = {t: number(max(_mean(tests, t) for tests in rules.values())) for t in counts}
    rows = [
        [Cell(_NAMES.get(rule, rule)), *(_cell(rules[rule], t, best[t]) for t in counts)]
        for rule in RULES
    ]
    trained = [_cell(separate[t], t) if t in separate else Cell("–") for t in counts]
    rows.append([Cell("separate networks, each trained for its count"), *trained])
    rates = " and ".join(map(str, rules["nearest"][0]["trained"]))
    caption = f"Top-1 accuracy (%) at other frame counts of a network trained at {rates}"
    return Table(caption, ("Private layers", *map(str, counts)), rows)


def any_frame_summary(rules: Mapping[str, Tests], separate: Mapping[int, Tests]) -> str:
    """In one sentence, the count where the paper's rule loses most to a separate network."""

    def lost(rule: str, count: int) -> float:
        return _mean(separate[count], count) - _mean(rules[rule], count)

    worst = max(separate, key=lambda count: lost("nearest", count))
    gaps = [f"{lost(rule, worst):.1f} ({_NAMES.get(rule, rule)})" for rule in RULES]
    return (
        f"At {worst} frames, where the paper's rule loses most, the network is "
        f"{', '.join(gaps[:-1])} and {gaps[-1]} points below the one trained for {worst}."
    )


def _untrained_counts(rules: Mapping[str, Tests]) -> list[int]:
    """The tested frame counts, rising, at which a rule had to decide."""
    rows = rules["nearest"][0]["by_frames"]
    return sorted(int(t) for t, row in rows.items() if row["rule"] != "trained")


def _values(tests: Tests, count: int) -> list[float]:
    return [test["by_frames"][str(count)][test["metric"]] for test in tests]


def _mean(tests: Tests, count: int) -> float:
    return statistics.fmean(_values(tests, count))


def _cell(tests: Tests, count: int, best: str | None = None) -> Cell:
    values = _values(tests, count)
    mean = number(statistics.fmean(values))
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return Cell(mean + spread, best=mean == best)
