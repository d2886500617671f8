"""The published data sets' own files, in miniature: videos, classes and labels of each split."""

import json
from pathlib import Path

import pytest

from helpers import miniatures
from helpers.miniatures import Videos, names_of, write
from slowfast.datasets import DATASETS
from slowfast.datasets.lists import class_names, find_list, read_list
from slowfast.datasets.video import open_video


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a miniature by name, made once."""
    videos = Videos(tmp_path_factory.mktemp("source"))
    folders = {}

    def get(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            getattr(miniatures, name)(folders[name], videos)
        return folders[name]

    return get


def records(data_set: str, folder: Path, split: str, classes: int = 3, prefix: str | Path = ""):
    entry = DATASETS.get(data_set)
    path = find_list(folder, split, fold=entry.fold)
    return read_list(
        path,
        classes,
        prefix=prefix,
        split=split,
        fold=entry.fold,
        multi_label=entry.multi_label,
    )


def content(found) -> dict[str, tuple[int, ...]]:
    """Classes by file name; every video has to open."""
    for i in range(len(found)):
        with open_video(found.path(i)) as video:
            assert video.num_frames > 0
    return {Path(found.path(i)).name: found.classes(i) for i in range(len(found))}


def test_ssv2_is_read_from_its_json_files_and_tested_on_its_validation_set(made):
    folder = made("ssv2")
    train = content(records("ssv2", folder, "train"))
    assert train == {f"{i}.webm": (i % 3,) for i in range(1, 7)}  # numbers of labels.json
    val = {f"{i}.webm": (i % 3,) for i in range(7, 10)}
    assert content(records("ssv2", folder, "val")) == val
    assert content(records("ssv2", folder, "test")) == val
    assert class_names(folder) == list(miniatures.CLASSES)


@pytest.mark.parametrize("name", ["ssv1", "jester"])
def test_csv_files_of_ids_and_class_names_find_folders_of_frames(made, name):
    folder = made(name)
    # alphabetical numbers, whatever the order of the file of labels
    assert content(records(name, folder, "train")) == {str(i): (i % 3,) for i in range(1, 7)}
    assert content(records(name, folder, "test")) == {str(i): (i % 3,) for i in range(7, 10)}
    assert class_names(folder) == sorted(miniatures.CLASSES)


def test_kinetics_is_read_from_its_csv_files_and_found_by_name_start_and_end(made):
    folder = made("kinetics")
    train = content(records("kinetics400", folder, "train"))
    # alphabetical: "air, drumming" before "archery" before "yoga"
    numbers = {0: 1, 1: 0, 2: 2}
    expected = {f"-vidt{i}_x_{i:06d}_{i + 10:06d}.mp4": (numbers[i % 3],) for i in range(6)}
    assert train == expected
    assert len(records("kinetics400", folder, "val")) == 3


def test_hvu_is_read_from_its_csv_files_with_several_tags_per_video(made):
    folder = made("hvu")
    assert class_names(folder) == ["Beach", "Running", "Sand"]  # in alphabetical order
    assert content(records("hvu", folder, "train", prefix=folder / "videos")) == {
        "Train0_x_000000_000010.mp4": (0, 2),
        "Train1_x_000001_000011.mp4": (1,),
        "Train2_x_000002_000012.mp4": (2,),
    }
    val = {"Val0_x_000000_000010.mp4": (0, 1)}
    assert content(records("hvu", folder, "val", prefix=folder / "videos")) == val
    assert content(records("hvu", folder, "test", prefix=folder / "videos")) == val


def test_the_lists_of_hvu_are_found_under_mmactions_names(made, tmp_path):
    folder = made("hvu")
    (tmp_path / "hvu_train.csv").write_text((folder / "HVU_Train_V1.0.csv").read_text())
    categories = (folder / "HVU_Tags_Categories_V1.0.csv").read_text()
    (tmp_path / "hvu_categories.csv").write_text(categories)
    assert len(records("hvu", tmp_path, "train", prefix=folder / "videos")) == 3


@pytest.mark.parametrize(("name", "train", "val"), [("1", 6, 3), ("2", 6, 3), ("3", 9, 3)])
def test_hmdb51_has_three_divisions(made, name, train, val):
    lists, videos = made("hmdb51") / "testTrainMulti_7030_splits", made("hmdb51") / "videos"
    found = records(f"hmdb51_{name}", lists, "train", prefix=videos)
    assert len(found) == train
    assert {Path(found.path(i)).parent.name for i in range(train)} == set(class_names(lists))
    assert found.labels.tolist() == sorted([0, 1, 2] * (train // 3))
    assert len(records(f"hmdb51_{name}", lists, "test", prefix=videos)) == val


def test_the_first_division_of_hmdb51_is_the_default(made):
    lists, videos = made("hmdb51") / "testTrainMulti_7030_splits", made("hmdb51") / "videos"
    val = content(records("hmdb51", lists, "val", prefix=videos))
    assert val == {f"{name}_3_#1.avi": (i,) for i, name in enumerate(class_names(lists))}


def test_hmdb51_finds_folders_of_frames_in_the_place_of_videos(tmp_path):
    miniatures.hmdb51(tmp_path, Videos(tmp_path))
    for clip in (tmp_path / "videos").glob("*/*.avi"):
        clip.unlink()
        Videos(tmp_path).put_frames(clip.with_suffix(""), "img_{:05d}.jpg")
    lists = tmp_path / "testTrainMulti_7030_splits"
    found = records("hmdb51", lists, "train", prefix=tmp_path / "videos")
    assert all(name.endswith("_#1") for name in content(found))


def test_ucf101_counts_from_one_and_leaves_out_the_labels_of_its_test_lists(made):
    lists, videos = made("ucf101") / "ucfTrainTestlist", made("ucf101") / "UCF-101"
    train = content(records("ucf101", lists, "train", prefix=videos))
    names = class_names(lists)
    assert names == ["ApplyEyeMakeup", "Archery", "YoYo"]
    assert train == {f"v_{n}_g0{i}_c01.avi": (c,) for c, n in enumerate(names) for i in (0, 1)}
    test = content(records("ucf101_3", lists, "test", prefix=videos))
    assert test == {f"v_{n}_g02_c01.avi": (c,) for c, n in enumerate(names)}


def test_a_part_of_ucf101_still_counts_from_one_by_the_names_of_its_folders(made, tmp_path):
    lists, videos = made("ucf101") / "ucfTrainTestlist", made("ucf101") / "UCF-101"
    (tmp_path / "classInd.txt").write_text((lists / "classInd.txt").read_text())
    write(tmp_path / "trainlist01.txt", "Archery/v_Archery_g00_c01.avi 2")
    assert records("ucf101", tmp_path, "train", prefix=videos).labels.tolist() == [1]


def test_activitynet_has_several_labels_and_takes_its_subsets(made):
    folder = made("activitynet")
    assert class_names(folder) == ["Archery", "Yoga", "Zumba"]
    train = records("activitynet", folder, "train", prefix=folder / "videos")
    assert content(train) == {
        **{"v_aaa.mp4": (0,), "v_bbb.mkv": (0, 1)},
        **{"v_-cc.mp4": (2,), "v_ddd.mkv": (1,)},
    }
    assert train.label(1).tolist() == [1, 1, 0]
    test = content(records("activitynet", folder, "test", prefix=folder / "videos"))
    assert test == {"v_eee.mp4": (1, 2), "v_fff.mkv": (0,)}


def test_charades_is_read_from_its_csv_files(made):
    folder = made("charades")
    train = content(records("charades", folder, "train"))
    assert train == {"AAA11.mp4": (0, 1), "BBB22.mp4": (2,)}
    val = records("charades", folder, "val")
    assert content(val) == {"CCC33.mp4": (), "DDD44.mp4": (0,)}
    assert val.label(0).tolist() == [0, 0, 0]


def test_lists_with_a_line_per_frame_join_the_labels_of_all_frames(made):
    folder = made("frame_lists")
    train = records("charades", folder, "train", prefix=folder / "frames")
    assert content(train) == {"AAA11": (0, 2), "BBB22": (1,)}
    assert [train.num_frames(i) for i in range(2)] == [3, 3]
    val = records("charades", folder, "val", prefix=folder / "frames")
    assert content(val) == {"CCC33": (1, 2)}


def test_lists_of_frames_without_labels_take_them_from_the_json_beside(made, tmp_path):
    for name in ("labels.json", "train.json"):
        (tmp_path / name).write_text((made("ssv2") / name).read_text())
    rows = [f'{v} 0 {i} {v}/{v}_{i + 1:06d}.jpg ""' for v in (5, 6) for i in range(3)]
    write(tmp_path / "train.csv", "original_vido_id video_id frame_id path labels", *rows)
    for v in (5, 6):
        Videos(tmp_path).put_frames(tmp_path / str(v), f"{v}_{{:06d}}.jpg", 3)
    assert content(records("ssv2", tmp_path, "train")) == {"5": (2,), "6": (0,)}


def test_fcvid_states_frames_and_then_any_number_of_labels(made):
    folder = made("fcvid")
    train = records("fcvid", folder, "train", prefix=folder / "frames")
    assert content(train) == {"1": (0,), "2": (1, 2), "3": (1,)}
    assert [train.num_frames(i) for i in range(3)] == [6, 6, 6]


def test_imagenet_has_an_image_per_sample(made):
    folder = made("imagenet")
    train = records("imagenet", folder, "train", classes=2)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    with open_video(train.path(0)) as video:
        assert video.num_frames == 1
    assert len(records("imagenet", folder, "test", classes=2)) == 2


def test_class_folders_may_hold_folders_of_frames(tmp_path):
    for name in ("train/b/1", "train/a/2", "train/a/3", "val/b/4"):
        Videos(tmp_path).put_frames(tmp_path / name)
    assert content(records("custom", tmp_path, "train", classes=2)) == {
        "2": (0,), "3": (0,), "1": (1,)
    }  # fmt: skip
    assert content(records("custom", tmp_path, "val", classes=2)) == {"4": (1,)}


def test_a_validation_folder_of_an_unknown_class_is_an_error(tmp_path):
    for name in ("train/a/1", "val/c/2"):
        Videos(tmp_path).put_frames(tmp_path / name)
    with pytest.raises(ValueError, match="val/c: no class 'c' among 1"):
        records("custom", tmp_path, "val", classes=1)


def test_videos_that_are_missing_keep_their_place_with_the_usual_suffix(made, tmp_path):
    for name in ("labels.json", "train.json"):
        (tmp_path / name).write_text((made("ssv2") / name).read_text())
    videos = Videos(tmp_path)
    videos.put(tmp_path / "v/2.mp4", tmp_path / "v/3.mp4")
    found = records("ssv2", tmp_path, "train", prefix=tmp_path / "v")
    assert names_of(found.path(i) for i in range(6)) == [f"{i}.mp4" for i in range(1, 7)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.json", "[{", r"train\.json is not JSON .*download it again"),
        ("train.json", "{}", r"train\.json is no list of videos; expected"),
        ("train.json", '[{"id": "5"}]', r"video 5 has no template, hence no label"),
        (
            "train.json",
            '[{"id": "5", "template": "Eating [something]"}]',
            r"video 5: no class 'Eating something' among 3; .*file of classes beside",
        ),
        (
            "train.csv",
            "original_vido_id video_id frame_id path labels\nA 0 A/1.jpg",
            r"train\.csv, line 2: 'A 0 A/1\.jpg' must be 'original_vido_id",
        ),
        ("train.csv", "id,actions\nA,x92 1 2", r"video A: action 'x92' must be like c092"),
        ("train.csv", "id,actions\nA", r"line 2: another number of fields than the header"),
    ],
)
def test_what_is_wrong_with_a_published_file_is_told(made, tmp_path, name, text, message):
    (tmp_path / "labels.json").write_text((made("ssv2") / "labels.json").read_text())
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        records("ssv2", tmp_path, "train")


def test_another_number_of_classes_is_an_error_where_the_files_define_it(made):
    with pytest.raises(ValueError, match="has 3 classes; set MODEL.NUM_CLASSES=400 to 3"):
        records("ssv2", made("ssv2"), "train", classes=400)


def test_several_labels_need_a_data_set_that_has_them(made):
    with pytest.raises(ValueError, match="video bbb: 2 labels, .*TRAIN.DATASET"):
        records("kinetics", made("activitynet"), "train")


def test_labels_that_leave_out_a_number_are_refused(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"a": "0", "b": "2"}))
    with pytest.raises(ValueError, match="must number its classes from 0 on"):
        class_names(tmp_path)
