"""Losses as plain functions of logits `(B, K)`; half precision is computed in float32."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with class indices `(B,)` or class probabilities `(B, K)`.

    `smoothing` spreads that share of each label evenly over all classes.
    """
    return F.cross_entropy(_at_least_float32(logits), labels, label_smoothing=smoothing)


def distillation_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL(teacher || student) of the softened predictions, times temperature^2.

    The teacher's logits get no gradient.  The factor keeps the gradient's scale when the
    temperature changes (Hinton et al., arXiv:1503.02531).
    """
    log_student = F.log_softmax(_at_least_float32(student) / temperature, dim=-1)
    log_teacher = F.log_softmax(_at_least_float32(teacher.detach()) / temperature, dim=-1)
    kl = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return kl * temperature**2


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
