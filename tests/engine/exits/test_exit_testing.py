"""TEST.EXIT from a configuration to its files."""

import csv
import json
import logging

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.engine import test as run_test
from slowfast.engine.exits.videos import infer_videos
from slowfast.engine.test import load_test_weights
from slowfast.models import build_model
from slowfast.models.rate_exit import RateExit

GATES = (
    *("MODEL.MODEL_NAME", "FrameExit", "FFN.ENABLE", False, "FRAME_EXIT.BACKBONE", "R2Plus1D"),
    *("FRAME_EXIT.HIDDEN_DIM", 8, "FRAME_EXIT.GATE_DIMS", [4, 4], "TEST.NUM_FRAMES", [2, 4]),
)


@pytest.fixture(scope="module")
def data(motion, tmp_path_factory):
    """Eight videos to calibrate on, and eight others to test of which one cannot be read."""
    folder = tmp_path_factory.mktemp("videos")
    lines = [f"{motion}/{line}" for line in (motion / "val.csv").read_text().splitlines()]
    (folder / "val.csv").write_text("\n".join(lines[:8]) + "\n")
    (folder / "test.csv").write_text("\n".join([*lines[8:15], "lost.mp4 3"]) + "\n")
    return folder


def cfg_of(data, output, *overrides):
    """A network of random weights whose predictions differ between videos."""
    kind = "gates" if "FrameExit" in overrides else "rates"
    weights = data / f"{kind}.pyth"
    cfg = tiny_cfg(
        data,
        output,
        *("TEST.CHECKPOINT_FILE_PATH", str(weights), "TEST.BATCH_SIZE", 3, "TEST.EXIT", kind),
        *overrides,
    )
    if not weights.exists():
        torch.manual_seed(0)
        model = build_model(cfg)
        for name, values in model.state_dict().items():
            if values.is_floating_point():
                spread = 3.0 if "projection" in name or "classifiers" in name else 0.1
                values += spread * torch.rand_like(values)
        torch.save({"model_state": model.state_dict()}, weights)
    return cfg


def budget_of(data, folder, *overrides):
    """A mean cost between the cheapest and the dearest of exits.

    Thresholds that nobody passes say what that is.
    """
    gates = "FrameExit" in overrides
    given = [1.0] * (3 if gates else 1)
    record = run_test(cfg_of(data, folder, *overrides, "TEST.EXIT_THRESHOLDS", given))["exits"]
    return 0.7 * record["no_exit"]["gflops"]


@pytest.fixture(scope="module", params=["rates", "gates"])
def tested(request, data, tmp_path_factory):
    """Folder and record of a test at a budget."""
    extra = GATES if request.param == "gates" else ()
    folder = tmp_path_factory.mktemp(request.param)
    budget = budget_of(data, folder / "before", *extra)
    cfg = cfg_of(data, folder / "run", *extra, "TEST.EXIT_BUDGET", budget)
    return folder / "run/results", run_test(cfg)["exits"], cfg


def rows_of(folder):
    with open(folder / "exits.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_record_counts_every_readable_video_once(tested):
    folder, record, _ = tested
    assert json.loads((folder / "exits.json").read_text()) == record
    assert (folder / "exits.png").stat().st_size > 1000
    coverage = record["coverage"]
    assert (coverage["videos"], coverage["read"]) == (8, 7)
    assert "lost.mp4" in coverage["failures"][0]["path"]
    for row in (record["test"], record["no_exit"], *record["curve"], *record["sweep"]):
        assert sum(row["exits"]) == 7


def test_the_list_of_videos_says_where_each_one_left(tested):
    folder, record, _ = tested
    rows, frames = rows_of(folder), record["frames"]
    assert len(rows) == 7
    exits = [int(row["exit"]) for row in rows]
    assert [exits.count(e) for e in range(len(frames))] == record["test"]["exits"]
    assert [int(row["frames"]) for row in rows] == [frames[e] for e in exits]
    right = sum(row["prediction"] == row["label"] for row in rows)
    assert record["test"]["top1"] == pytest.approx(100 * right / 7)
    assert record["test"]["frames"] == pytest.approx(sum(frames[e] for e in exits) / 7)


def test_the_budget_is_kept_on_the_validation_videos(tested):
    _, record, cfg = tested
    found = record["calibration"]
    assert found["videos"] == 8 and not found["same_as_test"]
    assert found["gflops"] <= cfg.TEST.EXIT_BUDGET


def test_without_exits_everybody_goes_to_the_last(tested):
    _, record, _ = tested
    assert record["no_exit"]["exits"] == [0] * (len(record["frames"]) - 1) + [7]
    assert record["no_exit"]["frames"] == record["frames"][-1]


def test_networks_at_fixed_counts_stand_beside(tested):
    _, record, cfg = tested
    assert [row["frames"] for row in record["fixed"]] == list(cfg.TEST.NUM_FRAMES)
    whole = next(row for row in record["fixed"] if row["frames"] == record["frames"][-1])
    # At the highest count frames and network are the same with and without exits.
    assert whole["top1"] == pytest.approx(record["no_exit"]["top1"])
    assert whole["gflops"] == pytest.approx(record["no_exit"]["gflops"])


def test_latency_is_measured_alone_and_together(tested):
    times = tested[1]["latency"]
    names = {f"{way}{tail}" for way in ("single", "batched") for tail in ("", "_no_exit")}
    assert set(times) == {"batch", *names} and times["batch"] == 3
    assert min(times.values()) > 0


@torch.no_grad()
def test_reading_from_files_takes_the_exits_of_the_test(data, tmp_path):
    cfg = cfg_of(data, tmp_path, "TEST.EXIT_THRESHOLDS", [1.0])
    model = build_model(cfg)
    load_test_weights(model, cfg)
    dataset = build_loader(cfg, "exits").dataset
    low = torch.cat([dataset[i].clips[0] for i in range(7)])
    middle = model.eval()(low).softmax(1).amax(1).sort().values[2:4].mean().item()
    cfg = cfg_of(data, tmp_path, "TEST.EXIT_THRESHOLDS", [middle])
    record = run_test(cfg)["exits"]
    found = infer_videos(RateExit(model, [middle]), dataset, range(7), batch_size=2)
    assert found.exits == [int(row["exit"]) for row in rows_of(tmp_path / "results")]
    assert found.decoded == [record["frames"][exit] for exit in found.exits]
    assert found.exits.count(0) == 4


def test_the_threshold_of_a_network_of_its_own_serves_without_others(data, tmp_path):
    thresholds = ("FRAME_EXIT.FIRST_THRESHOLD", 0.3, "FRAME_EXIT.GATE_THRESHOLD", 0.6)
    record = run_test(cfg_of(data, tmp_path, *GATES, *thresholds))["exits"]
    assert record["thresholds"] == [0.3, 0.6, 0.6]
    assert record["calibration"]["asked"] == "the network's own"


def test_two_processes_find_what_one_finds(data, tmp_path):
    options = ("TEST.EXIT_THRESHOLDS", [0.5])
    one = run_test(cfg_of(data, tmp_path / "one", *options))["exits"]
    two = run_processes(_test, 2, cfg_of(data, tmp_path / "two", *options))
    for record in (one, *two):
        record.pop("latency")
    assert two == [one, one]
    files = [(tmp_path / name / "results/exits.csv").read_text() for name in ("one", "two")]
    assert files[0] == files[1]


def _test(world, cfg):
    return run_test(cfg, world)["exits"]


def test_calibration_on_the_tested_videos_is_called_so(motion, data, tmp_path, caplog):
    same = tmp_path / "same"
    same.mkdir()
    (same / "val.csv").write_text((data / "val.csv").read_text())
    (same / "rates.pyth").write_bytes((data / "rates.pyth").read_bytes())
    with caplog.at_level(logging.WARNING):
        record = run_test(cfg_of(same, tmp_path / "run", "TEST.EXIT_TARGET", 0.0))["exits"]
    assert record["calibration"]["same_as_test"]
    assert "validation and test are the same list" in caplog.text


def test_another_number_of_thresholds_is_refused(data, tmp_path):
    cfg = cfg_of(data, tmp_path, "TEST.EXIT_THRESHOLDS", [0.5, 0.5])
    with pytest.raises(ValueError, match="one for each of the 1 exits before the last"):
        run_test(cfg)


def test_exits_are_calibrated_on_one_list_and_tested_on_the_other(data, tmp_path):
    cfg = cfg_of(data, tmp_path, "TEST.EXIT_THRESHOLDS", [0.5], "TEST.NUM_FRAMES", [1, 3])
    for split, videos in (("calibrate", "val"), ("exits", "test")):
        dataset = build_loader(cfg, split).dataset
        listed = (data / f"{videos}.csv").read_text().splitlines()
        assert [dataset.records.name(i) for i in range(8)] == [line.split()[0] for line in listed]
        (clip,) = dataset.sampling.clips(40, 25.0)
        assert [len(frames) for frames in clip] == [2, 4]  # the trained counts
        assert set(clip[0].tolist()) < set(clip[1].tolist())
