"""One network for any frame count and size against a network per pair, reported."""
