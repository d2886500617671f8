import pytest
import torch

from slowfast.engine.evaluate import join_views
from slowfast.engine.meters import Averages, Confusion, hits_at


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
