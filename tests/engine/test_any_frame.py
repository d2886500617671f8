import json

import pytest
import torch

from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.engine import run, train
from slowfast.engine import test as run_test
from slowfast.engine.evaluate import evaluate
from slowfast.models import build_model, to_scores
from slowfast.models.flexible import RULES, add_rates
from slowfast.weights import load_weights

UNTRAINED = (1, 3, 6)


@pytest.fixture(scope="module")
def checkpoint(motion, tmp_path_factory):
    """A network trained for a moment at 2 and 4 frames."""
    folder = tmp_path_factory.mktemp("trained")
    train(tiny_cfg(motion, folder))
    return str(folder / "checkpoints/checkpoint_epoch_00002.pyth")


def cfg_of(motion, folder, checkpoint, rule, *overrides):
    return tiny_cfg(
        motion,
        folder,
        *("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", checkpoint),
        *("TEST.NUM_FRAMES", [1, 2, 3, 4, 6], "FFN.ANY_FRAME", rule, *overrides),
    )


def calibration_clips(cfg, wanted):
    """The first `wanted` training videos in the loader's order, as one batch per frame count."""
    batches = [batch.clips for batch in build_loader(cfg, "recalibrate")]
    return tuple(torch.cat(clips)[:wanted] for clips in zip(*batches, strict=True))


@pytest.fixture(scope="module")
def tested(motion, checkpoint, tmp_path_factory):
    """The folder and record of a test by each rule."""
    folders = {rule: tmp_path_factory.mktemp(rule) for rule in RULES}
    return {
        rule: (folder, run(cfg_of(motion, folder, checkpoint, rule)))
        for rule, folder in folders.items()
    }


@pytest.mark.parametrize("rule", RULES)
def test_a_test_says_which_rule_ran_at_which_frame_count(tested, rule):
    folder, record = tested[rule]
    rules = {int(t): row["rule"] for t, row in record["by_frames"].items()}
    assert rules == {2: "trained", 4: "trained"} | dict.fromkeys(UNTRAINED, rule)
    rates = {int(t): row["rate"] for t, row in record["by_frames"].items()}
    nearest = {1: 2, 2: 2, 3: 4, 4: 4, 6: 4}
    assert rates == (nearest if rule == "nearest" else {t: t for t in nearest})
    assert json.loads((folder / "results/test.json").read_text()) == record
    log = (folder / "stdout.log").read_text()
    assert ", trained)" in log and f", {rule})" in log


@pytest.mark.parametrize("rule", RULES)
def test_a_test_runs_the_private_layers_of_the_rule(motion, tmp_path, checkpoint, rule):
    cfg = cfg_of(motion, tmp_path, checkpoint, rule, "FFN.RECALIBRATION_CLIPS", 16)
    record = run_test(cfg)
    model = build_model(cfg)
    load_weights(model, checkpoint)
    # A single batch of 16 is two of the loader's: the same statistics but for the layers between.
    batches = [batch.clips for batch in build_loader(cfg, "recalibrate")][:2]
    add_rates(model, UNTRAINED, rule, batches)
    expected = evaluate(model, build_loader(cfg, "test"), torch.device("cpu"), cfg)
    for num_frames, confusion in expected.by_frames.items():
        row = record["by_frames"][str(num_frames)]
        assert row["confusion"] == confusion.matrix.tolist(), num_frames


def test_rules_change_what_is_tested_between_the_rates_and_nothing_at_them(tested):
    scores = {
        rule: {
            tuple(line.split(",")[:3]): line for line in lines(folder / "results/predictions.csv")
        }
        for rule, (folder, _) in tested.items()
    }
    for key, line in scores["nearest"].items():
        if key[2] in ("2", "4"):
            assert all(found[key] == line for found in scores.values())
    for rule in RULES[1:]:
        assert any(scores[rule][key] != line for key, line in scores["nearest"].items())


def lines(path):
    return path.read_text().splitlines()[1:]


def test_recalibration_reads_training_videos_at_the_untrained_counts_only(
    motion, tmp_path, checkpoint
):
    cfg = cfg_of(motion, tmp_path, checkpoint, "recalibrated")
    batches = list(build_loader(cfg, "recalibrate"))
    assert [clip.shape[2] for clip in batches[0].clips] == list(UNTRAINED)
    assert all("/train/" in path for batch in batches for path in batch.paths)
    labels = [label for batch in batches for label in batch.labels.tolist()]
    assert labels != sorted(labels)  # all classes come early


def test_recalibration_without_a_readable_video_is_an_error(motion, tmp_path, checkpoint):
    data = tmp_path / "data"
    data.mkdir()
    (data / "val.csv").write_text(
        "".join(f"{motion}/{line}\n" for line in (motion / "val.csv").read_text().splitlines())
    )
    for k in range(8):
        (data / f"{k}.mp4").write_bytes(b"not a video")
    (data / "train.csv").write_text("".join(f"{k}.mp4 {k}\n" for k in range(8)))
    with pytest.raises(ValueError, match=r"no clips of \[1, 3, 6\] frames to recalibrate"):
        run_test(cfg_of(data, tmp_path / "run", checkpoint, "recalibrated"))


def test_a_plain_network_is_tested_as_it_is_under_every_rule(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, "FFN.ENABLE", False, "FFN.ANY_FRAME", "recalibrated")
    record = run(cfg)
    assert {t: row["rule"] for t, row in record["by_frames"].items()} == {
        **dict.fromkeys(("1", "2", "3"), "nearest"),
        "4": "trained",
    }


@torch.no_grad()
def test_an_evaluation_gives_the_scores_of_the_network_itself(motion, tmp_path, checkpoint):
    cfg = cfg_of(motion, tmp_path, checkpoint, "nearest")
    model = build_model(cfg)
    load_weights(model, checkpoint)
    found = []
    evaluate(
        model.train(), build_loader(cfg, "test"), torch.device("cpu"), cfg, on_batch=found.append
    )
    assert model.training
    model.eval()
    for scored in found:
        assert len(scored.scores) == 5
        for clip in scored.batch.clips:
            expected = to_scores(model(clip))
            torch.testing.assert_close(scored.scores[clip.shape[2]], expected)
