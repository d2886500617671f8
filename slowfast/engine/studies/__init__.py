"""Comparisons of several networks, each trained and tested in a process of its own."""
