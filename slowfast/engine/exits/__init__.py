"""Testing networks that stop early, and choosing when they do."""

from slowfast.engine.exits.calibrate import ExitTable, Point, calibrate, front
from slowfast.engine.exits.networks import ExitNetwork, exit_network
from slowfast.engine.exits.testing import test_exits

__all__ = [
    "ExitNetwork",
    "ExitTable",
    "Point",
    "calibrate",
    "exit_network",
    "front",
    "test_exits",
]
