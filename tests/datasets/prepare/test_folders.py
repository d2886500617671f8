"""From class folders to something that trains."""

import pytest

from helpers.miniatures import Videos, class_folders
from slowfast.config import load_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.lists import class_names, read_list
from slowfast.datasets.prepare import init_folder


@pytest.fixture
def folder(tmp_path):
    class_folders(tmp_path / "my videos", Videos(tmp_path), per_class=10)
    return tmp_path / "my videos"


def names_in(folder, split: str) -> set[tuple[str, int]]:
    records = read_list(folder / f"{split}.csv", 2)
    return {(records.name(i), records.label(i)) for i in range(len(records))}


def test_a_share_of_every_class_becomes_the_validation_set(folder):
    made = init_folder(folder, val_share=0.3)
    assert made.train == {"Opening a door": 7, "closing": 7}
    assert made.val == {"Opening a door": 3, "closing": 3}
    assert class_names(folder) == ["Opening a door", "closing"]
    train, val = names_in(folder, "train"), names_in(folder, "val")
    assert not train & val
    assert train | val == {
        (f"{name}/clip {i}.mp4", label)
        for label, name in enumerate(["Opening a door", "closing"])
        for i in range(10)
    }


def test_the_seed_draws_the_validation_videos(folder, tmp_path):
    lists = []
    for seed in (0, 0, 1):
        init_folder(folder, seed=seed)
        lists.append((folder / "val.csv").read_text())
        for name in ("train.csv", "val.csv", "classes.txt", "config.yaml"):
            (folder / name).unlink()
    assert lists[0] == lists[1] != lists[2]


def test_folders_of_splits_are_kept_as_they_are(tmp_path):
    class_folders(tmp_path / "train", Videos(tmp_path), per_class=3)
    class_folders(tmp_path / "val", Videos(tmp_path), per_class=1)
    made = init_folder(tmp_path)
    assert made.train == {"Opening a door": 3, "closing": 3}
    assert names_in(tmp_path, "val") == {
        ("val/Opening a door/clip 0.mp4", 0),
        ("val/closing/clip 0.mp4", 1),
    }


def test_the_configuration_loads_its_videos(folder):
    cfg = load_cfg(init_folder(folder).config, ["DATA_LOADER.NUM_WORKERS", 0])
    assert cfg.MODEL.NUM_CLASSES == 2
    batch = next(iter(build_loader(cfg, "train")))
    assert len(batch) == 8 and batch.failures == ()
    assert len(build_loader(cfg, "val").dataset) == 4


@pytest.mark.parametrize("name", ["train.csv", "classes.txt", "config.yaml"])
def test_nothing_is_overwritten(folder, name):
    (folder / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} is there already; remove it"):
        init_folder(folder)
    assert (folder / name).read_text() == "mine"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {name}


def test_a_class_of_one_video_trains_on_it(tmp_path):
    videos = Videos(tmp_path)
    videos.put(*(tmp_path / "d" / name for name in ("a/1.mp4", "b/2.mp4", "b/3.mp4")))
    made = init_folder(tmp_path / "d")
    assert (made.train, made.val) == ({"a": 1, "b": 1}, {"a": 0, "b": 1})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no folder with videos; put those of each class in a folder"),
        (["a/1.mp4", "a/2.mp4"], "holds only 'a' with videos"),
        (["a/1.mp4", "b/2.mp4"], "leaves no video to validate on"),
        (["train/a/1.mp4", "val/b/2.mp4"], "class 'b' has no videos to train on"),
    ],
)
def test_what_is_missing_is_told(tmp_path, names, message):
    (tmp_path / "d").mkdir()
    Videos(tmp_path).put(*(tmp_path / "d" / name for name in names))
    with pytest.raises(ValueError, match=message):
        init_folder(tmp_path / "d")
