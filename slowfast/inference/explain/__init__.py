"""Why a network says what it says: frames it saw, what in them counted, and where rates differ."""

from slowfast.inference.explain.gradcam import Evidence, Explainer, finer_layer

__all__ = ["Evidence", "Explainer", "finer_layer"]
