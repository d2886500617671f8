"""Checking a data set: what a probe finds, and what is made of all of them."""

import os
import shutil
from functools import partial

import pytest

from helpers.miniatures import Videos
from helpers.videos import cut, write_grey_video
from slowfast.datasets.manifest import Probe, read_manifest
from slowfast.datasets.prepare.check import check_videos, probe, summary
from slowfast.datasets.records import Records
from slowfast.datasets.video import open_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Five videos, of which `b` is empty and `c` lacks its end."""
    folder = tmp_path_factory.mktemp("videos")
    write_grey_video(folder / "a.mp4", 20)
    (folder / "b.mp4").touch()
    fast = {"movflags": "faststart"}
    write_grey_video(folder / "whole.mp4", 40, (96, 128), container_options=fast)
    cut(folder / "whole.mp4", folder / "c.mp4", 0.7)
    write_grey_video(
        folder / "d.mp4",
        12,
        fps=25,
        times_ms=[0, 40, 80, 500, 900, 940, 980, 1500, 1540, 1580, 1620, 1660],
    )
    return folder


def probed(path, whole=True) -> Probe:
    return probe(open_video, whole, path.name, str(path))


def test_a_probe_says_what_a_video_is(videos):
    found = probed(videos / "a.mp4")
    assert found.ok and found.whole
    assert (found.num_frames, found.fps, found.height, found.width) == (20, 20.0, 48, 64)
    assert not found.variable and found.size == (videos / "a.mp4").stat().st_size


def test_a_probe_says_why_a_video_cannot_be_read(videos):
    assert "is empty" in probed(videos / "b.mp4").error
    assert "is truncated" in probed(videos / "c.mp4").error
    assert "does not exist" in probed(videos / "e.mp4").error


def test_a_variable_rate_is_noticed(videos):
    assert probed(videos / "d.mp4").variable


def test_damage_between_the_frames_of_a_quick_look_takes_a_whole_one(videos, tmp_path):
    data = bytearray((videos / "whole.mp4").read_bytes())
    middle = len(data) // 3
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "damaged.mp4").write_bytes(data)
    assert not probed(tmp_path / "damaged.mp4").ok


def test_equal_files_have_equal_digests_and_others_not(videos, tmp_path):
    shutil.copy(videos / "a.mp4", tmp_path / "copy.mp4")
    Videos(tmp_path).put_frames(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    digest = {p: probed(p).digest for p in (*videos.glob("[ad].mp4"), *tmp_path.iterdir())}
    assert digest[tmp_path / "copy.mp4"] == digest[videos / "a.mp4"] != digest[videos / "d.mp4"]
    assert digest[tmp_path / "one"] == digest[tmp_path / "two"]


# ----------------------------------------------------------------------------------- data sets


def check(splits, folder, whole=True, opener=open_video):
    return check_videos(splits, opener, folder / "manifest.jsonl", whole, 1)


def refuse(path):
    raise AssertionError(f"{path} was opened again")


def test_every_video_is_probed_once_and_written_down(videos, tmp_path):
    splits = {
        "train": Records(["a.mp4", "b.mp4"], [0, 1], videos),
        "val": Records(["a.mp4", "d.mp4"], [0, 1], videos),
    }
    probes = check(splits, tmp_path)
    assert set(probes) == {"a.mp4", "b.mp4", "d.mp4"}
    assert list(read_manifest(tmp_path / "manifest.jsonl").values()) == [
        probes[name] for name in ("a.mp4", "b.mp4", "d.mp4")
    ]


def test_files_that_did_not_change_are_not_read_again(videos, tmp_path):
    splits = {"train": Records(["a.mp4", "b.mp4"], [0, 1], videos)}
    first = check(splits, tmp_path)
    assert check(splits, tmp_path, opener=refuse) == first


def open_or_fail(path):
    if path.endswith("b.mp4"):
        raise RuntimeError("the disk is gone")
    return open_video(path)


def die(path):
    os._exit(1)


def test_a_check_that_is_broken_off_keeps_what_it_has_found(videos, tmp_path):
    splits = {"train": Records(["a.mp4", "b.mp4", "d.mp4"], [0, 1, 1], videos)}
    with pytest.raises(RuntimeError, match="the disk is gone"):
        check(splits, tmp_path, opener=open_or_fail)
    assert "a.mp4" in read_manifest(tmp_path / "manifest.jsonl")


def test_a_process_that_dies_is_told(videos, tmp_path):
    with pytest.raises(ValueError, match="checking: a process died, .* fewer --workers than 1"):
        check({"train": Records(["a.mp4"], [0], videos)}, tmp_path, opener=die)


def test_a_whole_check_reads_again_what_was_looked_at_quickly(videos, tmp_path):
    splits = {"train": Records(["a.mp4"], [0], videos)}
    assert not check(splits, tmp_path, whole=False)["a.mp4"].whole
    assert check(splits, tmp_path)["a.mp4"].whole


def findings(splits: dict[str, list[tuple[str, int, str]]], classes=2, **of_all):
    """The summary of videos given as name, label and digest; "" is a broken one."""
    records = {s: Records([v[0] for v in own], [v[1] for v in own]) for s, own in splits.items()}
    make = partial(Probe, size=1, mtime=1, num_frames=30, fps=30.0, height=48, width=64)
    probes = {
        name: make(name, error="", digest=digest, **of_all)
        if digest
        else Probe(name, 0, 0, f"{name} is empty")
        for own in splits.values()
        for name, _, digest in own
    }
    return summary(records, probes, classes)


def test_a_good_data_set_has_no_troubles():
    found = findings({"train": [("a", 0, "1"), ("b", 1, "2")], "val": [("c", 0, "3")]})
    assert found.troubles == []
    assert found.notes[0] == "train: 2 of 2 videos can be read (100.0 %)"
    assert "frames 30 to 30, median 30" in found.notes[1]
    assert "2 of 2 classes, 1 to 1 videos each" in found.notes[3]


def test_unreadable_videos_are_listed_with_their_reason():
    found = findings({"train": [("a", 0, "1"), ("b", 1, "")]})
    assert found.notes[0] == "train: 1 of 2 videos can be read (50.0 %)"
    assert found.troubles == ["train: 1 cannot be read", "  b is empty"]


def test_a_class_without_training_videos_is_a_trouble():
    found = findings({"train": [("a", 0, "1")], "val": [("b", 2, "2")]}, classes=3)
    assert found.troubles == ["train: classes without videos", "  1, 2"]


def test_a_training_video_in_another_split_is_a_trouble():
    found = findings({"train": [("a", 0, "1"), ("b", 1, "2")], "val": [("c", 1, "2")]})
    assert found.troubles == [
        "1 videos to train on are also in another split",
        "  b (train), c (val)",
    ]


def test_equal_videos_of_different_labels_are_a_trouble_and_others_a_note():
    found = findings({"train": [("a", 0, "1"), ("b", 1, "1"), ("c", 1, "2"), ("d", 1, "2")]})
    assert found.troubles == ["1 videos have different labels", "  a (train), b (train)"]
    assert found.notes[-1] == "1 videos are there more than once, as c (train), d (train)"


def test_lengths_of_folders_that_the_list_states_wrongly_are_a_trouble(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    records = Records(["a", "b", "c.mp4"], [0, 1, 1], tmp_path, num_frames=[30, 31, 32])
    make = partial(Probe, size=1, mtime=1, error="", num_frames=30, fps=30.0)
    names = ("a", "b", "c.mp4")
    found = summary({"train": records}, {n: make(n, digest=n) for n in names}, 2)
    assert found.troubles == [
        "train: 1 of another length than listed",
        "  b has 30 frames, the list says 31",
    ]


def test_many_troubles_are_cut_short():
    found = findings({"train": [("a", 0, "x")] + [(f"{i}", 1, "") for i in range(30)]})
    assert len(found.troubles) == 22 and found.troubles[-1] == "  ... and 10 more"
