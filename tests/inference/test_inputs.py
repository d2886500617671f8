"""Which videos files, folders and lists stand for, and the names of what is made of them."""

import pytest

from slowfast.inference.inputs import find_inputs


def touch(folder, *names: str):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(sources) -> list[str]:
    return [found.name for found in find_inputs(sources)]


def test_a_folder_is_all_videos_below_it_in_order(tmp_path):
    touch(tmp_path, "b/2.mp4", "a/1.MKV", "c.webm", "notes.txt", ".hidden/x.mp4", "a/1.json")
    assert names([tmp_path]) == ["a/1", "b/2", "c"]


def test_a_folder_of_images_is_one_video(tmp_path):
    touch(tmp_path, "frames/clip/0001.jpg", "frames/clip/0002.jpg")
    assert names([tmp_path / "frames"]) == ["clip"]
    (found,) = find_inputs([tmp_path / "frames/clip"])
    assert found == ("clip", str(tmp_path / "frames/clip"))


def test_a_list_is_read_from_its_folder_with_or_without_labels(tmp_path):
    touch(tmp_path, "videos/my clip.mp4", "videos/two.mp4", "videos/3.mp4")
    lines = "path label\nvideos/my clip.mp4 3\n\n# none\nvideos/two.mp4,30,1;2\nvideos/3.mp4\n"
    (tmp_path / "val.csv").write_text(lines)
    assert names([tmp_path / "val.csv"]) == ["videos/my clip", "videos/two", "videos/3"]


def test_a_list_may_begin_with_the_mark_of_windows_programs(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "val.csv").write_text("\ufeffa.mp4 3\n", encoding="utf-8")
    assert names([tmp_path / "val.csv"]) == ["a"]


def test_a_missing_video_of_a_list_is_kept_to_be_reported(tmp_path):
    (tmp_path / "val.csv").write_text("videos/gone.mp4 3\n")
    (found,) = find_inputs([tmp_path / "val.csv"])
    assert found == ("videos/gone", str(tmp_path / "videos/gone.mp4"))


def test_a_video_is_taken_once(tmp_path):
    touch(tmp_path, "a.mp4")
    assert names([tmp_path / "a.mp4", tmp_path, tmp_path / "a.mp4"]) == ["a"]


def test_equal_names_keep_their_suffix_or_get_their_folder(tmp_path):
    touch(tmp_path, "one/a.mp4", "one/a.avi", "two/b.mp4", "three/b.mp4")
    assert names([tmp_path / "one"]) == ["a.avi", "a.mp4"]
    assert names([tmp_path / "two/b.mp4", tmp_path / "three/b.mp4"]) == ["two/b.mp4", "three/b.mp4"]


def test_names_stay_inside_the_folder_of_results(tmp_path):
    touch(tmp_path, "lists/val.csv", "secret.mp4")
    (tmp_path / "lists/val.csv").write_text("../secret.mp4 1\n")
    assert names([tmp_path / "lists/val.csv"]) == ["secret"]


def test_a_place_without_videos_is_named(tmp_path):
    touch(tmp_path, "notes.md")
    with pytest.raises(ValueError, match=r"no videos in .*; give a file, a folder of \.mp4"):
        find_inputs([tmp_path])
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="no videos in .*empty.txt"):
        find_inputs([tmp_path / "empty.txt"])
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="binary.txt is no list of videos but a binary file"):
        find_inputs([tmp_path / "binary.txt"])
