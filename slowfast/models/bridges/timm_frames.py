"""Image networks of timm, frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from slowfast.config import CfgNode, input_size
from slowfast.config.registry import nearest
from slowfast.layers.shift import temporal_shift
from slowfast.models.bridges.optional import require


class Clip:
    """How many frames the clips have that are running through the network now."""

    def __init__(self) -> None:
        self.num_frames = 0

    @contextmanager
    def of(self, num_frames: int) -> Iterator[None]:
        before, self.num_frames = self.num_frames, num_frames
        try:
            yield
        finally:
            self.num_frames = before


class ShiftInput:
    """A pre-hook that shifts the input of a convolution in time.  Copied along with its network."""

    def __init__(self, clip: Clip):
        self.clip = clip

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = inputs
        return temporal_shift(x, self.clip.num_frames), *rest


class TimmFrames(nn.Module):
    r"""A network of timm on each frame by itself; the mean of the frames' logits (TSN).

    Takes `(B, 3, T, H, W)`, any `T >= 1`, and returns logits `(B, K)`.  Parameters have timm's
    names behind `model.`.

    `shift` is a regular expression for the names of convolutions whose input is shifted in time
    (TSM), such as `layer.*\.conv1` in ResNets or `blocks.*\.conv_pw` in EfficientNets: the first of
    each residual branch, so that the shortcut keeps its frames.  `size` is the side of the frames,
    for networks that are made for one size.  Raises ValueError for a name that timm does not know
    and for a `shift` that names no convolution.
    """

    archs = ("2d",)
    depth_order = (
        r"model\.(?:stem|conv1|bn1|conv_stem|cls_token|reg_token|pos_embed|patch_embed|norm_pre)",
        r"model\.(?:layer|layers\.|blocks\.|stages\.|features\.)(\d+)",
    )

    def __init__(
        self,
        name: str,
        num_classes: int = 400,
        pretrained: bool = False,
        dropout: float = 0.0,
        shift: str = "",
        size: int = 224,
    ):
        super().__init__()
        timm = require("timm", "TimmFrames")
        if not timm.is_model(name):
            close = " or ".join(map(repr, nearest(name, timm.list_models(), 3)))
            hint = f"did you mean {close}?" if close else "see timm.list_models()"
            raise ValueError(f"TIMM.NAME={name!r} is no network of timm {timm.__version__}; {hint}")
        about = timm.get_pretrained_cfg(name, allow_unregistered=True)
        fixed = {"img_size": size} if about is not None and about.fixed_input_size else {}
        self.model = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, drop_rate=dropout, **fixed
        )
        self.clip = Clip()
        for layer in _convolutions(self.model, shift) if shift else ():
            layer.register_forward_pre_hook(ShiftInput(self.clip))

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TimmFrames:
        return cls(
            name=cfg.TIMM.NAME,
            num_classes=cfg.MODEL.NUM_CLASSES,
            pretrained=cfg.TIMM.PRETRAINED,
            dropout=cfg.MODEL.DROPOUT_RATE,
            shift=cfg.TIMM.SHIFT,
            size=input_size(cfg),
        )

    @property
    def classifier(self) -> str:
        layer = self.model.get_classifier()
        return next((name for name, found in self.named_modules() if found is layer), "")

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.transpose(1, 2).flatten(0, 1)
        with self.clip.of(clip.shape[2]):
            logits = self.model(frames)
        return logits.unflatten(0, (clip.shape[0], clip.shape[2])).mean(1)


def _convolutions(net: nn.Module, pattern: str) -> list[nn.Module]:
    """The layers of `net` whose whole name matches; ValueError unless they are convolutions."""
    found = {name: m for name, m in net.named_modules() if re.fullmatch(pattern, name)}
    others = [name for name, layer in found.items() if not isinstance(layer, nn.Conv2d)]
    if not found or others:
        problem = f"names {others[0]!r}, which is none" if others else "names none"
        some = [name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)][:6]
        known = f"its convolutions begin with {', '.join(some)}" if some else "it has none"
        raise ValueError(
            f"TIMM.SHIFT={pattern!r} must name convolutions of {type(net).__name__} and "
            f"{problem}; {known}"
        )
    return list(found.values())
