"""Checkpoints into networks and back: nothing is loaded unless everything is explained."""

from slowfast.weights.formats import FORMATS, Format
from slowfast.weights.loading import load_weights
from slowfast.weights.own import Header, describe, load, pack, read_header, save, store_costs
from slowfast.weights.read import read_state_dict
from slowfast.weights.report import LoadReport

__all__ = [
    "FORMATS",
    "Format",
    "Header",
    "LoadReport",
    "describe",
    "load",
    "load_weights",
    "pack",
    "read_header",
    "read_state_dict",
    "save",
    "store_costs",
]
