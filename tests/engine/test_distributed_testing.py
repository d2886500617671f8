"""A test whose videos are shared by two processes finds what one finds."""

import json
import logging
from pathlib import Path

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.engine import run
from slowfast.engine import test as run_test
from slowfast.engine.files.logs import setup_logging
from slowfast.engine.meters import METERS
from slowfast.engine.processes.world import World
from slowfast.engine.run import describe_batch, describe_world
from slowfast.models import build_model


@pytest.fixture(scope="module")
def videos(motion, tmp_path_factory) -> Path:
    """15 videos to test, of which the 4th cannot be read."""
    folder = tmp_path_factory.mktemp("videos")
    lines = (motion / "val.csv").read_text().splitlines()[:15]
    lines = [f"{motion}/{line}" if not line.startswith("/") else line for line in lines]
    lines[3] = "lost.mp4" + lines[3][lines[3].index(".mp4") + 4 :]
    (folder / "val.csv").write_text("\n".join(lines) + "\n")
    return folder


def cfg_of(videos: Path, output: Path):
    torch.manual_seed(0)
    weights = videos / "weights.pyth"
    cfg = tiny_cfg(videos, output, "TEST.CHECKPOINT_FILE_PATH", str(weights), "TEST.BATCH_SIZE", 2)
    if not weights.exists():
        model = build_model(cfg)
        for values in model.state_dict().values():  # private layers are equal at first
            if values.is_floating_point() and values.ndim == 1:
                values += torch.rand_like(values)
        torch.save({"model_state": model.state_dict()}, weights)
    return cfg


@pytest.fixture(scope="module")
def both(videos, tmp_path_factory):
    """Folder and record of the same test in one process and, twice, in two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    record = run_test(cfg_of(videos, one))
    first, second = run_processes(_test, 2, cfg_of(videos, two))
    return one, two, record, first, second


def _test(world: World, cfg) -> dict:
    return run_test(cfg, world)


def test_the_record_is_the_same_in_every_process(both):
    _, _, one, first, second = both
    assert first == second == one
    assert one["coverage"]["videos"] == 15


def test_every_video_is_counted_once(both):
    _, _, _, first, _ = both
    for row in first["by_frames"].values():
        assert sum(map(sum, row["confusion"])) == 14


def test_files_and_their_order_are_the_same(both):
    one, two, *_ = both
    for name in ("test.json", "predictions.csv", "per_class.csv", "hardest.csv", "failures.csv"):
        assert (two / "results" / name).read_text() == (one / "results" / name).read_text(), name


def test_a_video_that_one_process_cannot_read_is_everybodys(both):
    _, two, *_ = both
    record = json.loads((two / "results/test.json").read_text())
    assert [failure["index"] for failure in record["coverage"]["failures"]] == [3]


def test_merged_precision_is_that_of_all_videos():
    scores = torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(36).view(12, 3) % 5 < 2).float()
    whole, even, odd = (METERS["map"](3) for _ in range(3))
    whole.add(scores, labels)
    even.add(scores[::2], labels[::2])
    odd.add(scores[1::2], labels[1::2])
    even.merge(odd)
    assert even.summary == pytest.approx(whole.summary)
    assert even.per_class == pytest.approx(whole.per_class)


# ------------------------------------------------------------------------------ what is said


def test_the_log_says_who_runs_where():
    world = World(0, 5, origin="torchrun, tcp://a:1")
    places = ["a cuda:0", "a cuda:1", "b cuda:0", "b cuda:1", "a cuda:2"]
    text = "5 processes (torchrun, tcp://a:1, nccl): a cuda: rank 0-1, 4; b cuda: rank 2-3"
    assert describe_world(places, world, "nccl") == text


def test_the_log_says_how_a_batch_is_shared(tmp_path):
    words = ["TRAIN.BATCH_SIZE", 64, "TRAIN.MICRO_BATCHES", 2, "SOLVER.REFERENCE_BATCH_SIZE", 256]
    assert describe_batch(tiny_cfg(tmp_path, tmp_path, *words), 4) == [
        "a batch is 64 videos: 4 processes x 2 parts x 8 videos",
        "learning rates x 0.25: TRAIN.BATCH_SIZE 64 over SOLVER.REFERENCE_BATCH_SIZE 256",
    ]


def test_other_processes_show_warnings_with_their_rank_and_write_nothing(tmp_path, capsys):
    setup_logging(tmp_path / "run", rank=3)
    log = logging.getLogger("slowfast.engine.test")
    log.info("testing")
    log.warning("lost")
    assert capsys.readouterr().out == "[rank 3] lost\n"
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------ a whole run


def test_a_run_of_two_processes_writes_each_of_its_files_once(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, "SOLVER.MAX_EPOCH", 1, "LOG_PERIOD", 1)
    first, second = run_processes(_run, 2, cfg)
    assert first == second == json.loads((tmp_path / "results/test.json").read_text())
    assert first["coverage"]["videos"] == 16
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["_type"] == "train_iter"]
    assert steps == sorted(set(steps)) and len(steps) == 4  # 32 videos, 8 in a batch of both
    log = (tmp_path / "stdout.log").read_text()
    assert log.count("a batch is 8 videos: 2 processes x 4 videos") == 1


def _run(world: World, cfg) -> dict:
    return run(cfg, world)
