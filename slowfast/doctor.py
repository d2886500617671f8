"""`slowfast doctor`: what is installed, whether it works here, and what to do where it does not.

Every check ends in findings and none in a traceback, so that a broken package cannot hide the rest.
Only failures of what is required make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = "slowfast-ffn"
MARKS = {"ok": "✓", "note": "!", "absent": "–", "failed": "✗"}
PURPOSES = {  # of the optional packages; TorchCodec is among the back ends
    "torchvision": "networks of torchvision: MODEL.MODEL_NAME TorchvisionVideo",
    "timm": "networks of timm over frames: MODEL.MODEL_NAME TimmFrames",
    "pytorchvideo": "networks of pytorchvideo: MODEL.MODEL_NAME PTV...",
    "parquet": "tables as .parquet beside .csv",
    "onnx": "export to ONNX and its runtime",
    "demo": "the web page of tools/demo.py",
    "slurm": "SLURM jobs by tools/submit.py",
}
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
FRAMES = 12  # of the video that every back end reads
ASKED = (9, 0, 4, 11)
STEP = 20  # grey levels from frame to frame; coding errors stay far below
LITTLE_SPACE = 2 * 2**30  # bytes


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


Found = Iterator[tuple[str, ...]]  # a Finding's fields behind `section`


# ---------------------------------------------------------------------------- what is installed


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


# ---------------------------------------------------------------------------- video


def of_codecs() -> Found:
    """FFmpeg's libraries as PyAV has them, and the kinds of video that they decode."""
    import av

    libraries = (
        f"{name} {'.'.join(map(str, av.library_versions[name]))}"
        for name in ("libavcodec", "libavformat", "libswscale")
    )
    yield "FFmpeg of PyAV", "ok", ", ".join(libraries)
    known = [name for name in CODECS if _knows(name)]
    lacking = ", ".join(name for name in CODECS if name not in known)
    advice = f"videos in {lacking} cannot be read; pip install --force-reinstall av" * bool(lacking)
    yield "decodes", "note" if lacking else "ok", ", ".join(known), "", advice


def _knows(codec: str) -> bool:
    import av

    try:
        return bool(av.codec.Codec(codec, "r"))
    except ValueError:
        return False


def of_backends() -> Found:
    """Whether each way to read videos gives the frames that were asked for."""
    from slowfast.datasets.video import open_video

    with tempfile.TemporaryDirectory() as folder:
        video, images = write_samples(Path(folder))
        for name, path, backend in (
            ("PyAV", video, "pyav"),
            ("images", images, "pyav"),
            ("TorchCodec", video, "torchcodec"),
        ):
            try:
                with open_video(path, backend=backend) as opened:
                    shown = read_back(opened.frames(ASKED))
            except Exception as error:
                is_optional = backend == "torchcodec"
                yield name, "absent" if is_optional else "failed", one_line(error)
                continue
            if shown == list(ASKED):
                yield name, "ok", f"frames {list(ASKED)} of {FRAMES} read back"
            else:
                advice = "reinstall it; do not train with it"
                value = f"asked for {list(ASKED)}, got {shown}"
                yield name, "failed", value, "", advice


def write_samples(folder: Path) -> tuple[Path, Path]:
    """An H.264 video and a folder of images whose frame i is grey, and the lighter the larger i."""
    import av
    import numpy as np
    from PIL import Image

    images, video = folder / "images", folder / "video.mp4"
    images.mkdir()
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(FRAMES):
            pixels = np.full((48, 64, 3), 16 + STEP * i, np.uint8)
            Image.fromarray(pixels).save(images / f"{i:05d}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return video, images


def read_back(frames: torch.Tensor) -> list[int]:
    """The numbers of frames `(n, H, W, 3)`, by their brightness."""
    return [round((level - 16) / STEP) for level in frames.float().mean(dim=(1, 2, 3)).tolist()]


def of_devices() -> Found:
    """What there is to compute on, whether it computes, and the short number formats it has."""
    import torch

    instructions = torch.backends.cpu.get_cpu_capability()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "CPU", "ok", f"{cores} cores, {torch.get_num_threads()} threads, {instructions}"
    if torch.cuda.is_available():
        yield from map(_of_gpu, range(torch.cuda.device_count()))
    elif torch.version.cuda is None and torch.version.hip is None:
        advice = "for a GPU, install torch as pytorch.org/get-started says"
        yield "CUDA", "absent", f"torch {torch.__version__} is a build for the CPU", "", advice
    else:
        value = f"no GPU is visible to torch {torch.__version__}"
        yield "CUDA", "absent", value, "", "look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    if torch.backends.mps.is_available():
        yield "MPS", "note", "is there; the engine computes on CUDA or the CPU"


def _of_gpu(index: int) -> tuple[str, ...]:
    import torch

    about = torch.cuda.get_device_properties(index)
    x = torch.eye(8, device=f"cuda:{index}")
    if not torch.equal((x @ x).cpu(), torch.eye(8)):
        return f"CUDA {index}", "failed", f"{about.name} computes a product wrongly"
    bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
    value = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, {bf16}"
    advice = "" if bf16 == "bf16" else "use TRAIN.AMP_DTYPE fp16"
    return f"CUDA {index}", "ok", value, "", advice


def of_network() -> Found:
    """Whether a tiny frame-flexible network gives the same logits in every way to compute them."""
    import torch

    from slowfast.models import FrameFlexible, R2Plus1D
    from slowfast.models.flexible import specialize

    torch.manual_seed(0)
    model = FrameFlexible(R2Plus1D(5, (4, 8), (1, 1)), num_frames=(4, 8)).eval()
    clips = [torch.randn(1, 3, t, 32, 32) for t in (4, 6, 8)]
    with torch.inference_mode():
        expected = [model(clip) for clip in clips]
        fast = [specialize(model, clip.shape[2])(clip) for clip in clips]
        yield _agreement("frame-flexible, folded", expected, fast)
        for index in range(torch.cuda.device_count()):
            device = torch.device("cuda", index)
            there = [model.to(device)(clip.to(device)).cpu() for clip in clips]
            yield _agreement(f"on CUDA {index}", expected, there)


def _agreement(name: str, expected: Sequence, found: Sequence) -> tuple[str, ...]:
    pairs = zip(expected, found, strict=True)
    worst = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
    value = f"logits at 4, 6 and 8 frames differ by {worst:.1e} of their size"
    good = worst < 1e-2  # also false for what is not a number; TF32 is within 1e-3
    return name, "ok" if good else "failed", value, "", "" if good else "reinstall torch"


def of_folder() -> Found:
    """Whether a run could write here, and how much."""
    here = Path.cwd()
    try:
        with tempfile.NamedTemporaryFile(dir=here):
            pass
        yield "write", "ok", str(here)
    except OSError as error:
        advice = "set OUTPUT_DIR to a folder that you may write"
        yield "write", "failed", f"{here}: {error.strerror}", "", advice
    yield _space("free space", here, "OUTPUT_DIR and data need room")
    shared = Path("/dev/shm")
    if shared.is_dir():
        advice = "DATA_LOADER.NUM_WORKERS 0, or docker run --ipc=host"
        yield _space("shared memory", shared, advice)


def _space(name: str, folder: Path, advice: str) -> tuple[str, ...]:
    free = shutil.disk_usage(folder).free
    is_little = free < LITTLE_SPACE
    value = f"{free / 2**30:,.1f} GiB free in {folder}"
    return name, "note" if is_little else "ok", value, "", advice if is_little else ""


def one_line(error: BaseException) -> str:
    """What an error says, in its first line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


# ---------------------------------------------------------------------------- report


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
