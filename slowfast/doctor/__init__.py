"""`slowfast doctor`: what is installed, whether it works here, and what to do where it does not.

Every check ends in findings and none in a traceback, so that a broken package cannot hide the rest.
Only failures of what is required make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from slowfast.doctor.findings import Finding, is_bad, one_line, report
from slowfast.doctor.machine import of_devices, of_folder, of_network
from slowfast.doctor.packages import of_extras, of_packages, of_project
from slowfast.doctor.video import of_backends, of_codecs


def examine() -> Iterator[Finding]:
    """All findings, in the order of the report."""
    checks = (
        ("versions", of_project),
        ("packages", of_packages),
        ("video", of_codecs),
        ("video", of_backends),
        ("devices", of_devices),
        ("network", of_network),
        ("this folder", of_folder),
        ("optional", of_extras),
    )
    for section, check in checks:
        try:
            for finding in check():
                yield Finding(section, *finding)
        except Exception as error:  # whatever it is, the other checks go on
            yield Finding(section, check.__name__.removeprefix("of_"), "failed", one_line(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; 1 if something required does not work, else 0."""
    parser = argparse.ArgumentParser(
        prog="slowfast doctor",
        description="What is installed, whether it works here, and what is missing.",
        epilog="The exit code is 1 if something required does not work.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for other programs")
    args = parser.parse_args(argv)
    findings = list(examine())
    if args.json:
        good = not any(map(is_bad, findings))
        print(json.dumps({"ok": good, "findings": list(map(asdict, findings))}, indent=1))
    else:
        print(report(findings))
    return int(any(map(is_bad, findings)))
