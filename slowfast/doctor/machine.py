"""What there is to compute on, whether it computes rightly, and room to write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.doctor.findings import Found

if TYPE_CHECKING:
    import torch

LITTLE_SPACE = 2 * 2**30  # bytes


def of_devices() -> Found:
    """What there is to compute on, whether it computes, and the short number formats it has."""
    import torch

    instructions = torch.backends.cpu.get_cpu_capability()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = _bf16(torch.device("cpu"))
    yield "CPU", "ok", f"{cores} cores, {torch.get_num_threads()} threads, {instructions}, {bf16}"
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
    bf16 = _bf16(torch.device("cuda", index))
    value = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, {bf16}"
    advice = "" if bf16 == "bf16" else "use TRAIN.AMP_DTYPE fp16"
    return f"CUDA {index}", "ok", value, "", advice


def _bf16(device: torch.device) -> str:
    from slowfast.inference.precision import is_native

    return "bf16" if is_native("bf16", device) else "no bf16"


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
