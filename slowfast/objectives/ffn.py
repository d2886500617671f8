"""Training at several frame counts, as in FFN (arXiv:2303.14817, section 3.2) and around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from slowfast.models.flexible import Rate, sized
from slowfast.objectives.losses import LABEL_LOSSES, distillation_kl
from slowfast.objectives.term import OBJECTIVES, Term

DISTILL = ("teacher", "mutual", "labels")
BACKWARD = ("per_rate", "joint")

Clips = dict[int | Rate, Tensor]  # by rate, highest first


@OBJECTIVES.register("ffn")
class FrameFlexibleTraining:
    """Every rate learns the labels, directly or from other rates.

        teacher   CE(z_H, y) + weight * sum over lower r of KL(p_H || p_r)               as in FFN
        mutual    sum over r of CE(z_r, y) + weight * mean over other s of KL(p_s || p_r)
        labels    sum over r of CE(z_r, y)

    The first argument of each KL is detached, so the graph separates by rate.  `per_rate` yields
    one term per rate, highest first, and only one rate's activations are alive; `joint` yields the
    sum: the same gradient.  `mutual` (arXiv:1706.00384) needs all predictions first, hence `joint`.
    With `sizes`, in pixels, a rate is a pair of frame count and size, the highest the pair of most
    pixels; a batch has the clips of each count, from which those of each size are resized.
    `temperature` is that of each KL, see `distillation_kl`; `smoothing` that of the labels.  CE is
    `loss` of LABEL_LOSSES, one for classes that share their probability.
    """

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 1.0,
        distill: str = "teacher",
        backward: str = "per_rate",
        smoothing: float = 0.0,
        loss: str = "cross_entropy",
        sizes: Sequence[int] = (),
    ) -> None:
        _check_choice("FFN.DISTILL", distill, DISTILL)
        _check_choice("FFN.BACKWARD", backward, BACKWARD)
        if temperature <= 0:
            raise ValueError(f"FFN.TEMPERATURE={temperature} must be above 0")
        if distill == "mutual" and backward == "per_rate":
            raise ValueError(
                "FFN.DISTILL='mutual' compares the predictions of all rates before any backward "
                "pass; set FFN.BACKWARD to 'joint'"
            )
        if loss == "bce_logit":
            raise ValueError(
                "the objective 'ffn' compares how classes share their probability; "
                "set MODEL.LOSS_FUNC to 'soft_cross_entropy' for videos with several labels"
            )
        self.weight, self.temperature, self.smoothing = weight, temperature, smoothing
        self.loss, _ = LABEL_LOSSES[loss]
        self.distill, self.backward, self.sizes = distill, backward, tuple(sizes)

    @classmethod
    def from_cfg(cls, cfg: Any) -> FrameFlexibleTraining:
        return cls(
            weight=cfg.FFN.LAMBDA,
            temperature=cfg.FFN.TEMPERATURE,
            distill=cfg.FFN.DISTILL,
            backward=cfg.FFN.BACKWARD,
            smoothing=cfg.OBJECTIVE.LABEL_SMOOTHING,
            loss=cfg.MODEL.LOSS_FUNC,
            sizes=cfg.FFN.SIZES,
        )

    def num_terms(self, batch: Any) -> int:
        return 1 if self.backward == "joint" else len(batch.clips) * max(len(self.sizes), 1)

    def __call__(self, model: nn.Module, batch: Any) -> Iterator[Term]:
        clips = sized(batch.clips, self.sizes)
        if len(clips) < 2:
            raise ValueError(
                f"the objective 'ffn' takes a clip per rate, two or more; got {len(clips)}. "
                "Set FFN.ENABLE, or OBJECTIVE.NAME to 'classify'"
            )
        # Highest first in both, so that dropout draws are the same.
        run = self._joint if self.backward == "joint" else self._per_rate
        yield from run(model, dict(reversed(clips.items())), batch.labels)

    def _per_rate(self, model: nn.Module, clips: Clips, labels: Tensor) -> Iterator[Term]:
        known: list[Tensor] = []
        for rate, clip in clips.items():
            term = self._term(rate, model(clip), labels, len(known), known)
            known.extend(term.logits.values())
            yield term
            del term  # or its graph would stay alive while the next rate runs

    def _joint(self, model: nn.Module, clips: Clips, labels: Tensor) -> Iterator[Term]:
        # One call, so that DistributedDataParallel sees one forward pass.
        logits = model(tuple(clips.values()))
        known = [z.detach() for z in logits]
        terms = [
            self._term(rate, z, labels, rank, known)
            for rank, (rate, z) in enumerate(zip(clips, logits, strict=True))
        ]
        yield Term(
            loss=sum(term.loss for term in terms),
            parts={name: part for term in terms for name, part in term.parts.items()},
            logits={n: z for term in terms for n, z in term.logits.items()},
        )

    def _term(
        self, rate: int | Rate, logits: Tensor, labels: Tensor, rank: int, known: list[Tensor]
    ) -> Term:
        """The loss of the rate `rank` places below the highest, which is first in `known`."""
        loss, parts = 0.0, {}
        if rank == 0 or self.distill != "teacher":
            loss = self.loss(logits, labels, self.smoothing)
            parts[f"ce_{rate}"] = loss.detach()
        peers = self._peers(rank, known)
        if peers:
            kl = sum(distillation_kl(logits, peer, self.temperature) for peer in peers) / len(peers)
            loss = loss + self.weight * kl
            parts[f"kl_{rate}"] = kl.detach()
        return Term(loss, parts, {rate: logits.detach()})

    def _peers(self, rank: int, known: list[Tensor]) -> list[Tensor]:
        """The predictions which the rate should agree with."""
        if self.distill == "mutual":
            return known[:rank] + known[rank + 1 :]
        return known[:1] if self.distill == "teacher" and rank > 0 else []


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key}={value!r} must be one of {', '.join(choices)}")
