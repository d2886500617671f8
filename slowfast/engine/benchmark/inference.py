"""A frame-flexible network, what it is at a rate in several forms, and the original computation."""

from __future__ import annotations

import copy
from collections.abc import Callable
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
from slowfast.inference.precision import ToLogits, is_native
from slowfast.models import FrameFlexible, build_model
from slowfast.models.flexible import Rate, specialize

TOLERANCE, TOLERANCE_BF16 = 1e-4, 5e-2  # of the logits' scale


def time_inference(
    cfg: CfgNode, batch: int, repeats: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Rows for each trained rate: milliseconds of a batch in three to six ways.

        baseline      the flexible network computed as the originals do
        flexible      the same as this project does
        specialised   the plain network of that rate, norms and gains folded
        bf16          that in 16 bits, where the device has them
        onnx          its graph in ONNX Runtime with as many threads, on a CPU where that is there
        int8          the graph in 8 bits, calibrated on noise

    `over_baseline` and `over_flexible` say how many times as fast a way is.  Raises ValueError if
    logits differ by more than rounding; those in 8 bits mean nothing and are not compared.
    """
    torch.manual_seed(0)
    model = as_if_trained(build_model(cfg)).to(device)
    rows = []
    for rate in model.rates.all:
        size = rate.size or cfg.DATA.TEST_CROP_SIZE
        clip = torch.randn(batch, 3, rate.num_frames, size, size, device=device)
        rows += _rows(model, rate, clip, repeats)
    return rows


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
def _rows(model: FrameFlexible, rate: Rate, clip: Tensor, repeats: int) -> list[dict[str, Any]]:
    plain = specialize(model, rate.num_frames, size=rate.size)

    def baseline() -> Tensor:
        with as_the_originals():
            return model(clip)

    runs = {
        "baseline": baseline,
        "flexible": partial(model, clip),
        "specialised": partial(plain, clip),
    }
    if is_native("bf16", clip.device):
        runs["bf16"] = partial(ToLogits(copy.deepcopy(plain), torch.bfloat16), clip)
    if clip.device.type == "cpu" and installed(*PACKAGES):
        graphs = onnx_ways(plain, clip)
        runs |= {name: partial(_logits, way, clip) for name, way in graphs.items()}
    _check_logits(rate, runs)
    taken = {name: times.cpu for name, times in take_turns(runs, repeats, clip.device.type).items()}
    return [
        {
            "frames": rate.plain,
            "way": name,
            "ms": 1e3 * seconds,
            **{f"over_{other}": taken[other] / seconds for other in ("baseline", "flexible")},
        }
        for name, seconds in taken.items()
    ]


def _check_logits(rate: Rate, runs: dict[str, Callable[[], Tensor]]) -> None:
    """Raises ValueError where ways differ by more than their precision explains."""
    what = f"logits at {rate} frames"
    exact = {name: [run()] for name, run in runs.items() if name not in ("bf16", "int8")}
    check_equal(what, exact, TOLERANCE)
    if "bf16" in runs:
        pair = {"specialised": exact["specialised"], "bf16": [runs["bf16"]()]}
        check_equal(what, pair, TOLERANCE_BF16)


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
