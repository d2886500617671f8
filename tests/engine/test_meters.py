import json

import pytest
import torch

from helpers.source import ROOT
from slowfast.engine.evaluate import join_views
from slowfast.engine.meters import Averages, Confusion, Precision, average_precision, hits_at

PUBLISHED = json.loads((ROOT / "tests/fixtures/metrics_map.json").read_text())


def test_means_are_weighted_by_samples():
    averages = Averages()
    averages.add({"loss": torch.tensor(1.0)}, 1)
    averages.add({"loss": torch.tensor(4.0)}, 2)
    assert averages.means() == {"loss": 3.0}


def test_five_of_three_classes_is_all_of_them():
    assert hits_at(torch.tensor([[0.1, 0.2, 0.7]]), torch.tensor([0]), 5).all()


def test_confusion_counts_truth_in_rows():
    confusion = Confusion(2)
    confusion.add(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    assert confusion.matrix.tolist() == [[1, 0], [1, 1]]
    assert confusion.top1 == pytest.approx(200 / 3)
    assert confusion.per_class == [100, 50]


def test_a_class_without_videos_has_no_accuracy():
    confusion = Confusion(2)
    confusion.add(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert confusion.per_class == [100, None]


def test_views_of_a_video_are_joined_video_by_video():
    scores = torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    assert join_views(scores, 2, "sum").tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert join_views(scores, 2, "max").tolist() == [[0.5, 1.0], [1.0, 0.0]]


# ------------------------------------------------------------------------- several labels


@pytest.fixture
def published():
    scores, labels = (torch.tensor(PUBLISHED[key]) for key in ("scores", "labels"))
    meter = Precision(scores.shape[1])
    for part in range(0, len(scores), 7):  # batches of uneven size
        meter.add(scores[part : part + 7], labels[part : part + 7].float())
    return scores, labels, meter


def test_average_precision_of_each_class_is_that_of_the_originals(published):
    _, _, meter = published
    for found, expected in zip(meter.per_class, PUBLISHED["frameexit_ap"], strict=True):
        assert (found is None) == (expected is None)
        assert expected is None or found == pytest.approx(100 * expected, rel=1e-12)


def test_mean_average_precision_and_hits_are_those_of_the_originals(published):
    _, _, meter = published
    assert meter.main == pytest.approx(100 * PUBLISHED["frameexit_map"], rel=1e-12)
    assert meter.main == pytest.approx(100 * PUBLISHED["reskd_map"], rel=1e-12)
    assert meter.hit1 == pytest.approx(100 * PUBLISHED["frameexit_hit1"])
    assert meter.summary == {"map": meter.main, "hit1": meter.hit1}


def test_accuracies_are_those_of_the_originals(published):
    scores, labels, _ = published
    confusion = Confusion(scores.shape[1])
    confusion.add(scores, labels.argmax(dim=1))  # they take each video's first class
    assert confusion.top1 == pytest.approx(100 * PUBLISHED["reskd_top1"])
    assert confusion.top5 == pytest.approx(100 * PUBLISHED["reskd_top5"])
    # A class without videos counts 0 there and nothing here; two of the twelve are such.
    assert confusion.counts.count(0) == 2
    mean_class = confusion.summary["mean_class"] * 10 / 12
    assert mean_class == pytest.approx(100 * PUBLISHED["mean_class_acc"])


def test_videos_of_equal_score_share_a_rank_whatever_their_order():
    scores = torch.tensor([0.9, 0.5, 0.5, 0.1])
    labels = torch.tensor([True, True, False, False])
    expected = (1 + 2 / 3) / 2  # the second is one of three at its score or above
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]):
        assert average_precision(scores[order], labels[order]) == pytest.approx(expected)


def test_any_true_class_is_a_hit_and_a_video_without_classes_has_none():
    scores = torch.tensor([[0.1, 0.9, 0.3]] * 4)
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0], [0.3, 0.7, 0]])
    assert hits_at(scores, labels, 1).tolist() == [True, False, False, True]
    assert hits_at(scores, labels, 2).tolist() == [True, True, False, True]
