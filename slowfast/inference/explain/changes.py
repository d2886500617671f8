"""Which videos change their prediction as frames grow, from the predictions of a test."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from slowfast.inference.explain.predictions import Predictions, Said
from slowfast.inference.whole_file import whole_file
from slowfast.report.style import DPI, GREY, INK, SEPARATE, new_figure, styled
from slowfast.report.style import FFN as LOST_COLOUR

LISTED = 10  # videos and classes in the page
NUMBERED = 16  # rates whose numbers fit into the cells of a matrix
KINDS = {
    "lost": "right at {low} and wrong at {high} frames",
    "gained": "wrong at {low} and right at {high} frames",
    "moved": "another class, and wrong at both",
}


class Change(NamedTuple):
    """A video whose prediction at `low` and at `high` differ; `kind` is one of KINDS."""

    kind: str
    video: str
    low: Said
    high: Said


@dataclass(frozen=True)
class Changes:
    """How predictions at the rates `low` and `high` differ, and how those of all rates agree.

    agreement  share of the videos with the same class, by row and column in the order of the rates
    right      share of the videos that are right, by rate; empty without labels
    changed    lost, then gained, then moved; each with those that are surest first
    """

    predictions: Predictions
    low: str
    high: str
    agreement: list[list[float]]
    right: dict[str, float]
    changed: list[Change]

    def count(self, kind: str) -> int:
        return sum(change.kind == kind for change in self.changed)

    def videos(self) -> int:
        return len(self.predictions.said)

    def right_at_some(self) -> float:
        """The share of the videos that are right at one rate or more."""
        table = self.predictions
        hits = sum(any(table.right(v, rate) for rate in table.rates) for v in table.said)
        return hits / self.videos()

    def summary(self) -> str:
        """Two lines of what came out."""
        same = self._same(self.low, self.high)
        lines = [
            f"{self.videos()} videos; {100 * same:.1f} % have the same class at {self.low} and "
            f"{self.high} frames"
        ]
        if self.right:
            words = (
                f"{text.format(low=self.low, high=self.high)}: {self.count(kind)}"
                for kind, text in KINDS.items()
                if kind != "moved"
            )
            lines.append("; ".join(words))
        return "\n".join(lines)

    def _same(self, a: str, b: str) -> float:
        rates = self.predictions.rates
        return self.agreement[rates.index(a)][rates.index(b)]


def find_changes(table: Predictions, low: str = "", high: str = "") -> Changes:
    """What changes between two rates, by default the lowest and the highest.

    Raises ValueError for a rate that was not tested, and for the same one twice.
    """
    low, high = str(low) or table.rates[0], str(high) or table.rates[-1]
    for rate in (low, high):
        if rate not in table.rates:
            raise ValueError(f"no predictions at {rate} frames; there are {', '.join(table.rates)}")
    if low == high:
        raise ValueError(f"low and high are both {low}; give two of {', '.join(table.rates)}")
    changed = [_change(table, video, low, high) for video in table.said]
    kinds = list(KINDS)
    found = sorted(
        (change for change in changed if change is not None),
        key=lambda change: (kinds.index(change.kind), -_surest(change)),
    )
    videos = max(len(table.said), 1)
    right = {rate: sum(table.right(v, rate) for v in table.said) / videos for rate in table.rates}
    known = any(table.labels[video] for video in table.said)
    return Changes(table, low, high, _agreement(table), right if known else {}, found)


def _change(table: Predictions, video: str, low: str, high: str) -> Change | None:
    said = table.said[video]
    if said[low].prediction == said[high].prediction:
        return None
    right = table.right(video, low), table.right(video, high)
    kind = {(True, False): "lost", (False, True): "gained"}.get(right, "moved")
    return Change(kind, video, said[low], said[high])


def _surest(change: Change) -> float:
    """The score of the class that is new at the high rate: how firm the change is."""
    return change.high.score


def _agreement(table: Predictions) -> list[list[float]]:
    columns = {
        rate: [said[rate].prediction for said in table.said.values()] for rate in table.rates
    }

    def same(a: str, b: str) -> float:
        pairs = zip(columns[a], columns[b], strict=True)
        return sum(x == y for x, y in pairs) / max(len(columns[a]), 1)

    return [[same(a, b) for b in table.rates] for a in table.rates]


# ---------------------------------------------------------------------------- files


def save_changes(
    folder: Path, found: Changes, source: Path | str = "predictions.csv"
) -> list[Path]:
    """Write changes.csv, changes.md and changes.png into `folder`, and return their paths.

    The table has all videos that change, the page the surest ones and the classes that change most.
    """
    paths = [folder / f"changes.{suffix}" for suffix in ("csv", "md", "png")]
    for path, write in zip(paths, (_write_table, _write_page, _save_figure), strict=True):
        with whole_file(path) as temporary:
            write(temporary, found, str(source))
    return paths


def _write_table(path: Path, found: Changes, _source: str) -> None:
    table = found.predictions
    sides = [f"{what}_{rate}" for rate in (found.low, found.high) for what in ("class", "score")]
    every = [f"frames_{rate}" for rate in table.rates]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "path", "label", *sides, *every])
        for change in found.changed:
            label = _joined(table, change.video)
            pair = (change.low, change.high)
            cells = [cell for said in pair for cell in (table.name(said.prediction), said.score)]
            said = table.said[change.video]
            numbers = [said[rate].prediction for rate in table.rates]
            writer.writerow([change.kind, change.video, label, *cells, *numbers])


def _joined(table: Predictions, video: str) -> str:
    return ";".join(table.name(number) for number in sorted(table.labels[video]))


def _write_page(path: Path, found: Changes, source: str) -> None:
    table, low, high = found.predictions, found.low, found.high
    parts = [
        f"# Predictions that change from {low} to {high} frames\n",
        f"Written by `python tools/explain.py changes {source} --low {low} --high {high}`.\n",
        found.summary().replace("\n", "\n\n") + "\n",
    ]
    if found.right:
        parts += ["## Right or wrong\n", _counts(found), _accuracy(found)]
    parts += [
        "## Videos with the same class (%)\n",
        _markdown(["frames", *table.rates], _matrix_rows(found)),
    ]
    if found.right:
        for kind in ("lost", "gained"):
            parts += _kind_parts(found, kind)
    path.write_text("\n".join(parts), encoding="utf-8")


def _counts(found: Changes) -> str:
    lost, gained = found.count("lost"), found.count("gained")
    right = round(found.right[found.low] * found.videos()) - lost
    wrong = found.videos() - right - lost - gained
    head = ["", f"right at {found.high}", f"wrong at {found.high}"]
    rows = [[f"right at {found.low}", right, lost], [f"wrong at {found.low}", gained, wrong]]
    return _markdown(head, rows)


def _accuracy(found: Changes) -> str:
    head = ["frames", *found.right, "any of them"]
    shares = [*found.right.values(), found.right_at_some()]
    return _markdown(head, [["right (%)", *(f"{100 * share:.1f}" for share in shares)]])


def _matrix_rows(found: Changes) -> list[list[str]]:
    pairs = zip(found.predictions.rates, found.agreement, strict=True)
    return [[rate, *(f"{100 * share:.1f}" for share in row)] for rate, row in pairs]


def _kind_parts(found: Changes, kind: str) -> list[str]:
    """The classes with most changes of a kind, and the surest of them."""
    table = found.predictions
    changes = [change for change in found.changed if change.kind == kind]
    title = KINDS[kind].format(low=found.low, high=found.high).capitalize()
    if not changes:
        return [f"## {title}\n", "None.\n"]
    classes = Counter(_joined(table, change.video) for change in changes).most_common(LISTED)
    videos = [
        [c.video, _joined(table, c.video), *map(_said(table), (c.low, c.high))]
        for c in changes[:LISTED]
    ]
    head = ["video", "class", f"at {found.low}", f"at {found.high}"]
    return [
        f"## {title}\n",
        _markdown(["class", "videos"], classes),
        _markdown(head, videos),
    ]


def _said(table: Predictions) -> Callable[[Said], str]:
    return lambda said: f"{table.name(said.prediction)} ({said.score:.2f})"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, with a blank line behind it."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    lines = [head, rule, *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


# ---------------------------------------------------------------------------- figure


def _save_figure(path: Path, found: Changes, _source: str) -> None:
    """Write a PNG: how the rates agree, and what each gains and loses against the lowest."""
    rates = found.predictions.rates
    side = min(max(0.52 * len(rates), 3.4), 7.5)
    panels = 2 if found.right else 1
    with styled():
        figure, [axes] = new_figure(panels * (side + 1.3) + 0.4, side + 1.2, 1, panels)
        _draw_agreement(axes[0], found)
        if found.right:
            _draw_balance(axes[1], found)
        figure.savefig(path, dpi=DPI, format="png")


def _draw_agreement(axes: Axes, found: Changes) -> None:
    rates = found.predictions.rates
    percent = [[100 * share for share in row] for row in found.agreement]
    least = min(map(min, percent))
    axes.imshow(percent, cmap="Blues", vmin=least - 0.3 * (100 - least) - 1, vmax=104)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(rates)), rates)
    axes.set_yticks(range(len(rates)), rates)
    axes.set_xlabel("Frames")
    axes.set_ylabel("Frames")
    axes.set_title("Videos with the same class (%)")
    if len(rates) > NUMBERED:
        return
    middle = (least + 100) / 2
    for y, row in enumerate(percent):
        for x, value in enumerate(row):
            style = {"color": "white" if value > middle else INK, "size": 8.5}
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", **style)


def _draw_balance(axes: Axes, found: Changes) -> None:
    """Above zero what is right here and wrong at `low`, below zero what is the other way round."""
    table, low = found.predictions, found.low
    rates = [rate for rate in table.rates if rate != low]
    kinds = [Counter(_kind(table, video, low, rate) for video in table.said) for rate in rates]
    gained = [100 * count["gained"] / found.videos() for count in kinds]
    lost = [100 * count["lost"] / found.videos() for count in kinds]
    places, top = range(len(rates)), max(*gained, *lost, 1)
    axes.bar(places, gained, 0.62, color=SEPARATE, label=f"right here, wrong at {low}")
    axes.bar(
        places, [-x for x in lost], 0.62, color=LOST_COLOUR, label=f"right at {low}, wrong here"
    )
    axes.axhline(0, color=GREY, lw=1)
    for x, (up, down) in enumerate(zip(gained, lost, strict=True)):
        text = {"ha": "center", "fontsize": 8.5}
        if up:
            axes.text(x, up + 0.03 * top, f"+{up:.1f}", va="bottom", **text)
        if down:
            axes.text(x, -down - 0.03 * top, f"\u2212{down:.1f}", va="top", **text)
    axes.set_xticks(places, rates)
    long = len(low) > 2  # like 4x112: both words do not fit beside each other
    axes.set_ylim(-max(lost) - 0.2 * top, max(gained) + (0.5 if long else 0.35) * top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{abs(y):g}"))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper center", ncols=1 if long else 2, fontsize=9.5)
    axes.set_xlabel("Frames")
    axes.set_ylabel("% of the videos")
    axes.set_title(f"Gained and lost against {low} frames")


def _kind(table: Predictions, video: str, low: str, high: str) -> str:
    change = _change(table, video, low, high)
    return change.kind if change else "same"
