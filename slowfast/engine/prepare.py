"""What a training does to its network: which batch its norms see, and which of it is trained."""

import logging

from fvcore.common.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from slowfast.engine.processes.world import World
from slowfast.layers.norms import convert_norms

logger = logging.getLogger(__name__)


def prepare_training(model: nn.Module, cfg: CfgNode, world: World) -> None:
    """Converts the norms of `model` as BN.NORM_TYPE says, and freezes what is not trained.

    Every process calls it, after the weights are loaded and before the network is wrapped or its
    optimiser built.  State dicts stay those of the plain network.  Raises ValueError as
    `convert_norms` and `classifier` do.
    """
    bn = cfg.BN
    convert_norms(model, bn.NORM_TYPE, bn.NUM_SPLITS, bn.NUM_SYNC_DEVICES)
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        _log_norms(cfg, world)
    if cfg.MODEL.DETACH_FINAL_FC:
        trained = classifier(model, cfg.MODEL.NUM_CLASSES)
        model.requires_grad_(False)
        trained.requires_grad_(True)
        count = sum(parameter.numel() for parameter in trained.parameters())
        logger.info("linear probe: the classifier alone is trained, %d parameters", count)


def set_training(model: nn.Module, cfg: CfgNode) -> None:
    """`model.train()`, but for what is frozen: that stays as it is in testing.

    With MODEL.DETACH_FINAL_FC the whole network does, so that the classifier learns on the features
    that it will see; with MODEL.FROZEN_BN every BatchNorm.
    """
    model.train(not cfg.MODEL.DETACH_FINAL_FC)
    if cfg.MODEL.FROZEN_BN:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _log_norms(cfg: CfgNode, world: World) -> None:
    bn = cfg.BN
    if bn.NORM_TYPE == "sub_batchnorm":
        logger.info("BatchNorm sees each of %d parts of a process's batch", bn.NUM_SPLITS)
    elif bn.NORM_TYPE == "sync_batchnorm":
        number = min(bn.NUM_SYNC_DEVICES or world.size, world.size)
        logger.info("BatchNorm sees the batch of %d of %d processes", number, world.size)


def classifier(
    model: nn.Module, num_classes: int, asked_by: str = "MODEL.DETACH_FINAL_FC"
) -> nn.Module:
    """The last linear layer of `model`, or else its last convolution: it has an output per class.

    Raises ValueError, in which `asked_by` is the key that needs it, if neither has.
    """
    last = []
    for kind in (nn.Linear, _ConvNd):
        found = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, kind)]
        last += found[-1:]
    for _, layer in last:
        if layer.weight.shape[0] == num_classes:
            return layer
    outputs = ", ".join(f"{path} with {len(layer.weight)} outputs" for path, layer in last)
    raise ValueError(
        f"{asked_by} finds no classifier of MODEL.NUM_CLASSES={num_classes} in "
        f"{type(model).__name__}: its last layers are {outputs or 'without weights'}"
    )
