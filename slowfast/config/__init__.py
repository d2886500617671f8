"""Configuration: every key, loading, validation, and the registries' class."""

from slowfast.config.defaults import get_cfg
from slowfast.config.loading import frame_counts, from_tree, load_cfg, parse_args
from slowfast.config.node import CfgNode
from slowfast.config.registry import Registry

__all__ = ["CfgNode", "Registry", "frame_counts", "from_tree", "get_cfg", "load_cfg", "parse_args"]
