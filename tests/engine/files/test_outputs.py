"""The files of a test: every prediction, each class, and the mistakes worth looking at."""

import csv
import json

import pytest
import torch
from matplotlib.image import imread

from helpers.miniatures import Videos, activitynet
from helpers.runs import tiny_cfg
from slowfast.datasets import Batch
from slowfast.engine import run
from slowfast.engine.evaluate import Evaluation, Scored
from slowfast.engine.files.outputs import ResultFiles, predictions
from slowfast.engine.meters import METERS


def read(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def scored(scores: dict[int, list[list[float]]], labels: list) -> Scored:
    batch = Batch((), torch.tensor(labels), torch.arange(len(labels)))
    paths = tuple(f"{i}.mp4" for i in range(len(labels)))
    object.__setattr__(batch, "paths", paths)
    return Scored(batch, {t: torch.tensor(rows) for t, rows in scores.items()})


def written(folder, batches, metric: str, classes=()):
    result = Evaluation()
    files = ResultFiles(folder, classes)
    for batch in batches:
        for t, scores in batch.scores.items():
            meter = result.by_frames.setdefault(t, METERS[metric](scores.shape[1]))
            meter.add(scores, batch.batch.labels)
        files.add(batch)
    files.finish(result)
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Four videos of three classes at two frame counts; 1.mp4 and 3.mp4 are mistaken at 4."""
    four = [[0.8, 0.1, 0.1], [0.6, 0.1, 0.3], [0.2, 0.5, 0.3], [0.4, 0.35, 0.25]]
    eight = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]
    batch = scored({4: four, 8: eight}, [0, 1, 1, 1])
    folder = tmp_path_factory.mktemp("single")
    return written(folder, [batch], "top1", ["run", "walk", "sit"])


def test_every_video_has_a_line_per_frame_count(single):
    rows = read(single / "predictions.csv")
    assert [(row["path"], row["frames"]) for row in rows] == [
        (f"{i}.mp4", t) for t in ("4", "8") for i in range(4)
    ]
    assert list(rows[1].values()) == ["1.mp4", "1", "4", "0", "0.6000", "0.1000", "0 2 1"]


def test_each_class_has_its_videos_and_its_accuracy_at_each_frame_count(single):
    assert [list(row.values()) for row in read(single / "per_class.csv")] == [
        ["0", "run", "1", "100.00", "100.00"],
        ["1", "walk", "3", "33.33", "100.00"],
        ["2", "sit", "0", "", ""],
    ]


def test_the_hardest_videos_are_the_mistakes_with_the_largest_lead(single):
    rows = read(single / "hardest.csv")
    assert [(row["path"], row["frames"]) for row in rows] == [("1.mp4", "4"), ("3.mp4", "4")]
    assert (rows[0]["label_name"], rows[0]["prediction_name"]) == ("walk", "run")


def test_the_confusion_is_drawn(single):
    height, width, _ = imread(single / "confusion.png").shape
    assert height > 300 and width > height


def test_parquet_has_the_same_rows(single):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(single / "predictions.parquet").to_pylist()
    assert [row["path"] for row in rows] == [r["path"] for r in read(single / "predictions.csv")]
    assert rows[1]["score"] == pytest.approx(0.6) and rows[1]["top5"] == "0 2 1"


def test_of_several_true_classes_the_one_with_the_highest_score_counts(tmp_path):
    scores = [[0.6, 0.3, 0.5], [0.1, 0.9, 0.2], [0.9, 0.1, 0.2]]
    labels = [[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    folder = written(tmp_path, [scored({4: scores}, labels)], "map")
    rows = read(folder / "predictions.csv")
    assert [(row["label"], row["label_score"]) for row in rows] == [
        ("1;2", "0.5000"),
        ("1", "0.9000"),
        ("", "-inf"),
    ]
    (mistake,) = read(folder / "hardest.csv")  # a video without classes cannot be mistaken
    assert (mistake["path"], mistake["label_name"]) == ("0.mp4", "1;2")
    assert not (folder / "confusion.png").exists()


def test_predictions_name_all_classes_if_these_are_fewer_than_five():
    (row,) = predictions(["a"], torch.tensor([1]), 4, torch.tensor([[0.2, 0.8]]))
    assert row.top5 == "1 0" and not row.is_mistake


def test_a_test_leaves_all_of_its_files(motion, tmp_path):
    record = run(tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1))
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert {
        *("test.json", "predictions.csv", "per_class.csv", "hardest.csv", "failures.csv"),
        "confusion.png",
    } <= names
    assert record["metric"] == "top1"
    rows = read(tmp_path / "results/predictions.csv")
    right = [row["prediction"] == row["label"] for row in rows if row["frames"] == "4"]
    assert 100 * sum(right) / 16 == record["by_frames"]["4"]["top1"]


MULTI_LABEL = [
    *("TRAIN.DATASET", "activitynet", "TEST.DATASET", "activitynet", "MODEL.NUM_CLASSES", 3),
    *("TRAIN.BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 1, "TEST.NUM_FRAMES", [2, 4]),
]


@pytest.mark.parametrize(
    "options",
    [
        ["FFN.ENABLE", False, "MODEL.LOSS_FUNC", "bce_logit", "MODEL.HEAD_ACT", "sigmoid"],
        ["FFN.ENABLE", True, "MODEL.LOSS_FUNC", "soft_cross_entropy"],
    ],
)
def test_videos_with_several_labels_train_and_test_by_mean_average_precision(tmp_path, options):
    data = tmp_path / "data"
    data.mkdir()
    activitynet(data, Videos(tmp_path))
    run_folder = tmp_path / "run"
    record = run(tiny_cfg(data, run_folder, *MULTI_LABEL, *options))
    assert record["metric"] == "map" and record["classes"] == ["Archery", "Yoga", "Zumba"]
    row = record["by_frames"]["4"]
    assert 0 < row["map"] <= 100 and row["map"] == pytest.approx(sum(row["per_class"]) / 3)
    lines = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    (val,) = (line for line in lines if line["_type"] == "val_epoch")
    assert val["mean_map"] > 0 and "map_4" in val and "hit1_4" in val


def test_the_loss_has_to_go_with_the_labels(tmp_path, motion):
    activitynet(tmp_path, Videos(tmp_path))
    with pytest.raises(ValueError, match="several labels, .* 'cross_entropy' .*'bce_logit'"):
        run(tiny_cfg(tmp_path, tmp_path / "run", *MULTI_LABEL))
    with pytest.raises(ValueError, match="'bce_logit' is for data sets with several labels"):
        options = ["FFN.ENABLE", False, "MODEL.LOSS_FUNC", "bce_logit"]
        run(tiny_cfg(motion, tmp_path / "run2", *options))
