"""Measurements of time and memory, each against a straightforward way in the same run."""

from slowfast.engine.benchmark.data import measure_data
from slowfast.engine.benchmark.distillation import distillation_peaks
from slowfast.engine.benchmark.exits import time_exits
from slowfast.engine.benchmark.inference import time_inference
from slowfast.engine.benchmark.layers import LAYERS, time_layer
from slowfast.engine.benchmark.resolution import time_resolution
from slowfast.engine.benchmark.training import WAYS, Setting, memory_peaks, time_steps

__all__ = [
    "LAYERS",
    "WAYS",
    "Setting",
    "distillation_peaks",
    "measure_data",
    "memory_peaks",
    "time_exits",
    "time_inference",
    "time_layer",
    "time_resolution",
    "time_steps",
]
