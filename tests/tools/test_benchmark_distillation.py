"""Rows of the benchmarks of a teacher and its student, at tiny sizes; no test measures time."""

import os

import pytest
import torch

from slowfast.config import load_cfg
from slowfast.engine.benchmark import distillation, resolution
from slowfast.engine.benchmark.film import Film
from slowfast.engine.benchmark.memory import in_a_new_process
from slowfast.layers.resize import resize
from tools import benchmark

TEACHER = """
MODEL: {MODEL_NAME: R2Plus1D, NUM_CLASSES: 5, DROPOUT_RATE: 0.0}
R2PLUS1D: {WIDTHS: [4, 8], BLOCKS: [1, 1]}
DATA: {NUM_FRAMES: 2, TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32, TRAIN_JITTER_SCALES: [32, 36]}
TEST: {NUM_ENSEMBLE_VIEWS: 1, NUM_SPATIAL_CROPS: 1}
"""
STUDENT = """
_BASE_: TEACHER.yaml
OBJECTIVE: {NAME: distill}
DISTILL: {TEACHER_CFG: %s, STUDENT_SIZE: 16}
DATA: {TEST_CROP_SIZE: 16}
"""
FILM = Film(seconds=1, height=32, width=48)


@pytest.fixture
def student(tmp_path):
    (tmp_path / "TEACHER.yaml").write_text(TEACHER)
    path = tmp_path / "STUDENT.yaml"
    path.write_text(STUDENT % (tmp_path / "TEACHER.yaml"))
    before = torch.get_num_threads()
    yield path
    torch.set_num_threads(before)


# ---------------------------------------------------------------------------- memory


def test_the_memory_of_a_student_is_measured_alone_and_with_its_teacher(student, monkeypatch):
    asked = []

    def here(measure, cfg, way, *arguments):
        asked.append(way)
        return {"peak_mib": {"student": 2.0, "teacher": 6.0, "distill": 4.0}[way]}

    monkeypatch.setattr(distillation, "in_a_new_process", here)
    arguments = ["memory", "--cfg", str(student), "--size", "64"]
    rows = list(benchmark.measure(benchmark.parse_args(arguments)))
    assert asked == ["student", "teacher", "distill"]
    assert [row["over_sum"] for row in rows] == [0.25, 0.75, 0.5]


def test_a_process_that_dies_while_its_memory_is_measured_is_one_sentence():
    with pytest.raises(ValueError, match="died, of too little .* a smaller --batch"):
        in_a_new_process(os._exit, 9)


@pytest.mark.parametrize("way", distillation.WAYS)
def test_a_teacher_adds_nothing_to_what_the_optimiser_keeps(student, way):
    row = distillation.measure_way(load_cfg(student), way, batch=1, threads=1)
    assert row["optimizer_mib"] == (0 if way == "teacher" else row["parameters_mib"])  # momentum


def test_a_student_keeps_its_share_of_another_size(student):
    cfg = benchmark.config(student, size=64)
    assert (cfg.DATA.TRAIN_CROP_SIZE, cfg.DISTILL.STUDENT_SIZE) == (64, 32)


# ---------------------------------------------------------------------------- resolution


def test_a_student_is_timed_in_three_ways_beside_its_teacher(student):
    rows = list(resolution.time_resolution(load_cfg(student), repeats=1, film=FILM))
    ways = ["teacher", "student as published", "student", "student, packed"]
    assert [row["way"] for row in rows] == ways
    assert {rows[0][f"{stage}_share"] for stage in (*resolution.STAGES, "total")} == {1}
    costs = [row["gflops"] for row in rows]
    assert costs[0] > costs[1] == costs[2] == costs[3]
    for row in rows:
        assert row["total_ms"] == pytest.approx(sum(row[f"{s}_ms"] for s in resolution.STAGES))


def test_the_published_way_halves_the_clip_of_the_teacher(student, tmp_path, monkeypatch):
    readers = {}
    monkeypatch.setattr(resolution, "_rows", lambda found, *_: readers.update(found) or ())
    list(resolution.time_resolution(load_cfg(student), 1, film=FILM))
    # The folder of the videos is gone: one of the same pictures stands for it.
    path = FILM.write(tmp_path / "0.mp4", seed=0)
    for reader in readers.values():
        reader.dataset.records = resolution.Records([str(path)], [0])
    views = {way: reader.pixels(reader.decode(0)) for way, reader in readers.items()}
    assert views["teacher"].shape == (1, 3, 2, 32, 32)
    halved = resize(views["teacher"], (2, 16, 16))
    assert torch.equal(views["student as published"], halved)
    assert views["student"].shape == halved.shape
    assert (views["student"] - halved).abs().mean() < 0.15  # smoothed, not shifted


def test_a_yaml_without_a_teacher_is_refused(student):
    cfg = load_cfg(student, ["OBJECTIVE.NAME", "classify"])
    with pytest.raises(ValueError, match="OBJECTIVE.NAME must be 'distill'"):
        list(resolution.time_resolution(cfg, 1))


# ---------------------------------------------------------------------------- tables


def test_rows_with_other_columns_are_a_table_of_their_own():
    rows = [{"network": "A", "ms": 1.0}, {"network": "B", "ms": 2.0}, {"network": "C", "mib": 3.0}]
    first, second = benchmark.tables(rows).split("\n\n")
    assert first.splitlines()[0].split() == ["network", "ms"]
    assert second.splitlines()[1].split() == ["C", "3.00"]
