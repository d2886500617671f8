"""A frame-flexible network, what it is at a rate in several forms, and the original computation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.engine.benchmark.timing import check_equal, take_turns
from slowfast.engine.benchmark.training import as_the_originals
from slowfast.inference.export import Session, quantize, to_onnx, to_program
from slowfast.inference.export.optional import PACKAGES, installed
from slowfast.models import FrameFlexible, build_model
from slowfast.models.flexible import specialize

TOLERANCE = 1e-4  # of the logits' scale


def time_inference(
    cfg: CfgNode, batch: int, repeats: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """A row per trained frame count: seconds of the flexible network in three to five ways.

    `baseline` computes as the originals do, `flexible` as this project, `specialised` is the plain
    network of that rate.  On a CPU where ONNX Runtime is installed, `onnx` is its graph there, with
    as many threads, and `int8` that in 8 bits, calibrated on noise: its time counts, its logits do
    not.  The columns `A_over_B` say how many times faster A is than B; without an A it is
    `specialised`.  Raises ValueError if the logits of another way differ.
    """
    torch.manual_seed(0)
    model = as_if_trained(build_model(cfg)).to(device)
    size = cfg.DATA.TEST_CROP_SIZE
    clips = {t: torch.randn(batch, 3, t, size, size, device=device) for t in model.rates.num_frames}
    return [_row(model, clip, repeats, device) for clip in clips.values()]


def as_if_trained(model: FrameFlexible) -> FrameFlexible:
    """`model` in evaluation mode, with statistics and private weights that differ between rates."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(getattr(module, "running_var", None), torch.Tensor):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if ".copies." in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.inference_mode()
def _row(model: FrameFlexible, clip: Tensor, repeats: int, device: str) -> dict[str, Any]:
    num_frames = clip.shape[2]
    plain = specialize(model, num_frames)

    def baseline() -> Tensor:
        with as_the_originals():
            return model(clip)

    runs = {
        "baseline": baseline,
        "flexible": partial(model, clip),
        "specialised": partial(plain, clip),
    }
    if torch.device(device).type == "cpu" and installed(*PACKAGES):
        graphs = onnx_ways(plain, clip)
        runs |= {name: partial(_logits, way, clip) for name, way in graphs.items()}
    logits = {name: [run()] for name, run in runs.items() if name != "int8"}
    check_equal(f"logits at {num_frames} frames", logits, TOLERANCE)
    taken = {name: times.cpu for name, times in take_turns(runs, repeats, device).items()}
    return {
        "frames": num_frames,
        **{f"{name}_s": seconds for name, seconds in taken.items()},
        "over_baseline": taken["baseline"] / taken["specialised"],
        "over_flexible": taken["flexible"] / taken["specialised"],
        **{
            f"{name}_over_{other}": taken[other] / taken[name]
            for name in ("onnx", "int8")
            for other in ("baseline", "flexible")
            if name in taken
        },
    }


def onnx_ways(plain: nn.Module, clip: Tensor) -> dict[str, Session]:
    """`plain` in ONNX Runtime, in 32 and in 8 bits, with the threads that PyTorch has."""
    threads = torch.get_num_threads()
    with TemporaryDirectory() as folder, torch.inference_mode(False):
        path, small = Path(folder, "model.onnx"), Path(folder, "model.int8.onnx")
        to_onnx(to_program(plain, clip.shape[1:]), path)
        quantize(path, small, [clip[:1].numpy()])
        return {"onnx": Session(path, threads), "int8": Session(small, threads)}


def _logits(session: Session, clip: Tensor) -> Tensor:
    return torch.from_numpy(session(clip.numpy()))
