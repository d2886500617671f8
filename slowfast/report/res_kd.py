"""What a student of low resolution loses and, from its teacher, wins back, over several seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slowfast.report.claims import Claim
from slowfast.report.document import Document
from slowfast.report.html import Picture
from slowfast.report.results import METRICS
from slowfast.report.style import DPI, FFN, GREY, HIGH, INK, SEPARATE, new_figure, styled
from slowfast.report.tables import Cell, Table, number, with_spread

ROLES = {"teacher": "teacher", "alone": "student alone", "distilled": "student distilled"}
_COLOURS = {"teacher": HIGH, "alone": SEPARATE, "distilled": FFN}
HALF = 50.0  # percent of the loss that a teacher has to give back


@dataclass(frozen=True)
class Distilled:
    """The tests of a study by role (see `ROLES`), a test.json per seed, and its settings.

    `gflops` are those of one clip, by role.  `curves` hold validation accuracy by role, a list of
    `(epoch, percent)` per seed.
    """

    tests: Mapping[str, Sequence[Mapping[str, Any]]]
    seeds: Sequence[int]
    gflops: Mapping[str, float]
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]]
    facts: Mapping[str, str]
    commands: Sequence[str]

    def values(self, role: str) -> list[float]:
        """Accuracy in percent, by seed."""
        return [_accuracy(test) for test in self.tests[role]]

    def mean(self, role: str) -> float:
        return statistics.fmean(self.values(role))

    def size(self, role: str) -> int:
        """Pixels of a side in testing."""
        return self.tests[role][0]["crop"]

    @property
    def metric(self) -> str:
        return METRICS[self.tests["teacher"][0]["metric"]].name

    @property
    def lost(self) -> float:
        """Points between the teacher and the student alone, on average."""
        return self.mean("teacher") - self.mean("alone")

    @property
    def won(self) -> float:
        """Points that the teacher gives back."""
        return self.mean("distilled") - self.mean("alone")

    @property
    def recovered(self) -> float:
        """Percent of the loss that is won back; 0 where nothing is lost."""
        return 100 * self.won / self.lost if self.lost > 0 else 0.0

    def claims(self) -> list[Claim]:
        """Something is lost, and at least half of it comes back."""
        loss = f"At {self.size('alone')} pixels the student alone loses accuracy"
        half = f"Distilled, it is above the middle between alone and its teacher at {HALF:g} %"
        return [
            Claim(loss, self.lost, self.lost > 0),
            Claim(half, self.won - HALF / 100 * self.lost, self.recovered >= HALF - 1e-9),
        ]

    def summary(self) -> str:
        sizes = {role: self.size(role) for role in ROLES}
        return (
            f"At {sizes['alone']} pixels a network trained alone reaches {self.mean('alone'):.1f} "
            f"%, {self.lost:.1f} points less than at {sizes['teacher']}; under the network of "
            f"{sizes['teacher']} pixels as its teacher it reaches {self.mean('distilled'):.1f} %: "
            f"{self.recovered:.0f} % of the loss is won back, at {self._cheaper():.0f} times fewer "
            "multiply-adds than the teacher."
        )

    def _cheaper(self) -> float:
        return self.gflops["teacher"] / self.gflops["distilled"]

    def table(self) -> Table:
        """A row per role: pixels, cost, accuracy of each seed, and its mean and deviation."""
        seeds = [f"seed {seed}" for seed in self.seeds]
        best = max(("alone", "distilled"), key=self.mean)
        rows = [
            [
                Cell(name),
                Cell(str(self.size(role))),
                Cell(f"{self.gflops[role]:.3f}"),
                *(Cell(number(value)) for value in self.values(role)),
                Cell(with_spread(self.values(role)), best=role == best),
            ]
            for role, name in ROLES.items()
        ]
        columns = ("Network", "Pixels", "GFLOPs", *seeds, "Mean")
        return Table(f"{self.metric} (%)", columns, rows)

    def figure(self) -> Figure:
        """Left every seed and the means, right validation over epochs."""
        figure, [[dots, curves]] = new_figure(
            10.4, 4.6, 1, 2, gridspec_kw={"width_ratios": (1, 1.35)}
        )
        self._draw_seeds(dots)
        for role, name in ROLES.items():
            for i, curve in enumerate(self.curves[role]):
                label = f"{name}, {self.size(role)} px" if i == 0 else None
                curves.plot(*zip(*curve, strict=True), color=_COLOURS[role], lw=1.6, label=label)
        curves.set_xlabel("Epoch")
        curves.set_ylabel(f"Validation {self.metric.lower()} (%)")
        curves.set_title("Validation over training")
        curves.set_ylim(0, 103)
        curves.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        curves.legend(loc="lower right")
        return figure

    def _draw_seeds(self, axes: Axes) -> None:
        """A column of dots per role with its mean, and the line that half of the loss is above."""
        for place, role in enumerate(ROLES):
            colour, values, mean = _COLOURS[role], self.values(role), self.mean(role)
            axes.plot([place - 0.22, place + 0.22], [mean, mean], color=colour, lw=3)
            axes.plot([place] * len(values), values, "o", color=colour, ms=7, mec="white", zorder=4)
            beside = {"textcoords": "offset points", "color": INK, "va": "center"}
            axes.annotate(f"{mean:.1f}", (place + 0.22, mean), (5, 0), **beside)
        middle = self.mean("alone") + HALF / 100 * self.lost
        axes.axhline(middle, color=GREY, lw=1.2, ls="--")
        axes.annotate(
            "half of the loss won back",
            (1, middle),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=GREY,
        )
        every = [value for role in ROLES for value in self.values(role)]
        margin = 0.25 * (max(every) - min(every)) + 0.1
        axes.set_ylim(min(every) - margin, min(max(every) + margin, 100.5))
        axes.set_xlim(-0.5, len(ROLES) - 0.4)
        places = [f"{name}\n{self.size(role)} px" for role, name in ROLES.items()]
        axes.set_xticks(range(len(ROLES)), [place.replace("student ", "") for place in places])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(f"{self.metric} (%)")
        axes.set_title(f"{self.recovered:.0f} % of the loss won back")
        axes.grid(visible=False, axis="x")

    def document(self, picture: Path) -> Document:
        """All of it; the figure is at `picture`."""
        seeds = f"{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        caption = (
            f"{self.metric} of every seed (dots) and their mean, and validation over epochs. "
            "All networks have one schedule."
        )
        return Document(
            title="Low resolution under a high-resolution teacher",
            summary=self.summary(),
            claims=self.claims(),
            pictures=[Picture(picture, caption)],
            tables=[self.table()],
            facts={**self.facts, "Seeds": seeds.removeprefix("s").strip()},
            commands=self.commands,
            coverage={_coverage(role, self.tests[role]): () for role in ROLES},
        )

    def write(self, folder: Path) -> list[Path]:
        """Write `reskd.html`, `.md`, `.json` and `.png` into `folder`; their paths, page first."""
        folder.mkdir(parents=True, exist_ok=True)
        picture, record = folder / "reskd.png", folder / "reskd.json"
        with styled():
            self.figure().savefig(picture, dpi=DPI)
        record.write_text(json.dumps(self.record(), indent=1) + "\n")
        return [*self.document(picture).write(folder, "reskd"), record, picture]

    def record(self) -> dict[str, Any]:
        """The results as plain values."""
        return {
            "seeds": list(self.seeds),
            "metric": self.metric,
            "pixels": {role: self.size(role) for role in ROLES},
            "gflops": dict(self.gflops),
            "accuracy": {role: self.values(role) for role in ROLES},
            "lost": self.lost,
            "won": self.won,
            "recovered_percent": self.recovered,
            "facts": dict(self.facts),
            "commands": list(self.commands),
        }


def _accuracy(test: Mapping[str, Any]) -> float:
    """Of a network with one frame count, at it."""
    (row,) = test["by_frames"].values()
    return row[test["metric"]]


def _coverage(role: str, tests: Sequence[Mapping[str, Any]]) -> str:
    read, videos = (sum(test["coverage"][key] for test in tests) for key in ("read", "videos"))
    return f"{ROLES[role]}: {read}/{videos} test videos read"
