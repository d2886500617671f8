"""What a teacher costs the training of its student, in memory (ResKD, arXiv:2209.12797)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from slowfast.config import CfgNode, frame_counts, load_cfg
from slowfast.datasets import Batch
from slowfast.engine.benchmark.memory import MIB, held, in_a_new_process, most_held
from slowfast.engine.benchmark.training import fill
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.step import Stepper
from slowfast.models import build_model
from slowfast.objectives import Classify, Distillation
from slowfast.objectives.distill import bridge, teacher_yaml
from slowfast.report.cost import parameters

WAYS = ("student", "teacher", "distill")


def distillation_peaks(
    cfg: CfgNode, batch: int, threads: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """A row each of the student's step alone, the teacher's inference alone and the step of both.

    `peak_mib` is what comes on top of the batch and, in a step, the student and its optimiser: the
    teacher's parameters where there is one, activations, and a step's gradients.  `optimizer_mib`
    is what the optimiser holds behind the step.  `over_sum` is the peak over those of student and
    teacher together.  Each is measured in a new process.
    """
    found = {way: in_a_new_process(measure_way, cfg, way, batch, threads, device) for way in WAYS}
    both = found["student"]["peak_mib"] + found["teacher"]["peak_mib"]
    return [{"way": way, **row, "over_sum": row["peak_mib"] / both} for way, row in found.items()]


def measure_way(
    cfg: CfgNode, way: str, batch: int, threads: int, device: str = "cpu"
) -> dict[str, float]:
    """The row of one of `WAYS`.  Call it once per process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    counts, size = frame_counts(cfg), cfg.DATA.TRAIN_CROP_SIZE
    clips = tuple(torch.randn(batch, 3, count, size, size) for count in counts)
    labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,))
    videos = Batch(clips, labels, torch.arange(batch)).to(device)
    if way == "teacher":
        before = held(device)
        run, teacher = _inference(cfg, videos, device)
        return {
            "peak_mib": (most_held(run, device) - before) / MIB,
            "parameters_mib": 4 * parameters(teacher) / MIB,
            "optimizer_mib": 0.0,
        }
    model = build_model(cfg).to(device).train()
    optimizer = build_optimizer(model, cfg)
    fill(model, optimizer)
    before = held(device)
    step = _step(cfg, model, optimizer, videos, device, with_teacher=way == "distill")
    return {
        "peak_mib": (most_held(step, device) - before) / MIB,
        "parameters_mib": 4 * parameters(model) / MIB,
        "optimizer_mib": state_bytes(optimizer) / MIB,
    }


def _inference(
    cfg: CfgNode, videos: Batch, device: str
) -> tuple[Callable[[], object], torch.nn.Module]:
    teacher = _teacher(cfg).to(device).eval()

    @torch.inference_mode()
    def run() -> None:
        for clip in videos.clips:
            teacher(clip)

    return run, teacher


def _step(
    cfg: CfgNode,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    videos: Batch,
    device: str,
    with_teacher: bool,
) -> Callable[[], object]:
    """A step of the training loop, on the clips of the student or with its teacher."""
    part = cfg.DISTILL
    if with_teacher:
        teacher = _teacher(cfg)
        projection = bridge(cfg, teacher) if part.LOSS == "feature_mse" else None
        how = {"loss": part.LOSS, "weight": part.WEIGHT, "size": part.STUDENT_SIZE}
        objective = Distillation(teacher, mode=part.TEACHER_MODE, projection=projection, **how)
        objective.to(device)
    else:
        objective = Classify()
        to_student = Distillation(torch.nn.Identity(), size=part.STUDENT_SIZE).student_clip
        videos = Batch(tuple(map(to_student, videos.clips)), videos.labels, videos.index)
    stepper = Stepper(model, objective, optimizer, torch.device(device))
    return lambda: stepper(videos)


def _teacher(cfg: CfgNode) -> torch.nn.Module:
    """The network of DISTILL.TEACHER_CFG; random weights take as much memory as trained ones."""
    return build_model(load_cfg(teacher_yaml(cfg.DISTILL.TEACHER_CFG)))


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all averages that an optimiser keeps."""
    kept = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in kept if isinstance(value, torch.Tensor))
