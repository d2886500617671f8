import json

import pytest

from helpers.runs import tiny_cfg
from slowfast.engine.files.logs import Metrics
from slowfast.engine.processes.world import World


def write_run(metrics, epochs=2, steps=2):
    """The records of a run, `step` being the steps done then."""
    for epoch in range(epochs):
        for step in range(epoch * steps, (epoch + 1) * steps):
            metrics.write("train_iter", step + 1, loss=1 / (step + 1))
        metrics.write("train_epoch", (epoch + 1) * steps, epoch=epoch + 1)
        metrics.write("val_epoch", (epoch + 1) * steps, epoch=epoch + 1)


def kept(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(record["_type"], record["step"]) for record in map(json.loads, lines)]


def rewound(folder, *args):
    with Metrics(folder) as metrics:
        metrics.rewind(*args)
    return kept(folder)


ALL = [
    *[("train_iter", 1), ("train_iter", 2), ("train_epoch", 2), ("val_epoch", 2)],
    *[("train_iter", 3), ("train_iter", 4), ("train_epoch", 4), ("val_epoch", 4)],
]


@pytest.fixture
def folder(tmp_path):
    with Metrics(tmp_path) as metrics:
        write_run(metrics)
    return tmp_path


def test_records_of_every_kind_after_the_step_are_dropped(folder):
    assert rewound(folder, 3) == ALL[:5]


def test_the_summaries_of_an_epoch_that_is_not_done_are_dropped_although_its_steps_are(folder):
    assert rewound(folder, 4, 1) == ALL[:6]
    assert rewound(folder, 2, 1) == ALL[:4]


def test_a_validation_that_is_still_to_come_is_dropped(folder):
    assert rewound(folder, 4, 2, True) == ALL[:7]


def test_nothing_is_dropped_where_the_run_had_come(folder):
    before = (folder / "metrics.jsonl").stat()
    assert rewound(folder, 4, 2) == ALL
    assert (folder / "metrics.jsonl").stat().st_ino == before.st_ino


def test_a_run_without_a_checkpoint_begins_an_empty_curve(folder):
    assert rewound(folder, 0, 0) == []


@pytest.mark.parametrize(
    "torn", ['{"_type": "train_iter", "st', '{"_type": "train_iter", "step": 4}']
)
def test_a_line_that_was_half_written_is_dropped(folder, torn):
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(torn)
    assert rewound(folder, 4, 2) == ALL


def test_a_half_written_line_within_the_file_is_dropped(folder):
    path = folder / "metrics.jsonl"
    path.write_bytes(b'{"_type": "train_it{}\n\xff\n3\n' + path.read_bytes())
    assert rewound(folder, 4, 2) == ALL


def test_the_run_goes_on_in_the_same_file(folder):
    with Metrics(folder) as metrics:
        metrics.rewind(3)
        metrics.write("train_iter", 4, loss=0.5)
    assert kept(folder) == [*ALL[:5], ("train_iter", 4)]


def test_tensorboard_hides_the_scalars_of_dropped_records(folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Metrics(tmp_path, tensorboard=True) as metrics:
        write_run(metrics)
    with Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.rewind(3)
        metrics.write("train_iter", 4, loss=7.0)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = {event.step: event.value for event in events.Scalars("Train/loss")}
    assert values == pytest.approx({1: 1, 2: 1 / 2, 3: 1 / 3, 4: 7})
    assert [event.step for event in events.Scalars("Val/epoch")] == [2]


def test_only_the_main_process_writes(tmp_path):
    cfg = tiny_cfg(tmp_path, tmp_path)
    with Metrics.from_cfg(cfg, World(rank=1, size=2)) as metrics:
        metrics.rewind(3)
        metrics.write("train_iter", 4, loss=1.0)
    assert not (tmp_path / "metrics.jsonl").exists()
