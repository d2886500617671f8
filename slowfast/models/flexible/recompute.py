"""Activation checkpointing that knows rates."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from slowfast.models.flexible.switch import RateSwitch


def checkpoint(module: nn.Module, *args: Any) -> Any:
    """`module(*args)`, with activations recomputed in the backward pass instead of kept.

    The backward pass may run while another rate is active, so the recomputation is pinned to the
    rate active now.  It leaves running statistics alone.  Plain modules work too.
    """
    contexts: dict[str, Any] = {}
    if not torch.compiler.is_compiling():  # a compiled graph knows its rate
        recompute = _Recompute(module)
        contexts["context_fn"] = lambda: (nullcontext(), recompute)
    return torch.utils.checkpoint.checkpoint(module, *args, use_reentrant=False, **contexts)


class _Recompute:
    """The context of a recomputation of `module`; entered once per backward pass over its graph."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.rates = next((m.rates for m in module.modules() if isinstance(m, RateSwitch)), None)
        self.tag = self.rates.active if self.rates else None
        self.stack = ExitStack()

    def __enter__(self) -> None:
        if self.rates is not None:
            self.stack.enter_context(self.rates.at(self.tag))
        for norm in self.module.modules():
            if isinstance(norm, _NormBase):
                self.stack.callback(setattr, norm, "momentum", norm.momentum)
                self.stack.callback(setattr, norm, "num_batches_tracked", norm.num_batches_tracked)
                # The forward pass has counted this batch already.
                norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: Any) -> None:
        self.stack.close()
