"""Training, testing, and comparing runs."""

from slowfast.engine.run import run
from slowfast.engine.test import test
from slowfast.engine.train import train

__all__ = ["run", "test", "train"]
