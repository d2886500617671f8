"""What a check finds, and findings as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARKS = {"ok": "✓", "note": "!", "absent": "–", "failed": "✗"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    `state` is ok, note (works, but worth knowing), absent (optional) or failed.  `value` is what
    was found, `tested` the version of the project's last tests, `advice` what to do.
    """

    section: str
    name: str
    state: str
    value: str
    tested: str = ""
    advice: str = ""


Found = Iterator[tuple[str, ...]]  # a Finding's fields behind `section`


def one_line(error: BaseException) -> str:
    """What an error says, in its first line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def report(findings: Sequence[Finding]) -> str:
    """The findings as text, a paragraph per section."""
    width = max(len(finding.name) for finding in findings)
    lines, section = [], ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            lines += ["", section]
        tested = f"  (tested with {finding.tested})" if finding.tested else ""
        lines.append(f"{MARKS[finding.state]} {finding.name:{width}}  {finding.value}{tested}")
        if finding.advice:
            lines.append(f"  {'':{width}}  -> {finding.advice}")
    failed = [f"{finding.section}: {finding.name}" for finding in findings if is_bad(finding)]
    lines += ["", f"not working: {'; '.join(failed)}" if failed else "all that is required works"]
    return "\n".join(lines[1:])


def is_bad(finding: Finding) -> bool:
    return finding.state == "failed"
