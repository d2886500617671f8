"""Plain lists: what reads, and what each mistake says."""

import logging
import os
import pickle

import numpy as np
import pytest

from slowfast.datasets.lines import write_lines
from slowfast.datasets.lists import Records, class_names, find_list, read_list


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


def test_the_mark_that_windows_programs_write_before_a_text_is_no_part_of_it(tmp_path):
    path = write_list(tmp_path, "\ufeffx.mp4 zwei\n", "x.mp4")
    (tmp_path / "classes.txt").write_text("\ufeffeins\nzwei\n")
    records = read_list(path, 2)
    assert records.path(0) == str(tmp_path / "x.mp4") and records.labels.tolist() == [1]
    assert class_names(tmp_path) == ["eins", "zwei"]


@pytest.mark.parametrize("name", ["train.csv", "classes.txt"])
def test_a_text_in_another_encoding_is_named(tmp_path, name):
    path = write_list(tmp_path, "x.mp4 0\n", "x.mp4")
    (tmp_path / name).write_bytes("é.mp4 0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=f"{name} is not UTF-8 .*; save it as UTF-8 text"):
        read_list(path, 1)


def test_names_in_any_script_survive(tmp_path):
    path = write_list(tmp_path, "日本 é.mp4 0\n", "日本 é.mp4")
    assert os.path.exists(read_list(path, 1).path(0))


def test_records_are_a_handful_of_buffers_however_many_videos(tmp_path):
    records = Records([f"class/video_{i}.mp4" for i in range(10_000)], [0] * 10_000)
    values = vars(records).values()
    assert all(isinstance(value, (bytes, str, int, np.ndarray)) for value in values)
    assert len(pickle.dumps(records)) < 40 * 10_000
    assert records.path(9_999) == "class/video_9999.mp4"


def test_the_test_split_falls_back_to_the_validation_list(tmp_path):
    (tmp_path / "val.csv").touch()
    assert find_list(tmp_path, "test").name == "val.csv"
    (tmp_path / "test.csv").touch()
    assert find_list(tmp_path, "test").name == "test.csv"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_videofolder.txt", "train"),
        ("something_v1_val_videofolder.txt", "val"),
        ("somesomev1_rgb_validation_split.txt", "val"),
        ("hmdb51_train_split_2_rawframes.txt", "train"),
        ("trainlist02.txt", "train"),
        ("testlist02.txt", "val"),
        ("something-something-v2-validation.json", "val"),
        ("jester-v1-train.csv", "train"),
        ("activity_net.v1-3.min.json", "val"),
        ("Charades_v1_test.csv", "val"),
        ("validate.csv", "test"),
    ],
)
def test_lists_are_known_by_their_published_names(tmp_path, name, split):
    for other in ("hmdb51_train_split_1_rawframes.txt", "trainlist01.txt", "testlist01.txt"):
        (tmp_path / other).touch()
    (tmp_path / "something-something-v2-test.json").touch()  # without labels
    (tmp_path / name).touch()
    assert find_list(tmp_path, split, fold=2).name == name


def test_a_list_may_be_named_by_a_template(tmp_path):
    for name in ("my_train.lst", "train.csv", "my_validation.lst"):
        (tmp_path / name).touch()
    assert find_list(tmp_path, "train", "my_{}.lst").name == "my_train.lst"
    assert find_list(tmp_path, "test", "my_{}.lst").name == "my_validation.lst"
    with pytest.raises(ValueError, match=r"your_train\.lst does not exist"):
        find_list(tmp_path, "train", "your_{}.lst")


def test_two_lists_of_one_split_are_not_chosen_among(tmp_path):
    for kind in ("rawframes", "videos"):
        (tmp_path / f"hmdb51_train_split_1_{kind}.txt").touch()
    with pytest.raises(ValueError, match=r"both look like the list of 'train'; .*TEMPLATE"):
        find_list(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "a b\n\nc\n"),
        ("category.txt", "a b\nc"),
        ("classInd.txt", "1 a b\n2 c\n"),
        ("minik_classInd.txt", "a b\nc\n"),
        ("Charades_v1_classes.txt", "c000 a b\nc001 c\n"),
        ("ssv2-labels.json", '{"c": "1", "a b": "0"}'),
        ("jester-v1-labels.csv", "c\na b\n"),
    ],
)
def test_classes_have_the_names_of_the_file_beside_the_list(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert class_names(tmp_path) == ["a b", "c"]


def test_no_folder_has_no_class_names():
    assert class_names("") == []


def test_a_missing_list_says_which_key_to_set(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv does not exist; set DATA\.PATH_TO_DATA_DIR"):
        find_list(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "separator", "right"),
    [
        ("x.mp4,0", " ", "','"),
        ("x.mp4, 0", " ", "','"),
        ("x.mp4 0", ",", "' '"),
        ("x.mp4\t0", " ", r"'\\t'"),
        ("my video.mp4,0", " ", "','"),
        ("x.mp4;0", " ", "';'"),
    ],
)
def test_another_separator_is_found_out_and_logged(tmp_path, caplog, line, separator, right):
    caplog.set_level(logging.INFO, "slowfast")
    name = line.rstrip("0").rstrip(" ,;\t")
    records = read_list(write_list(tmp_path, line, name), 1, separator=separator)
    assert records.path(0) == str(tmp_path / name)
    assert f"is separated by {right}".replace("\\\\", "\\") in caplog.text


def test_lines_of_several_separators_are_refused_at_the_first_that_differs(tmp_path):
    path = write_list(tmp_path, "x.mp4,0\ny.mp4,1\nz.mp4 1\n", "x.mp4")
    with pytest.raises(ValueError, match=r"line 3: 'z\.mp4 1' does not end in ',' and a label"):
        read_list(path, 2)


def test_a_separator_that_may_be_two_is_asked_for(tmp_path):
    path = write_list(tmp_path, "x;3 1;2\n")
    with pytest.raises(ValueError, match=r"line 1: .* by ' ' or ';'; .*PATH_LABEL_SEPARATOR"):
        read_list(path, 4, separator=",", multi_label=True)


def test_a_header_is_passed_over(tmp_path):
    path = write_list(tmp_path, "path,label\nx.mp4,0\ny.mp4,1\n", "x.mp4")
    assert read_list(path, 2).labels.tolist() == [0, 1]


def test_a_number_of_frames_may_stand_before_the_label(tmp_path):
    (tmp_path / "100 218").mkdir()
    path = write_list(tmp_path, "100 218 42 134\nb 30 0\n")
    records = read_list(path, 174)
    assert [records.name(i) for i in range(2)] == ["100 218", "b"]
    assert [records.num_frames(i) for i in range(2)] == [42, 30]
    assert records.labels.tolist() == [134, 0]


def test_a_path_that_ends_in_a_number_is_told_from_a_number_of_frames_by_the_disk(tmp_path):
    path = write_list(tmp_path, "clip 1 0\nclip 2 3\n", "clip 1")
    records = read_list(path, 4)
    assert records.path(1) == str(tmp_path / "clip 2")
    assert records.num_frames(1) is None


def test_a_few_paths_that_end_in_a_number_are_paths(tmp_path):
    path = write_list(tmp_path, "a.mp4 0\nb.mp4 0\nclip 2 1\n", "a.mp4")
    assert read_list(path, 2).name(2) == "clip 2"


def test_a_line_that_lacks_the_number_of_frames_is_named(tmp_path):
    path = write_list(tmp_path, "a 30 0\nb 31 1\nc 1\n")
    with pytest.raises(ValueError, match=r"line 3: 'c 1' has no number of frames .* line 1 has"):
        read_list(path, 2)


def test_labels_may_be_names_of_a_file_beside_the_list(tmp_path):
    (tmp_path / "classes.txt").write_text("run fast\nwalk, slowly\n")
    path = write_list(tmp_path, 'x.mp4,"walk, slowly"\ny.mp4,run fast\n', "x.mp4")
    assert read_list(path, 2).labels.tolist() == [1, 0]


def test_a_label_that_is_no_name_of_a_class_is_told_with_the_nearest(tmp_path):
    (tmp_path / "classes.txt").write_text("run\nwalk\n")
    path = write_list(tmp_path, "x.mp4,walk\ny.mp4,walks\n", "x.mp4")
    with pytest.raises(ValueError, match=r"line 2: no class 'walks' .*did you mean 'walk'"):
        read_list(path, 2)


def test_a_list_of_paths_takes_the_classes_of_their_folders(tmp_path):
    (tmp_path / "classes.txt").write_text("run\nwalk\n")
    path = write_list(tmp_path, "walk/my x.mp4\nrun/y.mp4\n", "walk/my x.mp4")
    assert read_list(path, 2).labels.tolist() == [1, 0]


def test_a_list_of_paths_alone_has_class_0_and_says_so(tmp_path, caplog):
    path = write_list(tmp_path, "my x.mp4\ny.mp4\n", "my x.mp4")
    assert read_list(path, 2).labels.tolist() == [0, 0]
    assert "has no labels: all of its videos count as class 0" in caplog.text


def test_several_labels_are_joined_by_semicolons(tmp_path):
    path = write_list(tmp_path, "x.mp4 3;1\ny.mp4 -\nz.mp4 2\n", "x.mp4")
    records = read_list(path, 4, multi_label=True)
    assert [records.classes(i) for i in range(3)] == [(1, 3), (), (2,)]
    assert records.label(0).tolist() == [0, 1, 0, 1]


def test_several_labels_may_follow_a_number_of_frames(tmp_path):
    path = write_list(tmp_path, "a 7 3 1\nb 9 2\nc 5 0 1 2\n", "a")
    records = read_list(path, 4, multi_label=True)
    assert [records.classes(i) for i in range(3)] == [(1, 3), (2,), (0, 1, 2)]
    assert [records.num_frames(i) for i in range(3)] == [7, 9, 5]


def test_several_labels_without_frames_have_to_be_joined(tmp_path):
    path = write_list(tmp_path, "a 3 1\nb 2\n")
    with pytest.raises(ValueError, match=r"line 2: 'b 2' .*write several labels as 3;17"):
        read_list(path, 4, multi_label=True)


def test_written_lists_read_back(tmp_path):
    names, labels, counts = ["a b.mp4", "c 1.mp4"], [(0, 2), ()], [12, 9]
    for name in names:
        (tmp_path / name).touch()
    for counted in ([], counts):
        write_lines(tmp_path / "train.csv", names, labels, counted)
        records = read_list(tmp_path / "train.csv", 3, multi_label=True)
        assert [records.name(i) for i in range(2)] == names
        assert [records.classes(i) for i in range(2)] == labels
        assert [records.num_frames(i) for i in range(2)] == (counted or [None, None])


def test_labels_count_from_1_if_they_are_all_of_these(tmp_path, caplog):
    caplog.set_level(logging.INFO, "slowfast")
    path = write_list(tmp_path, "x.mp4 1\ny.mp4 3\nz.mp4 2\n", "x.mp4")
    assert read_list(path, 3).labels.tolist() == [0, 2, 1]
    assert "counts its classes from 1" in caplog.text
    assert read_list(path, 4).labels.tolist() == [1, 3, 2]


@pytest.mark.parametrize("found", ["x.webm", "x"])
def test_videos_are_found_with_another_suffix_or_as_folders(tmp_path, found):
    path = write_list(tmp_path, "x.mp4 0\ny.mp4 1\n", found)
    assert [read_list(path, 2).name(i) for i in range(2)] == [found, found.replace("x", "y")]


def test_one_missing_video_among_the_first_does_not_stop(tmp_path):
    path = write_list(tmp_path, "x.mp4 0\ny.mp4 1\n", "y.mp4")
    assert len(read_list(path, 2)) == 2


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
