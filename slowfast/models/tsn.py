"""Image networks on videos: averaged over frames, or with shifted channels between them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.layers.shift import TemporalShift
from slowfast.models.backbone import Backbone
from slowfast.models.resnet2d import BasicBlock, Block, BlockMaker, Bottleneck, ResNet2d
from slowfast.models.resnet3d import init_weights

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class TSN(Backbone):
    """A ResNet on each frame and the mean of the frames' logits (TSN, arXiv:1608.00859).

    Takes `(B, 3, T, H, W)`, any `T >= 1`, and returns logits `(B, K)`.  `width` is that of the
    stem, `make_block` replaces the usual residual block of `depth`, see `ResNet2d`.
    Raises ValueError for a depth that is not in `depths`.
    """

    archs: tuple[str, ...] = ("tsn",)
    classifier = "new_fc"
    depth_order = (r"base_model\.(?:conv1|bn1)", r"base_model\.layer(\d)")
    depths: tuple[int, ...] = tuple(BLOCKS_PER_STAGE)

    def __init__(
        self,
        depth: int = 50,
        num_classes: int = 400,
        width: int = 64,
        dropout: float = 0.5,
        fc_init_std: float = 0.001,
        zero_init_final_bn: bool = False,
        act_checkpoint: bool = False,
        make_block: BlockMaker | None = None,
    ):
        super().__init__()
        if depth not in self.depths:
            known = ", ".join(map(str, self.depths))
            raise ValueError(f"depth={depth}; {type(self).__name__} has {known}")
        self.base_model = ResNet2d(
            make_block or _block_maker(depth), BLOCKS_PER_STAGE[depth], width, act_checkpoint
        )
        self.dropout = nn.Dropout(dropout)
        self.new_fc = nn.Linear(self.base_model.dim, num_classes)
        init_weights(self, fc_init_std, zero_init_final_bn)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TSN:
        return cls(
            depth=cfg.RESNET.DEPTH,
            num_classes=cfg.MODEL.NUM_CLASSES,
            width=cfg.RESNET.WIDTH_PER_GROUP,
            dropout=cfg.MODEL.DROPOUT_RATE,
            fc_init_std=cfg.MODEL.FC_INIT_STD,
            zero_init_final_bn=cfg.RESNET.ZERO_INIT_FINAL_BN,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
            **cls.more_arguments(cfg),
        )

    @classmethod
    def more_arguments(cls, cfg: CfgNode) -> dict[str, Any]:
        """What a subclass takes from the configuration beyond what all do."""
        return {}

    def encode(self, clip: Tensor) -> Tensor:
        num_frames = clip.shape[2]
        # In plain memory: channels last, a CPU gains a tenth and loses digits of batch statistics.
        frames = clip.transpose(1, 2).flatten(0, 1)
        maps = self.base_model(frames, num_frames)
        return maps.unflatten(0, (-1, num_frames)).transpose(1, 2)

    def classify(self, encoded: Tensor) -> Tensor:
        frames = encoded.transpose(1, 2).flatten(0, 1)
        features = self.dropout(frames.mean((2, 3)))
        # The classifier is linear: that of the mean is the mean of those of the frames.
        return self.new_fc(features.unflatten(0, (-1, encoded.shape[2])).mean(1))


class TSM(TSN):
    """A ResNet whose residual branches see shifted frames (TSM, arXiv:1811.08383).

    In each stage the first block and every `shift_every`-th after it take 1 / `fold_div` of their
    input's channels from the next frame and as many from the one before.  The published FFN shifts
    in all blocks; the original TSM in every second one if a stage has 23 (depth 101) or more.
    `options` are those of `TSN`.
    """

    archs = ("tsm",)

    def __init__(
        self,
        depth: int = 50,
        num_classes: int = 400,
        shift_every: int = 1,
        fold_div: int = 8,
        **options: Any,
    ):
        if shift_every < 1:
            raise ValueError(f"shift_every={shift_every} must be 1 or more; TSN is without shifts")
        make_block = _block_maker(depth, shift_every, fold_div)
        super().__init__(depth, num_classes, make_block=make_block, **options)

    @classmethod
    def more_arguments(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"shift_every": cfg.TSM.SHIFT_EVERY, "fold_div": cfg.TSM.FOLD_DIV}


def _block_maker(depth: int, shift_every: int = 0, fold_div: int = 8) -> BlockMaker:
    """Makes the usual residual blocks of `depth`; `shift_every=0` shifts in none."""
    kind = Bottleneck if depth >= 50 else BasicBlock

    def make_block(dim_in: int, planes: int, stride: int, index: int) -> Block:
        is_shifted = shift_every and index % shift_every == 0
        return kind(dim_in, planes, stride, TemporalShift(fold_div) if is_shifted else None)

    return make_block
