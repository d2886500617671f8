"""What frame flexibility promises, checked against the numbers of a report.

Three names throughout: *high* is the plain network trained at the highest rate, *separate* at a
rate the plain network trained there, *FFN* the frame-flexible one.  Numbers are means over seeds.
"""

from __future__ import annotations

from typing import NamedTuple

from slowfast.report.results import Report

DEVIATION = 25.0  # points that high must lose for the phenomenon to be there
TOLERANCE = 2.0  # points that FFN may lie below a separate network


class Claim(NamedTuple):
    """One promise: what must hold, the measured difference in points, and whether it does."""

    text: str
    value: float
    holds: bool


def claims(report: Report) -> list[Claim]:
    """The deviation (two claims), FFN at each trained rate and at each untrained count below."""
    return [*_deviation(report), *_at_trained_rates(report), *_at_untrained_counts(report)]


def _deviation(report: Report) -> list[Claim]:
    low, top = report.rates[0], report.rates[-1]
    lost = report.high.mean(top) - report.high.mean(low)
    behind = report.separate(low).mean(low) - report.high.mean(low)
    return [
        _claim(
            f"The network trained at {top} frames is at least {DEVIATION:g} points better there "
            f"than at {low}",
            lost,
            DEVIATION,
        ),
        _claim(
            f"At {low} frames the network trained there is at least {DEVIATION:g} points above "
            f"the one trained at {top}",
            behind,
            DEVIATION,
        ),
    ]


def _at_trained_rates(report: Report) -> list[Claim]:
    return [
        _claim(
            f"At {rate} frames FFN is at most {TOLERANCE:g} points below the network trained there",
            report.ffn.mean(rate) - report.separate(rate).mean(rate),
            -TOLERANCE,
        )
        for rate in report.rates
    ]


def _at_untrained_counts(report: Report) -> list[Claim]:
    top = report.rates[-1]
    counts = [t for t in report.tested if t < top and t not in report.rates]
    gains = {t: report.ffn.mean(t) - report.high.mean(t) for t in counts}
    return [
        Claim(
            f"At {t} frames, an untrained count, FFN is above the network trained at {top}",
            gain,
            gain > 0,
        )
        for t, gain in gains.items()
    ]


def _claim(text: str, value: float, least: float) -> Claim:
    # Differences of percentages carry rounding errors; 1e-9 points are none.
    return Claim(text, value, value >= least - 1e-9)
