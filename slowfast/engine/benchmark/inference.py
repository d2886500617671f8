"""A frame-flexible network, the plain one that it is at a rate, and the original computation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from slowfast.config import CfgNode
from slowfast.engine.benchmark.timing import check_equal, take_turns
from slowfast.engine.benchmark.training import as_the_originals
from slowfast.models import FrameFlexible, build_model
from slowfast.models.flexible import specialize

TOLERANCE = 1e-4  # of the logits' scale


def time_inference(
    cfg: CfgNode, batch: int, repeats: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """A row per trained frame count: seconds of the flexible network in three ways.

    `baseline` computes as the originals do, `flexible` as this project, `specialised` is the plain
    network of that rate.  The last columns are their speed over those before.  Raises ValueError
    if the logits differ.
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
def _row(model: FrameFlexible, clip: torch.Tensor, repeats: int, device: str) -> dict[str, Any]:
    num_frames = clip.shape[2]
    plain = specialize(model, num_frames)

    def baseline() -> torch.Tensor:
        with as_the_originals():
            return model(clip)

    runs = {
        "baseline": baseline,
        "flexible": partial(model, clip),
        "specialised": partial(plain, clip),
    }
    logits = {name: [run()] for name, run in runs.items()}
    check_equal(f"logits at {num_frames} frames", logits, TOLERANCE)
    taken = {name: times.cpu for name, times in take_turns(runs, repeats, device).items()}
    return {
        "frames": num_frames,
        **{f"{name}_s": seconds for name, seconds in taken.items()},
        "over_baseline": taken["baseline"] / taken["specialised"],
        "over_flexible": taken["flexible"] / taken["specialised"],
    }
