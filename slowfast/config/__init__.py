"""Configuration: every key, loading, validation, and the registries' class."""

from slowfast.config.defaults import get_cfg
from slowfast.config.loading import (
    Shards,
    frame_counts,
    from_tree,
    input_size,
    load_cfg,
    parse_args,
    parse_run_args,
    tested_sizes,
    trained_sizes,
)
from slowfast.config.node import CfgNode
from slowfast.config.registry import Registry

__all__ = [
    "CfgNode",
    "Registry",
    "Shards",
    "frame_counts",
    "from_tree",
    "get_cfg",
    "input_size",
    "load_cfg",
    "parse_args",
    "parse_run_args",
    "tested_sizes",
    "trained_sizes",
]
