"""Training on augmented, repeated and mixed samples."""

import json

import pytest
import torch

from helpers.runs import tiny_cfg
from slowfast.config import get_cfg
from slowfast.datasets.batch import Batch
from slowfast.datasets.mixing import Mixing
from slowfast.engine import train
from slowfast.engine.meters import hits_at
from slowfast.objectives import Classify, FrameFlexibleTraining, cross_entropy, distillation_kl

EVERYTHING = (
    *("AUG.ENABLE", True, "AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1", "AUG.NUM_SAMPLE", 2),
    *("DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.3, 1.0], "MIXUP.ENABLE", True),
)


def test_a_resumed_run_with_all_augmentation_equals_one_that_was_not_interrupted(motion, tmp_path):
    whole = train(tiny_cfg(motion, tmp_path / "whole", *EVERYTHING))
    cfg = tiny_cfg(motion, tmp_path / "parts", *EVERYTHING)
    train(cfg)
    (tmp_path / "parts/checkpoints/checkpoint_epoch_00002.pyth").unlink()
    resumed = train(cfg)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_on_mixed_samples_still_shows_accuracy_and_losses(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, *EVERYTHING))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    epochs = [r for r in map(json.loads, lines) if r["_type"] == "train_epoch"]
    assert {"loss", "ce_4", "kl_2", "top1_2", "top1_4"} <= epochs[-1].keys()
    assert 0 <= epochs[-1]["top1_4"] <= 100


def test_mixing_that_never_mixes_nor_smooths_trains_as_without(motion, tmp_path):
    never = ("MIXUP.ENABLE", True, "MIXUP.PROB", 0.0, "MIXUP.LABEL_SMOOTH_VALUE", 0.0)
    plain = train(tiny_cfg(motion, tmp_path / "plain"))
    mixed = train(tiny_cfg(motion, tmp_path / "mixed", *never))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, mixed.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_switches_are_off_by_default():
    cfg = get_cfg()
    assert not cfg.AUG.ENABLE and not cfg.MIXUP.ENABLE and cfg.AUG.NUM_SAMPLE == 1


# ---------------------------------------------------------------------------- objectives


class Rates(torch.nn.Module):
    """Logits by frame count, as a flexible network gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleDict({str(t): torch.nn.Linear(3, 5) for t in (2, 4)})

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.layers[str(clip.shape[2])](clip.mean((2, 3, 4)))


def mixed_batch(*counts: int) -> Batch:
    torch.manual_seed(0)
    clips = tuple(torch.randn(4, 3, t, 8, 8) for t in counts)
    return Mixing(5)(Batch(clips, torch.tensor([0, 1, 2, 3]), torch.arange(4)), 0, 1)


def test_classify_learns_mixed_labels():
    model, batch = Rates(), mixed_batch(4)
    (term,) = Classify()(model, batch)
    expected = -(batch.labels * model(batch.clips[0]).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(term.loss, expected)


def test_mixed_labels_enter_only_the_cross_entropy_of_the_highest_rate():
    model, batch = Rates(), mixed_batch(2, 4)
    high, low = FrameFlexibleTraining()(model, batch)
    low_logits, high_logits = (model(clip) for clip in batch.clips)
    torch.testing.assert_close(high.loss, cross_entropy(high_logits, batch.labels))
    torch.testing.assert_close(low.loss, distillation_kl(low_logits, high_logits))


# ---------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    ("scores", "k", "hit"),
    [
        ([0.1, 0.7, 0.2], 1, True),
        ([0.7, 0.1, 0.2], 1, False),
        ([0.7, 0.2, 0.1], 2, True),
        ([0.5, 0.1, 0.4], 2, False),
    ],
)
def test_a_mixed_sample_counts_by_its_largest_label(scores, k, hit):
    labels = torch.tensor([[0.3, 0.6, 0.1]])
    assert hits_at(torch.tensor([scores]), labels, k).tolist() == [hit]


def test_of_labels_with_equal_weight_any_counts():
    labels = torch.tensor([[0.5, 0.0, 0.5]] * 3)
    scores = torch.eye(3)
    assert hits_at(scores, labels, 1).tolist() == [True, False, True]
