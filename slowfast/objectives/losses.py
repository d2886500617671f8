"""Losses as plain functions of logits `(B, K)`; half precision is computed in float32.

`reduction` of a loss of the labels is "mean" over the videos, or "none" for each `(B,)`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Mean cross-entropy with class indices `(B,)` or class probabilities `(B, K)`.

    `smoothing` spreads that share of each label evenly over all classes.
    """
    logits = _at_least_float32(logits)
    return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction=reduction)


def soft_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy with weights of the classes `(B, K)`, which are divided by their sum.

    Class indices `(B,)` are taken too.  A video without classes adds nothing.
    """
    if labels.ndim == 2:
        labels = labels / labels.sum(dim=1, keepdim=True).clamp(min=1e-8)
    return cross_entropy(logits, labels, smoothing, reduction)


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Mean over videos and classes, each class with a sigmoid of its own.

    `smoothing` moves labels `(B, K)` that share of the way to 1/2.
    """
    targets = labels.lerp(torch.full_like(labels, 0.5), smoothing)
    logits = _at_least_float32(logits)
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)
    return losses.mean(1) if reduction == "none" else losses


# MODEL.LOSS_FUNC, and what its parts are called in records.
LABEL_LOSSES = {
    "cross_entropy": (cross_entropy, "ce"),
    "soft_cross_entropy": (soft_cross_entropy, "ce"),
    "bce_logit": (binary_cross_entropy, "bce"),
}


def distillation_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL(teacher || student) of the softened predictions, times temperature^2.

    The teacher's logits get no gradient.  The factor keeps the gradient's scale when the
    temperature changes (Hinton et al., arXiv:1503.02531).
    """
    log_student = F.log_softmax(_at_least_float32(student) / temperature, dim=-1)
    log_teacher = F.log_softmax(_at_least_float32(teacher.detach()) / temperature, dim=-1)
    kl = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return kl * temperature**2


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of two maps of one shape; the teacher's gets no gradient.

    ResKD, arXiv:2209.12797.
    """
    return F.mse_loss(_at_least_float32(student), _at_least_float32(teacher.detach()))


def logit_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """As `distillation_kl`, but a mean over videos and classes: 1 / K of it, as ResKD weights it.

    Logits are `(B, K)`.
    """
    return location_kl(student, teacher, temperature)


def location_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """The mean over videos, places and classes of `(B, K, ...)` logits, times temperature^2.

    Of KL(teacher || student), softened; the teacher's logits get no gradient.  arXiv:2209.12797.
    """
    log_student = F.log_softmax(_at_least_float32(student) / temperature, dim=1)
    log_teacher = F.log_softmax(_at_least_float32(teacher.detach()) / temperature, dim=1)
    kl = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return kl / student.numel() * temperature**2


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
