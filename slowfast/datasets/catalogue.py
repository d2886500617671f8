"""Known data sets: what differs between them is data, not code."""

from typing import NamedTuple

from slowfast.config.registry import Registry


class Entry(NamedTuple):
    """What to know of a data set beside its lists, which are read by content.

    sampling      "dense" (a span of each video) or "segment" (all of it)
    directional   classes change when mirrored: no flips
    num_classes   of the published data set; 0 where it varies
    metric        "top1", or "map" where videos have several labels
    fold          which of the published splits
    """

    sampling: str
    directional: bool
    num_classes: int = 0
    metric: str = "top1"
    fold: int = 1

    @property
    def multi_label(self) -> bool:
        return self.metric == "map"


def _add(entry: Entry, *names: str) -> None:
    for name in names:
        DATASETS.register(name)(entry)


DATASETS = Registry("data set")
_add(Entry("dense", directional=False), "kinetics")  # any of them, or a part
_add(Entry("dense", directional=False, num_classes=400), "kinetics400", "k400")
_add(Entry("dense", directional=False, num_classes=600), "kinetics600", "k600")
_add(Entry("dense", directional=False, num_classes=700), "kinetics700", "k700")
_add(Entry("segment", directional=False, num_classes=200), "minikinetics", "minik")
_add(Entry("segment", directional=True, num_classes=174), "ssv1", "sth", "something")
_add(Entry("segment", directional=True, num_classes=174), "ssv2", "sthv2", "somethingv2")
_add(Entry("segment", directional=True, num_classes=27), "jester")
for _fold in (1, 2, 3):
    _add(Entry("segment", False, num_classes=51, fold=_fold), f"hmdb51_{_fold}")
    _add(Entry("segment", False, num_classes=101, fold=_fold), f"ucf101_{_fold}")
_add(DATASETS.get("hmdb51_1"), "hmdb51")
_add(DATASETS.get("ucf101_1"), "ucf101")
_add(Entry("segment", False, num_classes=200, metric="map"), "activitynet", "actnet")
_add(Entry("segment", False, num_classes=239, metric="map"), "fcvid")
_add(Entry("segment", False, num_classes=3142, metric="map"), "hvu")
_add(Entry("dense", directional=False, num_classes=157, metric="map"), "charades")
_add(Entry("segment", directional=False, num_classes=1000), "imagenet")
_add(Entry("segment", directional=True, num_classes=16), "motion")
_add(Entry("segment", directional=False), "custom")  # what `tools/data.py init` makes
