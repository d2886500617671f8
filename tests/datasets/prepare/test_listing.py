"""From official files to lists of this project, and what they say of missing videos."""

import pytest

from helpers import miniatures
from helpers.miniatures import Videos
from slowfast.config import get_cfg
from slowfast.datasets import DATASETS
from slowfast.datasets.lists import class_names, find_list, read_list
from slowfast.datasets.prepare import convert_lists, read_splits

PLACES = {  # of lists and videos, where not in the folder itself
    "hmdb51": ("testTrainMulti_7030_splits", "videos"),
    "ucf101": ("ucfTrainTestlist", "UCF-101"),
    "activitynet": (".", "videos"),
}


def read(kind, folder, split, classes, prefix):
    entry = DATASETS.get(kind)
    path = find_list(folder, split, fold=entry.fold)
    how = {"split": split, "fold": entry.fold, "multi_label": entry.multi_label}
    return read_list(path, classes, prefix=prefix, **how)


def content(records):
    indices = range(len(records))
    return [(records.path(i), records.classes(i), records.num_frames(i)) for i in indices]


@pytest.mark.parametrize("kind", sorted(set(miniatures.ALL) - {"fcvid", "imagenet"}))
def test_lists_say_the_same_as_the_official_files(tmp_path, kind):
    getattr(miniatures, kind)(tmp_path, Videos(tmp_path))
    lists, videos = (tmp_path / place for place in PLACES.get(kind, (".", ".")))
    out = tmp_path / "out"
    converted = convert_lists(kind, lists, videos, out)
    assert [c.path.name for c in converted] == ["train.csv", "val.csv"]
    assert all(c.found == c.listed > 0 for c in converted)
    assert class_names(out) == class_names(lists)
    for split in ("train", "val"):
        classes = len(class_names(out))
        official, ours = (read(kind, f, split, classes, videos) for f in (lists, out))
        assert content(ours) == content(official)


def test_missing_videos_are_counted_and_stay_unless_told_otherwise(tmp_path):
    miniatures.ssv2(tmp_path, Videos(tmp_path))
    (tmp_path / "20bn-something-something-v2/3.webm").unlink()
    kept, _ = convert_lists("ssv2", tmp_path, tmp_path, tmp_path / "all")
    assert (kept.listed, kept.found) == (6, 5)
    assert len(kept.path.read_text().splitlines()) == 6
    found, _ = convert_lists("ssv2", tmp_path, tmp_path, tmp_path / "found", only_found=True)
    lines = found.path.read_text().splitlines()
    assert len(lines) == 5 and not any("/3.webm" in line for line in lines)


def test_lists_are_not_overwritten(tmp_path):
    miniatures.ssv2(tmp_path, Videos(tmp_path))
    convert_lists("ssv2", tmp_path, tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="out/train.csv is there already"):
        convert_lists("ssv2", tmp_path, tmp_path, tmp_path / "out")


def test_files_that_do_not_tell_the_classes_are_told(tmp_path):
    with pytest.raises(ValueError, match="does not tell the classes; put"):
        convert_lists("ssv2", tmp_path, tmp_path, tmp_path / "out")


def test_a_test_split_that_is_the_validation_one_is_read_once(tmp_path):
    Videos(tmp_path).put(tmp_path / "a.mp4", tmp_path / "b.mp4")
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("a.mp4 0\nb.mp4 1\n")
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES, cfg.DATA.PATH_TO_DATA_DIR = 2, str(tmp_path)
    assert list(read_splits(cfg)) == ["train", "val"]
    (tmp_path / "test.csv").write_text("b.mp4 1\n")
    assert list(read_splits(cfg)) == ["train", "val", "test"]
