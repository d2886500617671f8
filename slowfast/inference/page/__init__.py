"""The demo page: a network at two frame counts of one video, in a browser."""
