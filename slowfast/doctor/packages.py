"""The project, what it requires, and what is optional."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from slowfast.doctor.findings import Found

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "slowfast-ffn"
PURPOSES = {  # of the optional packages; TorchCodec is among the back ends
    "torchvision": "networks of torchvision: MODEL.MODEL_NAME TorchvisionVideo",
    "timm": "networks of timm over frames: MODEL.MODEL_NAME TimmFrames",
    "pytorchvideo": "networks of pytorchvideo: MODEL.MODEL_NAME PTV...",
    "parquet": "tables as .parquet beside .csv",
    "onnx": "export to ONNX and its runtime",
    "demo": "the web page of tools/demo.py",
    "slurm": "SLURM jobs by tools/submit.py",
}


def of_project() -> Found:
    """Project, commit, Python and system."""
    try:
        version, state, advice = metadata.version(DISTRIBUTION), "ok", ""
    except metadata.PackageNotFoundError:
        version, state, advice = "not installed", "note", "pip install -e . in the project's folder"
    yield DISTRIBUTION, state, f"{version}{commit(ROOT)}, {ROOT}", "", advice
    is_new = sys.version_info >= (3, 11)
    advice = "" if is_new else "install Python 3.11 or newer"
    yield "python", "ok" if is_new else "failed", platform.python_version(), "3.11", advice
    yield "system", "ok", platform.platform()


def commit(root: Path) -> str:
    """` (commit 1a2b3c4, changed)` of a git clone, else nothing."""
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        name, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, timeout=10).stdout
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return " (a git clone, but git does not run)"
    return f" (commit {name.strip()}{', changed' if changes.strip() else ''})"


def of_packages() -> Found:
    """The required packages, their versions beside those that the tests ran with."""
    tested = tested_versions()
    for requirement in requirements():
        if requirement.marker is not None:
            continue
        name, wanted = requirement.name, str(requirement)
        last = tested.get(name.lower(), "")
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "failed", "missing", last, f"pip install '{wanted}'"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield name, "failed", version, last, f"pip install '{wanted}'"
        else:
            is_last = not last or version.partition("+")[0] == last
            yield name, "ok" if is_last else "note", version, last


def requirements() -> list:
    """What the project asks for, as `packaging`'s Requirement; names alone if not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return [Requirement(name) for name in tested_versions()]


def tested_versions() -> dict[str, str]:
    """{"torch": "2.13.0", ...} of the clone's requirements.txt; {} without one."""
    path = ROOT / "requirements.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {name.lower(): version for name, version in re.findall(r"^(\S+)==(\S+)", text, re.M)}


def of_extras() -> Found:
    """The optional packages: whether each imports, what it is for, how to get it."""
    by_extra: dict[str, list[str]] = {}
    for requirement in requirements():
        for extra in re.findall(r"extra == ['\"]([\w-]+)['\"]", str(requirement.marker or "")):
            by_extra.setdefault(extra, []).append(requirement.name)
    by_extra = {extra: by_extra[extra] for extra in sorted(by_extra) if extra in PURPOSES}
    names = sorted({name for packages in by_extra.values() for name in packages})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        states = dict(zip(names, pool.map(importable, names), strict=True))
    for extra, packages in by_extra.items():
        install = f"pip install '{DISTRIBUTION}[{extra}]'"
        worst = max((states[name][0] for name in packages), key=("ok", "note", "absent").index)
        shown = [
            f"{name} {text}"
            for name in packages
            for state, text in [states[name]]
            if state == worst
        ]
        yield extra, worst, f"{', '.join(shown)}; {PURPOSES[extra]}", "", install * (worst != "ok")


def importable(name: str) -> tuple[str, str]:
    """("ok", version), ("absent", ...) or ("note", why it does not import), in a process apart."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent", "is not installed"
    command = [sys.executable, "-c", f"import {name.replace('-', '_').lower()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "note", "does not import within two minutes"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return "note", f"{version} does not import ({last})"
    return "ok", version
