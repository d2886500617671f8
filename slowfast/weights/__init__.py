"""Checkpoints into networks: nothing is loaded unless everything is explained."""

from slowfast.weights.load import FORMATS, LoadReport, load_weights
from slowfast.weights.read import read_state_dict

__all__ = ["FORMATS", "LoadReport", "load_weights", "read_state_dict"]
