"""A network that looks at few frames of an easy video (FrameExit, arXiv:2104.13400)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.models.exits import (
    ALWAYS,
    NEVER,
    Decision,
    Exits,
    confidence,
    exit_thresholds,
    first_exit,
    gate_confidence,
)
from slowfast.models.frame_order import visit_order
from slowfast.models.registry import MODELS

STAGES = ("classifiers", "gates", "joint")


class FeatureMLP(nn.Module):
    """Linear, norm and ReLU on the features of each frame: `(N, dim_in)` to `(N, dim_out)`."""

    folds = (("layers.0", "layers.1"),)

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim_in, dim_out), nn.BatchNorm1d(dim_out), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Gate(nn.Module):
    """Looks at what was seen until now, and until a frame before; above 0 it is time to exit.

    Both `(B, dim)` go through the same two layers, and a linear one makes a logit `(B,)` of them.
    """

    folds = (("fc1", "bn1"), ("fc2", "bn2"))

    def __init__(self, dim: int, hidden: Sequence[int] = (128, 64)):
        super().__init__()
        first, second = hidden
        self.fc1 = nn.Linear(dim, first)
        self.bn1 = nn.BatchNorm1d(first)
        self.fc2 = nn.Linear(first, second)
        self.bn2 = nn.BatchNorm1d(second)
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(2 * second, 1)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.fc1(torch.cat([now, before]))))
        x = self.relu(self.bn2(self.fc2(x)))
        return self.linear(torch.cat(x.chunk(2), dim=1)).squeeze(1)


class Seen(NamedTuple):
    """What a stream has shown so far: how many frames, and their pooled features `(B, dim)`."""

    count: int
    pooled: Tensor


class Step(NamedTuple):
    """What is known after a frame: logits `(B, K)` and how sure `(B,)` the exit is, 0 to 1."""

    logits: Tensor
    confidence: Tensor


class FrameExit(nn.Module):
    """Features of single frames, coarse to fine in time, pooled until a gate says that they do.

        z_0 = h(x_0)    z_t = max(z_{t-1}, h(x_t))    exit t: classifiers[t](z_t)

    Exit 0 is taken where the confidence of its own prediction is above `first_threshold`, exit t
    where `gates[t-1](z_t, z_{t-1})` is above `gate_threshold`, the last one always.  h is
    `backbone`, which loses its classifier, and an MLP to `hidden_dim` features (0: without).  A
    step takes `clip_length` frames, 1 for image networks: neighbours, or as far apart as there are
    steps (`spread`), so that each step sees all of the video.  `stage` is what `train()` trains:
    "classifiers" (all but the gates), "gates" (alone, all else stays as in testing) or "joint".
    Gates look at features and do not change them.

    Takes `(B, 3, T, H, W)` in temporal order and visits its frames by `visit_order`, at most
    `num_exits` of them.  Raises ValueError for a backbone that does not name its classifier, and
    for a clip of a length that `clip_length` does not divide.
    """

    archs = ("frame_exit",)

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int = 200,
        num_exits: int = 10,
        clip_length: int = 1,
        spread: bool = False,
        hidden_dim: int = 4096,
        gate_dims: Sequence[int] = (128, 64),
        dropout: float = 0.0,
        stage: str = "joint",
        first_confidence: str = "softmax",
        first_threshold: float = 0.99,
        gate_threshold: float = 0.5,
        fc_init_std: float = 0.01,
    ):
        super().__init__()
        if stage not in STAGES:
            raise ValueError(f"stage={stage!r} must be one of {', '.join(STAGES)}")
        if num_exits < 1 or clip_length < 1:
            raise ValueError(f"num_exits={num_exits}, clip_length={clip_length} must be 1 or more")
        self.clip_length, self.spread = clip_length, spread
        self.num_exits, self.stage = num_exits, stage
        self.first_confidence = first_confidence
        self.first_threshold, self.gate_threshold = first_threshold, gate_threshold
        dim = remove_classifier(backbone)
        self.backbone = backbone
        self.mlp = FeatureMLP(dim, hidden_dim) if hidden_dim else nn.Identity()
        dim = hidden_dim or dim
        self.dropout = nn.Dropout(dropout)
        self.classifiers = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(num_exits))
        self.gates = nn.ModuleList(Gate(dim, gate_dims) for _ in range(num_exits - 1))
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=fc_init_std)
            nn.init.zeros_(classifier.bias)
        for part in self.frozen:
            part.requires_grad_(False)
        self.train()

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> FrameExit:
        part = cfg.FRAME_EXIT
        return cls(
            _backbone(cfg),
            num_classes=cfg.MODEL.NUM_CLASSES,
            num_exits=cfg.DATA.NUM_FRAMES // part.CLIP_LENGTH,
            clip_length=part.CLIP_LENGTH,
            spread=part.SPREAD,
            hidden_dim=part.HIDDEN_DIM,
            gate_dims=part.GATE_DIMS,
            dropout=cfg.MODEL.DROPOUT_RATE,
            stage=part.STAGE,
            first_confidence="sigmoid" if cfg.MODEL.HEAD_ACT == "sigmoid" else "softmax",
            first_threshold=part.FIRST_THRESHOLD,
            gate_threshold=part.GATE_THRESHOLD,
            fc_init_std=cfg.MODEL.FC_INIT_STD,
        )

    @property
    def depth_order(self) -> tuple[str, ...]:
        return tuple(rf"backbone\.(?:{p})" for p in getattr(self.backbone, "depth_order", ()))

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The parts that the stage does not train; they are in evaluation mode always."""
        features = (self.backbone, self.mlp, self.dropout, self.classifiers)
        return {"classifiers": (self.gates,), "gates": features, "joint": ()}[self.stage]

    def train(self, mode: bool = True) -> FrameExit:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, clip: Tensor) -> Exits:
        """What every exit says; for a clip of fewer frames than exits, of as many as it has."""
        order = self._order(clip)
        steps = self._steps(clip)[:, order].flatten(0, 1)
        features = self.features(steps).unflatten(0, (-1, len(order)))
        pooled = list(accumulate(features.unbind(1), torch.maximum))
        logits = [self.classify(t, z) for t, z in enumerate(pooled)]
        gates = [self.gate(t + 1, now, before) for t, (before, now) in enumerate(pairwise(pooled))]
        empty = logits[0].new_empty(len(clip), 0)
        return Exits(torch.stack(logits, 1), torch.stack(gates, 1) if gates else empty)

    def step(self, frames: Tensor, seen: Seen | None = None) -> tuple[Step, Seen]:
        """Predictions after one more frame `(B, 3, H, W)`, or `clip_length` of them in dimension 2.

        `seen` is what the step before returned, None at the first.  Frames are shown in the order
        of `visit_order`.  Raises ValueError after the last exit.
        """
        t = 0 if seen is None else seen.count
        if t >= self.num_exits:
            raise ValueError(f"all {self.num_exits} exits are passed; begin again with seen=None")
        pooled = self.features(frames.unsqueeze(2) if frames.ndim == 4 else frames)
        if seen is None:
            logits = self.classify(0, pooled)
            return Step(logits, confidence(logits, self.first_confidence)), Seen(1, pooled)
        pooled, before = torch.maximum(seen.pooled, pooled), seen.pooled
        logits = self.classify(t, pooled)
        return Step(logits, gate_confidence(self.gate(t, pooled, before))), Seen(t + 1, pooled)

    @torch.no_grad()
    def infer(
        self,
        clip: Tensor,
        first: float | None = None,
        gate: float | Sequence[float] | None = None,
    ) -> Decision:
        """The prediction of the first sure exit of each video; a finished video leaves the batch.

        `first` and `gate` are the thresholds, see `exit_thresholds`; None takes the network's.
        Only frames that are looked at, and classifiers that are asked, are computed.  Raises
        ValueError in training mode, in which the videos of a batch change each other.
        """
        if self.training:
            raise ValueError("infer works video by video: call eval() first")
        order = self._order(clip)
        thresholds = self.thresholds(len(order), first, gate)
        steps = self._steps(clip)
        rows, before = torch.arange(len(clip), device=clip.device), None
        finished, predictions, exits = [], [], torch.zeros_like(rows)
        for t, (place, threshold) in enumerate(zip(order, thresholds, strict=True)):
            now = self.features(steps[:, place] if before is None else steps[rows, place])
            if before is not None:
                now = torch.maximum(before, now)
            sure, logits = self._judge(t, now, before, threshold)
            finished.append(rows[sure])
            predictions.append(self.classify(t, now[sure]) if logits is None else logits[sure])
            exits[rows[sure]] = t
            rows, before = rows[~sure], now[~sure]
            if not len(rows):
                break
        return Decision(torch.cat(predictions)[torch.cat(finished).argsort()], exits)

    def _judge(
        self, t: int, now: Tensor, before: Tensor | None, threshold: float
    ) -> tuple[Tensor, Tensor | None]:
        """Which videos take exit t, and all their logits if it is these that say so."""
        if threshold == ALWAYS or threshold >= NEVER:
            taken = threshold == ALWAYS
            return torch.full((len(now),), taken, dtype=torch.bool, device=now.device), None
        if before is None:
            logits = self.classify(0, now)
            return confidence(logits, self.first_confidence) > threshold, logits
        return gate_confidence(self.gate(t, now, before)) > threshold, None

    def decide(
        self,
        exits: Exits,
        first: float | None = None,
        gate: float | Sequence[float] | None = None,
    ) -> Decision:
        """What `infer` returns, of what `forward` returned: many thresholds for one pass."""
        logits = exits.logits
        thresholds = self.thresholds(logits.shape[1], first, gate)
        first_sure = confidence(logits[:, :1], self.first_confidence)
        taken = first_exit(torch.cat([first_sure, exits.gates], dim=1), thresholds)
        return Decision(logits[torch.arange(len(logits), device=logits.device), taken], taken)

    def thresholds(
        self,
        num_exits: int,
        first: float | None = None,
        gate: float | Sequence[float] | None = None,
    ) -> list[float]:
        """Those of the first `num_exits` exits; None takes the network's own."""
        first = self.first_threshold if first is None else first
        return exit_thresholds(num_exits, first, self.gate_threshold if gate is None else gate)

    def features(self, steps: Tensor) -> Tensor:
        """h, `(N, dim)`, of steps `(N, 3, clip_length, H, W)`."""
        found = self.backbone(steps)
        # A head that slides over large crops has features of each position.
        return self.mlp(found.mean(1) if found.ndim == 3 else found)

    def classify(self, t: int, pooled: Tensor) -> Tensor:
        """The logits of exit t."""
        return self.classifiers[t](self.dropout(pooled))

    def gate(self, t: int, now: Tensor, before: Tensor) -> Tensor:
        """The logits of the gate of exit t, 1 or more; its gradient ends at what it looks at."""
        return self.gates[t - 1](now.detach(), before.detach())

    def _order(self, clip: Tensor) -> list[int]:
        """The steps that are visited of a clip, in their order."""
        num_frames = clip.shape[2]
        if num_frames % self.clip_length or not num_frames:
            raise ValueError(
                f"a clip of {num_frames} frames is no whole number of steps of "
                f"{self.clip_length}: choose DATA.NUM_FRAMES as a multiple of "
                "FRAME_EXIT.CLIP_LENGTH"
            )
        return list(visit_order(num_frames // self.clip_length)[: self.num_exits])

    def _steps(self, clip: Tensor) -> Tensor:
        """The steps of a clip, `(B, T / clip_length, 3, clip_length, H, W)`; a view.

        2 steps of 3 frames:  0 0 0 1 1 1,  spread  0 1 0 1 0 1
        """
        if self.spread:
            return clip.unflatten(2, (self.clip_length, -1)).permute(0, 3, 1, 2, 4, 5)
        return clip.unflatten(2, (-1, self.clip_length)).transpose(1, 2)


def remove_classifier(net: nn.Module) -> int:
    """Makes `net` return features instead of logits, and says how many.

    Raises ValueError if its `classifier`, the path of its last layer, names no linear layer.
    """
    path = getattr(net, "classifier", "")
    layer = net.get_submodule(path) if path else None
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"{type(net).__name__} cannot be a FRAME_EXIT.BACKBONE: its `classifier` is {path!r} "
            "and should be the path of a linear layer; take TSN, X3D or TimmFrames"
        )
    net.set_submodule(path, nn.Identity())
    return layer.in_features


def _backbone(cfg: CfgNode) -> nn.Module:
    """The network that sees a single step, without dropout before a classifier that goes."""
    part = cfg.FRAME_EXIT
    if part.BACKBONE == "FrameExit":
        raise ValueError("FRAME_EXIT.BACKBONE='FrameExit' has exits already; take TSN or X3D")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.FFN.ENABLE, cfg.DATA.NUM_FRAMES = False, part.CLIP_LENGTH
    cfg.MODEL.DROPOUT_RATE, cfg.MODEL.ARCH = 0.0, ""
    return MODELS.get(part.BACKBONE).from_cfg(cfg)
