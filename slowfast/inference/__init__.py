"""A trained network put to use: predictions within a budget, from files, arrays and cameras."""

from slowfast.inference.budget import Cost, Costs, NothingFits
from slowfast.inference.predictions import Prediction
from slowfast.inference.recognizer import Clip, Recognizer
from slowfast.inference.sources import ArrayVideo, Source, open_source

__all__ = [
    "ArrayVideo",
    "Clip",
    "Cost",
    "Costs",
    "NothingFits",
    "Prediction",
    "Recognizer",
    "Source",
    "open_source",
]
