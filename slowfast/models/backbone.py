"""What every network shows of itself: its last map of features, and what is said of each place."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

ALSO = ("", "map", "places")


class Backbone(nn.Module):
    """A network in two halves: a map of features, and the classification of it.

    A subclass says how a clip becomes what its head takes (`encode`), which map that is (`to_map`),
    and how the head classifies it as a whole (`classify`) and at each place (`classify_map`).
    Its attribute `classifier` is the path of its last layer, a linear one.
    """

    classifier: str

    def forward(self, clip: Tensor, also: str = "") -> Any:
        """Logits `(B, K)`; `(B, P, K)` from a dense head.

        A pair with something more, out of the same pass, if asked for `also`:

            map      the last features before pooling, `(B, map_dim, T', H', W')`
            places   the logits of each of their places, `(B, K, T', H', W')`
        """
        if also not in ALSO:
            raise ValueError(f"also={also!r} must be map, places or empty")
        encoded = self.encode(clip)
        logits = self.classify(encoded)
        if not also:
            return logits
        features = self.to_map(encoded)
        return logits, features if also == "map" else self.classify_map(features)

    def feature_map(self, clip: Tensor) -> Tensor:
        """The last features before pooling, `(B, map_dim, T', H', W')`."""
        return self.to_map(self.encode(clip))

    @property
    def map_dim(self) -> int:
        """The channels of `feature_map`."""
        return self.get_submodule(self.classifier).in_features

    def encode(self, clip: Tensor) -> Any:
        """What the head takes."""
        raise NotImplementedError

    def to_map(self, encoded: Any) -> Tensor:
        """The map in what `encode` returns."""
        return encoded

    def classify(self, encoded: Any) -> Tensor:
        """The network's logits, of what `encode` returns."""
        raise NotImplementedError

    def classify_map(self, features: Tensor) -> Tensor:
        """The head's logits of each place of a map `(B, map_dim, T, H, W)` by itself, undropped.

        `(B, K, T, H, W)`.  A linear head's mean over the places is its logits of the whole.
        """
        return self.get_submodule(self.classifier)(features.movedim(1, -1)).movedim(-1, 1)
