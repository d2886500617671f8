"""One network at any frame count and size, against one network per pair: tables and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from slowfast.models.flexible import Rate
from slowfast.report.claims import Claim
from slowfast.report.document import Document
from slowfast.report.html import Picture, signed
from slowfast.report.sizes.plots import save_front, save_heatmaps
from slowfast.report.sizes.results import SizeResults, axes_of, front
from slowfast.report.tables import Cell, Table, number, significant, with_spread

TOLERANCE = 1.5  # points that the one network may lie below a separate one


def size_claims(results: SizeResults) -> list[Claim]:
    """At each trained pair, that the one network is about as good as the separate one."""
    text = "{} frames of {} px: the one network is at most {:g} points below the one trained there"
    gaps = {rate: results.gap(rate) for rate in results.trained}
    return [
        Claim(text.format(*rate, TOLERANCE), gap, gap >= -TOLERANCE - 1e-9)
        for rate, gap in gaps.items()
    ]


def size_summary(results: SizeResults) -> str:
    """The result in two sentences, from the numbers alone."""
    low, high = results.trained[0], results.trained[-1]
    gaps = [results.gap(rate) for rate in results.trained]
    return (
        f"One network, trained once, runs at {len(results.trained)} pairs of frame count and size, "
        f"from {_words(low)} ({number(fmean(results.flexible[low]))} %, "
        f"{significant(results.gflops[low])} GFLOPs) to {_words(high)} "
        f"({number(fmean(results.flexible[high]))} %, {significant(results.gflops[high])}); "
        f"against a network per pair it is between {signed(min(gaps))} and {signed(max(gaps))} "
        f"points, {signed(fmean(gaps))} on average. The network trained for {_words(high)} alone "
        f"has {number(fmean(results.highest[low]))} % at {_words(low)}."
    )


def pair_table(results: SizeResults) -> Table:
    """The trained pairs: one network, one per pair, and the one of the highest pair."""
    rows = [
        [
            Cell(str(rate.num_frames)),
            Cell(str(rate.size)),
            Cell(significant(results.gflops[rate])),
            *(Cell(with_spread(kind[rate])) for kind in (results.flexible, results.separate)),
            Cell(signed(results.gap(rate))),
            Cell(with_spread(results.highest[rate])),
        ]
        for rate in results.trained
    ]
    short, high = results.words.short, results.trained[-1]
    columns = ("Frames", "Size (px)", "GFLOPs", "One network", "One per pair", "Points")
    caption = f"{results.words.name} (%) at the trained pairs"
    return Table(caption, (*columns, f"{short} of that for {high}"), rows, labels=0)


def front_table(results: SizeResults) -> Table:
    """For every budget the best pair of the one network: those that no other pair beats."""
    best = front(results.gflops, results.flexible)
    rows = [
        [
            Cell(significant(results.gflops[rate])),
            Cell(f"{_words(rate)}{'' if rate in results.trained else ', untrained'}"),
            Cell(with_spread(results.flexible[rate])),
        ]
        for rate in best
    ]
    columns = ("GFLOPs from", "Best frames and size", f"{results.words.short} (%)")
    return Table("The best pair for a budget, of all tested ones", columns, rows)


def grid_table(results: SizeResults) -> Table:
    """The one network at every tested pair."""
    counts, sizes = axes_of(results.tested)
    rows = [
        [
            Cell(f"{size} px"),
            *(
                Cell(number(fmean(results.flexible[pair])), own=pair in results.trained)
                for pair in (Rate(count, size) for count in counts)
            ),
        ]
        for size in reversed(sizes)
    ]
    columns = ("Size", *(f"{count} frames" for count in counts))
    return Table(f"{results.words.name} (%) of the one network, trained or not", columns, rows)


def size_document(
    results: SizeResults, figures: Path, facts: Mapping[str, str], commands: Sequence[str]
) -> Document:
    """The report of a study, its figures drawn into the folder `figures`."""
    figures.mkdir(parents=True, exist_ok=True)
    heat, cost = figures / "sizes_heatmap.png", figures / "sizes_front.png"
    save_heatmaps(heat, results)
    save_front(cost, results)
    metric, high = results.words.name, results.trained[-1]
    pictures = [
        Picture(
            heat,
            f"{metric} at each frame count and size, GFLOPs of a clip below it. Left: the one "
            f"network, right: the network trained for {_words(high)} alone. Framed: trained.",
        ),
        Picture(
            cost,
            f"{metric} over the multiply-adds of a clip. Orange: the one network, filled where "
            "trained, with the line of the pairs that no other one beats; green: networks trained "
            "for one pair each; blue: the network of the highest pair.",
        ),
    ]
    return Document(
        title="One network, any frame count, any size",
        summary=size_summary(results),
        claims=size_claims(results),
        pictures=pictures,
        tables=[pair_table(results), front_table(results), grid_table(results)],
        facts=facts,
        commands=commands,
    )


def _words(rate: Rate) -> str:
    return f"{rate.num_frames} frames of {rate.size} px"
