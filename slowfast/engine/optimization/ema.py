"""The moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slowfast.engine.processes.parallel import Sharded, load_model_state, model_state, whole


class Ema:
    """The averages of the weights of `model`, wrapped or not, of which each update leaves `decay`.

    The first update copies.  Running statistics are averaged like weights, counters copied.  Where
    the weights are split among processes, so are the averages.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.averaged = AveragedModel(whole(model), multi_avg_fn=_average(decay), use_buffers=True)
        self.averaged.requires_grad_(False)
        if isinstance(model, Sharded):
            self.averaged.module = Sharded(self.averaged.module, model.world)

    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step of the optimiser."""
        self.averaged.update_parameters(model)

    def whole(self) -> nn.Module:
        """The network with the averages, see `parallel.whole`; at first its start."""
        return whole(self.averaged.module)

    def state_dict(self) -> dict[str, Any]:
        """The averages under the names of the network, and how many updates there were."""
        updates = int(self.averaged.n_averaged)
        return {"updates": updates, "model_state": model_state(self.averaged.module)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_model_state(self.averaged.module, state["model_state"])
        self.averaged.n_averaged.fill_(state["updates"])


def build_ema(model: nn.Module, cfg: CfgNode) -> Ema | None:
    """What TRAIN.EMA_DECAY says, or None."""
    return Ema(model, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None


def _average(decay: float) -> Callable[[list[Tensor], list[Tensor], Any], None]:
    """Updates a list of averages, all of one type."""
    average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        if averaged[0].is_floating_point():
            average(_local(averaged), _local(current), num_averaged)
        else:
            torch._foreach_copy_(averaged, current)

    return update


def _local(tensors: list[Tensor]) -> list[Tensor]:
    """What this process has of each."""
    return [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
