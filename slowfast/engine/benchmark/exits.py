"""Conditional inference of a batch against the same videos one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode, frame_counts
from slowfast.engine.benchmark.inference import TOLERANCE, as_if_trained
from slowfast.engine.benchmark.timing import check_equal, take_turns
from slowfast.engine.exits import ExitNetwork, exit_network
from slowfast.models import build_model
from slowfast.models.exits import NEVER, Decision


@torch.inference_mode()
def time_exits(cfg: CfgNode, batch: int, repeats: int, device: str = "cpu") -> list[dict[str, Any]]:
    """A row with exits and one without: milliseconds per video alone and in a batch of `batch`.

    Weights and clips are random; of the videos that come to an exit, half leave there.  Raises
    ValueError if a video leaves elsewhere in a batch than alone, or if logits differ.
    """
    torch.manual_seed(0)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.EXIT = "rates" if cfg.FFN.ENABLE else "gates"
    network = exit_network(_decisive(as_if_trained(build_model(cfg)).to(device)), cfg)
    size = cfg.DATA.TEST_CROP_SIZE
    clips = [torch.randn(batch, 3, t, size, size, device=device) for t in frame_counts(cfg)]
    limits = half_leave(network, clips)
    never = [NEVER] * len(limits)
    return [_row(network, clips, *way, repeats, device) for way in ((limits, "yes"), (never, "no"))]


def _decisive(model: nn.Module) -> nn.Module:
    """`model` whose random predictions differ between videos by more than rounding."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(std=0.5)
    return model.eval()


def half_leave(network: ExitNetwork, clips: Sequence[Tensor]) -> list[float]:
    """Thresholds that half of the videos pass which come to an exit."""
    _, sure = network.look(clips)
    here, found = torch.ones(len(sure), dtype=torch.bool, device=sure.device), []
    for confidence in sure[:, :-1].unbind(1):
        values = confidence[here].sort().values
        middle = len(values) // 2
        found.append(values[max(middle - 1, 0) : middle + 1].mean().item() if len(values) else 0.5)
        here &= confidence <= found[-1]
    return found


def _row(
    network: ExitNetwork,
    clips: Sequence[Tensor],
    limits: Sequence[float],
    has_exits: str,
    repeats: int,
    device: str,
) -> dict[str, Any]:
    videos = len(clips[0])
    alone = [[clip[i : i + 1] for clip in clips] for i in range(videos)]

    def one_by_one() -> Decision:
        found = [network.infer(clip, limits) for clip in alone]
        return Decision(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    runs = {"alone": one_by_one, "batch": lambda: network.infer(clips, limits)}
    found = {name: run() for name, run in runs.items()}
    if found["alone"].exits.tolist() != found["batch"].exits.tolist():
        raise ValueError("a video leaves at another exit in a batch than alone")
    check_equal("logits", {name: [run.logits] for name, run in found.items()}, TOLERANCE)
    taken = {name: 1e3 * t.cpu / videos for name, t in take_turns(runs, repeats, device).items()}
    left = torch.bincount(found["batch"].exits, minlength=len(network.frames)).tolist()
    return {
        "exits": has_exits,
        "videos": "/".join(map(str, left)),
        "frames": "/".join(map(str, network.frames)),
        "alone_ms": taken["alone"],
        "batch_ms": taken["batch"],
        "faster": taken["alone"] / taken["batch"],
    }
