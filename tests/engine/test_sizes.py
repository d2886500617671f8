"""Runs of a network for pairs of frame count and size, from training to the study's report."""

import csv
import json

import pytest
import torch

import slowfast.weights
from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.engine import run, selfcheck
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.meters import METERS
from slowfast.engine.precise_bn import precise_statistics
from slowfast.engine.studies import sizes
from slowfast.engine.studies.sizes import SizeStudy
from slowfast.engine.test import test_record as record_of
from slowfast.models import build_model
from slowfast.models.flexible import Rate, all_rates, sized

PAIRS = ["2x8", "4x8", "2x16", "4x16"]
SIZES = ("FFN.SIZES", [8, 16], "SOLVER.MAX_EPOCH", 1, "TEST.NUM_FRAMES", [2, 3, 4])


@pytest.fixture(scope="module")
def finished(motion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    return folder, run(tiny_cfg(motion, folder, *SIZES, "TEST.SIZES", [8, 10, 16]))


def test_every_pair_is_trained_and_validated(finished):
    lines = (finished[0] / "metrics.jsonl").read_text().splitlines()
    (record,) = (r for r in map(json.loads, lines) if r["_type"] == "val_epoch")
    assert [f"top1_{pair}" in record for pair in PAIRS] == [True] * 4
    (epoch,) = (r for r in map(json.loads, lines) if r["_type"] == "train_epoch")
    assert {"ce_4x16", "kl_2x16", "kl_4x8", "kl_2x8"} <= epoch.keys()


def test_every_pair_is_tested_at_the_nearest_trained_one(finished):
    folder, record = finished
    assert record["trained"] == PAIRS
    rows = {pair: (row["rate"], row["rule"]) for pair, row in record["by_frames"].items()}
    assert len(rows) == 9
    assert rows["2x8"] == ("2x8", "trained") and rows["4x10"] == ("4x8", "nearest")
    with open(folder / "results/predictions.csv", newline="") as file:
        assert {row["frames"] for row in csv.DictReader(file)} == set(rows)


def test_the_file_of_the_network_knows_its_pairs(finished):
    model = slowfast.weights.load(finished[0] / "checkpoints/best.safetensors")
    assert list(map(str, model.rates.all)) == PAIRS


def test_precise_statistics_are_those_of_each_pairs_own_clips(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, *SIZES)
    model = build_model(cfg)
    batches = list(build_loader(cfg, "val"))[:1]
    precise_statistics(model, batches, 1, sizes=(8, 16))
    first = next(m for m in model.modules() if hasattr(m, "copies"))
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv3d)]
    for rate, clip in sized(batches[0].clips, (8, 16)).items():
        mean = convs[0](clip).mean((0, 2, 3, 4))
        torch.testing.assert_close(first.copies[str(rate)].running_mean, mean)


def test_a_plain_network_is_tested_at_sizes_too(motion, tmp_path):
    plain = ("FFN.ENABLE", False, "DATA.NUM_FRAMES", 4, "SOLVER.MAX_EPOCH", 1)
    tested = ("TEST.NUM_FRAMES", [4], "TEST.SIZES", [8, 16])
    record = run(tiny_cfg(motion, tmp_path, *plain, *tested))
    assert record["trained"] == [4] and list(record["by_frames"]) == ["4x8", "4x16"]


def test_a_study_compares_one_network_with_one_per_pair(motion, tmp_path, monkeypatch):
    cfg = tiny_cfg(motion, tmp_path, *SIZES, "FFN.NUM_FRAMES", [2, 4], "TEST.SIZES", [8, 16])
    study = SizeStudy(cfg, [5], tmp_path)
    monkeypatch.setattr(
        sizes, "run_members", lambda found, processes: [run(one.cfg) for one in found]
    )
    study.run(processes=1)
    folders = {path.name for path in (tmp_path / "seed_5").iterdir()}
    assert folders == {"ffn", *(f"plain_{pair}" for pair in PAIRS)}
    small = study.separate(5, Rate(2, 8)).cfg
    assert small.DATA.TRAIN_CROP_SIZE == 8 and list(small.DATA.TRAIN_JITTER_SCALES) == [8, 10]
    results = study.results()
    assert list(map(str, results.trained)) == PAIRS == list(map(str, results.separate))
    assert len(results.flexible) == len(results.highest) == 6
    assert results.gflops[Rate(4, 16)] == pytest.approx(2 * results.gflops[Rate(2, 16)], rel=0.2)
    document = study.document(tmp_path / "figures", "the command")
    assert len(document.claims) == 4 and all(p.path.exists() for p in document.pictures)
    page, text = document.write(tmp_path, "sizes")
    assert "figures/sizes_heatmap.png" in text.read_text() and "the command" in page.read_text()


@pytest.mark.parametrize("tested", [[], [10]])
def test_a_study_tests_its_trained_pairs_whatever_else_is_tested(motion, tmp_path, tested):
    keys = ("TEST.NUM_FRAMES", tested and [3], "TEST.SIZES", tested)
    study = SizeStudy(tiny_cfg(motion, tmp_path, *SIZES, *keys), [5], tmp_path)
    assert set(PAIRS) <= set(map(str, study.tested))
    for member in (study.flexible(5), study.separate(5, study.trained[-1])):
        test = member.cfg.TEST
        assert all_rates(test.NUM_FRAMES, test.SIZES) == study.tested
    assert list(study.separate(5, Rate(2, 8)).cfg.TEST.SIZES) == [8]


def test_frame_counts_of_a_network_without_sizes_are_trained_at_any_size(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, "FFN.ANY_FRAME", "interpolated", "TEST.SIZES", [8, 16])
    model, meters = build_model(cfg), Evaluation()
    for rate in all_rates((2, 3), (8, 16)):
        meters.by_frames[rate] = METERS["top1"](16)
        meters.by_frames[rate].add(torch.eye(16)[:2], torch.arange(2))
    rows = record_of(model, meters, cfg, "interpolated")["by_frames"]
    rules = {pair: row["rule"] for pair, row in rows.items()}
    assert rules == dict.fromkeys(["2x8", "2x16"], "trained") | dict.fromkeys(
        ["3x8", "3x16"], "interpolated"
    )


def test_mixed_precision_is_checked_at_every_size(motion, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(selfcheck, "check", lambda case, dtype: checked.append(case.shape) or 0.0)
    cfg = tiny_cfg(motion, tmp_path, *SIZES, "TRAIN.MIXED_PRECISION", True)
    selfcheck.check_mixed_precision(build_model(cfg), cfg, torch.device("cpu"))
    seen = {(shape[2], shape[3]) for shape in checked if shape[1] == 3}
    assert seen == {(2, 8), (4, 8), (2, 16), (4, 16)}


def test_a_study_without_sizes_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="FFN.SIZES"):
        SizeStudy(tiny_cfg(motion, tmp_path), [0], tmp_path)
