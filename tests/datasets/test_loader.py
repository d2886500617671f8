"""Loaders built from a configuration: shapes, order, failures, the same data for any workers."""

import pickle

import pytest
import torch

from helpers.videos import write_grey_video
from slowfast.config import get_cfg
from slowfast.datasets import DATASETS, Batch, build_loader
from slowfast.datasets.batch import Collate, Failure, Sample
from slowfast.datasets.manifest import Probe, file_state, write_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven videos of 20 to 26 frames in train.csv, three of them in val.csv."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(7):
        write_grey_video(folder / f"{i}.mp4", 20 + i)
    (folder / "train.csv").write_text("".join(f"{i}.mp4 {i % 3}\n" for i in range(7)))
    (folder / "val.csv").write_text("".join(f"{i}.mp4 {i % 3}\n" for i in range(3)))
    return folder


@pytest.fixture
def cfg(folder):
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 3
    cfg.FFN.ENABLE = True
    cfg.FFN.NUM_FRAMES = [2, 4, 8]
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.TRAIN_JITTER_SCALES = [18, 20]
    cfg.DATA.TRAIN_CROP_SIZE = 16
    cfg.DATA.TEST_CROP_SIZE = 20
    cfg.DATA.RANDOM_FLIP = False
    cfg.DATA_LOADER.NUM_WORKERS = 0
    cfg.TRAIN.DATASET = cfg.TEST.DATASET = "ssv2"
    cfg.TRAIN.BATCH_SIZE = 2
    cfg.TEST.BATCH_SIZE = 2
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 2
    cfg.TEST.NUM_SPATIAL_CROPS = 3
    return cfg


def broken_folder(folder, tmp_path, split: str, *broken: int):
    """A copy of the lists whose videos numbered `broken` are empty files."""
    lines = []
    for i, line in enumerate((folder / f"{split}.csv").read_text().splitlines()):
        name, label = line.split()
        path = tmp_path / name if i in broken else folder / name
        (tmp_path / name).touch()
        lines.append(f"{path} {label}\n")
    (tmp_path / f"{split}.csv").write_text("".join(lines))
    return str(tmp_path)


def test_a_training_batch_has_one_clip_tensor_per_rate(cfg):
    batch = next(iter(build_loader(cfg, "train")))
    assert [tuple(clip.shape) for clip in batch.clips] == [(2, 3, t, 16, 16) for t in (2, 4, 8)]
    assert len(batch) == 2 and batch.num_views == 1 and batch.failures == ()
    assert batch.labels.tolist() == [i % 3 for i in batch.index.tolist()]


def test_a_plain_network_gets_one_rate(cfg):
    cfg.FFN.ENABLE, cfg.DATA.NUM_FRAMES = False, 5
    batch = next(iter(build_loader(cfg, "train")))
    assert [clip.shape[2] for clip in batch.clips] == [5]


def test_training_drops_the_incomplete_batch_and_testing_keeps_it(cfg):
    assert [len(batch) for batch in build_loader(cfg, "train")] == [2, 2, 2]
    assert [len(batch) for batch in build_loader(cfg, "val")] == [2, 1]
    assert [len(batch) for batch in build_loader(cfg, "test")] == [2, 1]


def test_validation_is_one_view_in_the_order_of_the_list(cfg):
    batches = list(build_loader(cfg, "val"))
    assert torch.cat([batch.index for batch in batches]).tolist() == [0, 1, 2]
    assert batches[0].clips[0].shape == (2, 3, 2, 20, 20)


def test_a_test_batch_holds_all_views_of_each_video_at_any_frame_counts(cfg):
    cfg.TEST.NUM_FRAMES = [6, 3, 6]
    batch = next(iter(build_loader(cfg, "test")))
    assert [tuple(clip.shape) for clip in batch.clips] == [(12, 3, 3, 20, 20), (12, 3, 6, 20, 20)]
    assert (len(batch), batch.num_views) == (2, 6)
    assert batch.paths[1].endswith("1.mp4")


def test_testing_falls_back_to_the_validation_list(cfg):
    assert len(build_loader(cfg, "test").dataset.records) == 3


def test_epochs_shuffle_and_repeat(cfg):
    loader = build_loader(cfg, "train")

    def order(epoch: int) -> list[int]:
        loader.set_epoch(epoch)
        return torch.cat([batch.index for batch in loader]).tolist()

    assert order(0) != order(1)
    assert order(1) == order(1)


def test_a_sample_is_the_same_for_any_number_of_workers(cfg):
    def epochs(workers: int) -> list[Batch]:
        cfg.DATA_LOADER.NUM_WORKERS = workers
        loader = build_loader(cfg, "train")
        batches = []
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            batches += list(loader)
        return batches

    for ours, theirs in zip(epochs(0), epochs(2), strict=True):
        assert torch.equal(ours.index, theirs.index)
        assert all(map(torch.equal, ours.clips, theirs.clips))


def test_loading_does_not_touch_the_global_random_state(cfg):
    before = torch.get_rng_state()
    list(build_loader(cfg, "train"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_failed_video_is_dropped_and_listed(cfg, folder, tmp_path, split):
    cfg.DATA.PATH_TO_DATA_DIR = broken_folder(folder, tmp_path, "val", 1)
    first, second = build_loader(cfg, split)
    assert first.index.tolist() == [0]
    assert first.clips[0].shape[0] == first.num_views
    assert [(failure.index, failure.path) for failure in first.failures] == [
        (1, str(tmp_path / "1.mp4"))
    ]
    assert "is empty" in first.failures[0].error
    assert second.index.tolist() == [2]


def test_a_batch_in_which_all_failed_has_no_rows(cfg, folder, tmp_path):
    cfg.DATA.PATH_TO_DATA_DIR = broken_folder(folder, tmp_path, "val", 0, 1)
    batch = next(iter(build_loader(cfg, "val")))
    assert len(batch) == 0 and len(batch.failures) == 2
    assert [tuple(clip.shape) for clip in batch.clips] == [(0, 3, t, 20, 20) for t in (2, 4, 8)]


def test_failures_reach_the_main_process_from_workers(cfg, folder, tmp_path):
    cfg.DATA.PATH_TO_DATA_DIR = broken_folder(folder, tmp_path, "val", 2)
    cfg.DATA_LOADER.NUM_WORKERS = 2
    failures = [failure for batch in build_loader(cfg, "val") for failure in batch.failures]
    assert [failure.index for failure in failures] == [2]


def test_mirroring_is_refused_where_classes_have_a_direction(cfg):
    cfg.DATA.RANDOM_FLIP = True
    with pytest.raises(ValueError, match=r"'ssv2', .* set DATA\.RANDOM_FLIP False"):
        build_loader(cfg, "train")
    build_loader(cfg, "val")


def test_mirroring_is_allowed_elsewhere(cfg):
    cfg.DATA.RANDOM_FLIP, cfg.TRAIN.DATASET = True, "kinetics"
    assert build_loader(cfg, "train").dataset.crops.flip


def test_the_data_set_chooses_the_sampling_unless_the_key_does(cfg):
    kinds = {}
    for name, key in (("kinetics", "auto"), ("ssv2", "auto"), ("ssv2", "dense")):
        cfg.TRAIN.DATASET, cfg.DATA.SAMPLING = name, key
        kinds[name, key] = type(build_loader(cfg, "train").dataset.sampling).__name__
    assert list(kinds.values()) == ["DenseSampling", "SegmentSampling", "DenseSampling"]


def test_dense_clips_span_the_highest_trained_count_at_any_tested_one(cfg):
    cfg.DATA.SAMPLING, cfg.DATA.SAMPLING_RATE, cfg.TEST.NUM_FRAMES = "dense", 4, [3, 16]
    assert build_loader(cfg, "test").dataset.sampling.span == 8 * 4


def test_a_list_shorter_than_a_batch_is_told_with_the_remedy(cfg):
    cfg.TRAIN.BATCH_SIZE = 8
    with pytest.raises(ValueError, match=r"7 videos, .* lower TRAIN\.BATCH_SIZE=8 to at most 7"):
        build_loader(cfg, "train")


def test_an_unknown_data_set_names_its_neighbours(cfg):
    cfg.TRAIN.DATASET = "kinetic"
    with pytest.raises(ValueError, match="did you mean 'kinetics'"):
        build_loader(cfg, "train")


def test_an_unknown_split_is_refused(cfg):
    with pytest.raises(ValueError, match="no split 'valid'; choose one of train, val, test"):
        build_loader(cfg, "valid")


@pytest.mark.parametrize(
    ("names", "sampling", "directional", "classes", "metric"),
    [
        ("kinetics", "dense", False, 0, "top1"),
        ("kinetics400 k400", "dense", False, 400, "top1"),
        ("kinetics600", "dense", False, 600, "top1"),
        ("kinetics700", "dense", False, 700, "top1"),
        ("minikinetics", "segment", False, 200, "top1"),
        ("ssv1 sth something", "segment", True, 174, "top1"),
        ("ssv2 somethingv2", "segment", True, 174, "top1"),
        ("hmdb51 hmdb51_3", "segment", False, 51, "top1"),
        ("ucf101 ucf101_2", "segment", False, 101, "top1"),
        ("activitynet", "segment", False, 200, "map"),
        ("fcvid", "segment", False, 239, "map"),
        ("charades", "dense", False, 157, "map"),
        ("jester", "segment", True, 27, "top1"),
        ("imagenet", "segment", False, 1000, "top1"),
        ("motion", "segment", True, 16, "top1"),
    ],
)
def test_the_catalogue_knows_the_published_data_sets(names, sampling, directional, classes, metric):
    for name in names.split():
        entry = DATASETS.get(name)
        assert (entry.sampling, entry.directional) == (sampling, directional)
        assert (entry.num_classes, entry.metric) == (classes, metric)
        assert entry.multi_label == (metric == "map")


def test_the_data_sets_of_three_divisions_have_an_entry_for_each():
    for name in ("hmdb51", "ucf101"):
        assert [DATASETS.get(f"{name}_{k}").fold for k in (1, 2, 3)] == [1, 2, 3]
        assert DATASETS.get(name) == DATASETS.get(f"{name}_1")


def test_another_number_of_classes_than_the_data_sets_is_told(cfg, caplog):
    build_loader(cfg, "train")
    assert "MODEL.NUM_CLASSES is 3, but ssv2 has 174 classes" in caplog.text
    caplog.clear()
    cfg.TRAIN.DATASET = "kinetics"  # of which there are several, and parts
    build_loader(cfg, "train")
    assert caplog.text == ""


def test_labels_of_several_classes_are_rows_of_floats(cfg, folder, tmp_path):
    lines = [f"{folder}/{i}.mp4 {labels}" for i, labels in enumerate(["0;2", "-", "1"])]
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")
    cfg.DATA.PATH_TO_DATA_DIR, cfg.MODEL.LOSS_FUNC = str(tmp_path), "bce_logit"
    cfg.TRAIN.DATASET = cfg.TEST.DATASET = "charades"
    batch = next(iter(build_loader(cfg, "test")))
    assert batch.labels.dtype == torch.float32
    assert batch.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_each_process_loads_its_share(cfg):
    shares = [build_loader(cfg, "test", rank, 2) for rank in (0, 1)]
    indices = [[i for b in share for i in b.index.tolist()] for share in shares]
    assert indices == [[0, 2], [1]]


def test_processes_divide_the_training_batch(cfg):
    alone = list(build_loader(cfg, "train"))
    shares = [list(build_loader(cfg, "train", rank, 2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert [len(part) for part in parts] == [1, 1]
        assert {*whole.index.tolist()} == {i for part in parts for i in part.index.tolist()}


def test_a_training_batch_that_the_processes_cannot_divide_is_refused(cfg):
    cfg.TRAIN.BATCH_SIZE = 5
    message = r"TRAIN\.BATCH_SIZE=5 cannot be divided among 2 processes; .* like 4"
    with pytest.raises(ValueError, match=message):
        build_loader(cfg, "train", 0, 2)
    build_loader(cfg, "val", 0, 2)


def test_processes_with_a_video_to_mix_with_itself_are_told(cfg, caplog):
    cfg.MIXUP.ENABLE, cfg.TRAIN.BATCH_SIZE = True, 6
    build_loader(cfg, "train", 0, 3)
    assert "mixed with itself" not in caplog.text
    build_loader(cfg, "train", 0, 2)
    assert "of the 3 videos of a process one is mixed with itself" in caplog.text
    with pytest.raises(ValueError, match=r"leaves one in each of 6; set it to 12 or more"):
        build_loader(cfg, "train", 0, 6)


def test_every_process_tests_as_many_videos_at_once_as_the_key_says(cfg):
    assert [len(batch) for batch in build_loader(cfg, "test", 0, 2)] == [2]
    assert [len(batch) for batch in build_loader(cfg, "test", 1, 2)] == [1]


def test_workers_have_as_many_batches_ready_as_the_key_says(cfg):
    cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.PREFETCH_FACTOR = 1, 5
    assert build_loader(cfg, "train").prefetch_factor == 5


def test_videos_that_the_manifest_knows_as_broken_are_not_opened(cfg, folder, tmp_path):
    cfg.DATA.PATH_TO_DATA_DIR = broken_folder(folder, tmp_path, "val", 1)
    path = tmp_path / "1.mp4"
    probe = Probe(str(path), *file_state(str(path)), "1.mp4 was broken when it was checked")
    write_manifest(tmp_path / "manifest.jsonl", [probe])
    (failure,) = next(iter(build_loader(cfg, "val"))).failures
    assert failure.error == "1.mp4 was broken when it was checked"

    cfg.DATA.MANIFEST = ""
    (failure,) = next(iter(build_loader(cfg, "val"))).failures
    assert "is empty" in failure.error


def test_a_video_that_was_mended_since_the_check_is_read_again(cfg, folder, tmp_path):
    cfg.DATA.PATH_TO_DATA_DIR = broken_folder(folder, tmp_path, "val", 1)
    path = tmp_path / "1.mp4"
    probe = Probe(str(path), *file_state(str(path)), "broken")
    write_manifest(tmp_path / "manifest.jsonl", [probe])
    path.write_bytes((folder / "1.mp4").read_bytes())
    assert next(iter(build_loader(cfg, "val"))).failures == ()


def test_a_batch_moves_its_clips_and_labels():
    items = [Sample((torch.zeros(1, 3, 2, 4, 4),), 1, 0, "a"), Failure(1, "b", "gone")]
    batch = Collate((2,), 1, 4)(items)
    moved = batch.to("meta")
    assert moved.clips[0].device.type == moved.labels.device.type == "meta"
    assert (moved.failures, moved.paths) == (batch.failures, ("a",))
    assert pickle.loads(pickle.dumps(batch)).failures == batch.failures


@pytest.mark.gpu
def test_a_batch_can_be_pinned_and_sent_to_the_gpu(cfg):
    batch = next(iter(build_loader(cfg, "train"))).pin_memory()
    assert all(clip.is_pinned() for clip in batch.clips)
    assert batch.to("cuda", non_blocking=True).clips[0].is_cuda
