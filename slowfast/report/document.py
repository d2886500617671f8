"""A finished study as a page and as Markdown: summary, claims, figures, tables, commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from os.path import relpath
from pathlib import Path

from slowfast.report.claims import Claim
from slowfast.report.html import Picture, claim_item, figure_item, signed
from slowfast.report.tables import Table, to_html, to_markdown
from slowfast.report.template import PAGE


@dataclass(frozen=True)
class Document:
    """What a study has to say.

    `facts` are settings by name; `coverage` says how many videos of each test could be read, and by
    that text which not.
    """

    title: str
    summary: str
    claims: Sequence[Claim]
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    facts: Mapping[str, str]
    commands: Sequence[str]
    coverage: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `name`.html, with all pictures inside, and `name`.md beside them; their paths."""
        html, markdown = folder / f"{name}.html", folder / f"{name}.md"
        html.write_text(self.html(), "utf-8")
        markdown.write_text(f"# {self.title}\n\n{self.markdown(folder)}\n", "utf-8")
        return [html, markdown]

    def html(self) -> str:
        return PAGE.substitute(
            title=escape(self.title),
            summary=escape(self.summary),
            facts="\n".join(
                f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in self.facts.items()
            ),
            claims="\n".join(claim_item(claim) for claim in self.claims),
            pictures="\n".join(figure_item(picture) for picture in self.pictures),
            tables="\n".join(to_html(table) for table in self.tables),
            coverage="\n".join(_coverage_item(*item) for item in self.coverage.items()),
            commands=escape("\n".join(self.commands)),
        )

    def markdown(self, folder: Path) -> str:
        """All but the title, for a text in `folder`."""
        parts = [
            self.summary,
            "\n".join(f"- {claim_line(claim)}" for claim in self.claims),
            *(
                f"![{picture.caption}]({relpath(picture.path, folder)})\n\n*{picture.caption}*"
                for picture in self.pictures
            ),
            *(to_markdown(table).strip() for table in self.tables),
            "\n".join(f"- {key}: {value}" for key, value in self.facts.items()),
            "\n".join(f"- {line}" for line in self.coverage),
            "```bash\n" + "\n".join(self.commands) + "\n```",
        ]
        return "\n\n".join(part for part in parts if part)


def _coverage_item(text: str, failures: Sequence[str]) -> str:
    listed = "".join(f"<li>{escape(failure)}</li>" for failure in failures)
    return f"<li>{escape(text)}{f'<ul>{listed}</ul>' if failures else ''}</li>"


def claim_line(claim: Claim) -> str:
    """A claim, what was measured, and whether it holds."""
    return f"{'✓' if claim.holds else '✗'} {claim.text}: {signed(claim.value)} points"
