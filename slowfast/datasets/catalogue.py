"""Known data sets: what differs between them is data, not code."""

from typing import NamedTuple

from slowfast.config.registry import Registry


class Entry(NamedTuple):
    """`sampling` is "dense" or "segment"; `directional` data sets must not be mirrored."""

    sampling: str
    directional: bool


DATASETS = Registry("data set")
DATASETS.register("kinetics")(Entry("dense", directional=False))
for _name in ("ssv2", "something", "sth", "motion"):
    DATASETS.register(_name)(Entry("segment", directional=True))
