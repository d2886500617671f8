"""List files: what reads, and what each mistake says."""

import os
import pickle

import numpy as np
import pytest

from slowfast.datasets.lists import Records, find_list, read_list


def write_list(folder, text, *videos):
    for video in videos:
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        (folder / video).touch()
    path = folder / "train.csv"
    path.write_text(text)
    return path


def test_relative_paths_start_at_the_folder_of_the_list(tmp_path):
    records = read_list(write_list(tmp_path, "a/x.mp4 0\na/y.mp4 2\n", "a/x.mp4"), 3)
    assert records.path(1) == str(tmp_path / "a/y.mp4")
    assert records.labels.tolist() == [0, 2]


def test_the_prefix_replaces_the_folder_of_the_list(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/x.mp4").touch()
    records = read_list(write_list(tmp_path, "x.mp4 0\n"), 1, prefix=tmp_path / "videos")
    assert records.path(0) == str(tmp_path / "videos/x.mp4")


def test_absolute_paths_stay(tmp_path):
    path = write_list(tmp_path, f"{tmp_path / 'x.mp4'} 0\n", "x.mp4")
    assert read_list(path, 1, prefix="/elsewhere").path(0) == str(tmp_path / "x.mp4")


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_paths_may_contain_the_separator(tmp_path, separator):
    name = f"my{separator}first video.mp4"
    path = write_list(tmp_path, f"{name}{separator}7\n", name)
    records = read_list(path, 8, separator=separator)
    assert (records.path(0), records.label(0)) == (str(tmp_path / name), 7)


def test_blank_lines_and_windows_line_ends_are_no_trouble(tmp_path):
    path = write_list(tmp_path, "x.mp4 0\r\n\r\ny.mp4 1\r\n\r\n", "x.mp4")
    assert len(read_list(path, 2)) == 2


def test_names_in_any_script_survive(tmp_path):
    path = write_list(tmp_path, "日本 é.mp4 0\n", "日本 é.mp4")
    assert os.path.exists(read_list(path, 1).path(0))


def test_records_are_a_handful_of_buffers_however_many_videos(tmp_path):
    records = Records([f"class/video_{i}.mp4" for i in range(10_000)], [0] * 10_000)
    values = vars(records).values()
    assert all(isinstance(value, (bytes, str, np.ndarray)) for value in values)
    assert len(pickle.dumps(records)) < 40 * 10_000
    assert records.path(9_999) == "class/video_9999.mp4"


def test_the_test_split_falls_back_to_the_validation_list(tmp_path):
    (tmp_path / "val.csv").touch()
    assert find_list(tmp_path, "test").name == "val.csv"
    (tmp_path / "test.csv").touch()
    assert find_list(tmp_path, "test").name == "test.csv"


def test_a_missing_list_says_which_key_to_set(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv does not exist; set DATA\.PATH_TO_DATA_DIR"):
        find_list(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "separator", "right"),
    [
        ("x.mp4,0", " ", "','"),
        ("x.mp4 0", ",", "' '"),
        ("x.mp4\t0", " ", r"'\\t'"),
        ("my video.mp4,0", " ", "','"),
    ],
)
def test_a_wrong_separator_is_told_with_the_right_one(tmp_path, line, separator, right):
    path = write_list(tmp_path, line)
    with pytest.raises(ValueError, match=rf"line 1: .*set DATA\.PATH_LABEL_SEPARATOR {right}"):
        read_list(path, 1, separator=separator)


@pytest.mark.parametrize("line", ["y.mp4 three", "y.mp4", "y.mp4 1.5", "7"])
def test_a_label_that_is_no_integer_is_named_with_its_line(tmp_path, line):
    path = write_list(tmp_path, f"x.mp4 0\n{line}\n", "x.mp4")
    with pytest.raises(ValueError, match=rf"train\.csv, line 2: '{line}' .* labels are integers"):
        read_list(path, 9)


@pytest.mark.parametrize("label", [-1, 5, 400])
def test_a_label_out_of_range_is_named_with_the_range(tmp_path, label):
    path = write_list(tmp_path, f"x.mp4 0\n\ny.mp4 {label}\n", "x.mp4")
    with pytest.raises(
        ValueError, match=rf"line 3: label {label} is outside 0 \.\. 4; .*NUM_CLASSES"
    ):
        read_list(path, 5)


def test_an_empty_list_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="is empty"):
        read_list(write_list(tmp_path, "\n\n"), 5)


def test_a_first_video_that_is_missing_is_told_before_training_with_its_full_path(tmp_path):
    path = write_list(tmp_path, "x.mp4 0\n")
    with pytest.raises(
        ValueError, match=rf"{tmp_path}/x\.mp4 does not exist; set DATA\.PATH_PREFIX"
    ):
        read_list(path, 1)
