"""How many unreadable videos are too many, and what is said of them."""

import csv
from pathlib import Path

import pytest
import torch

from helpers.processes import run_processes
from slowfast.datasets import Failure
from slowfast.engine.files.failures import Failures
from slowfast.engine.processes.world import World


def some(count: int, start: int = 0) -> list[Failure]:
    return [Failure(i, f"{i}.mp4", f"{i}.mp4 is empty") for i in range(start, start + count)]


@pytest.mark.parametrize(("limit", "allowed"), [(0.1, 2), (0.5, 10), (0, 0), (1, 1), (7, 7)])
def test_a_limit_is_a_share_of_the_list_below_1_and_a_number_from_1_on(tmp_path, limit, allowed):
    failures = Failures(20, limit, tmp_path / "failures.csv", [])
    failures.add(some(allowed))
    failures.check(allowed, World())
    assert len(failures) == allowed and not (tmp_path / "failures.csv").exists()
    failures.add(some(1, allowed))
    with pytest.raises(ValueError, match=f"{allowed + 1} of 20 .* DATA.MAX_FAILURES={limit:g} "):
        failures.check(allowed + 1, World())


def test_the_error_lists_the_videos_and_the_file_all_of_them(tmp_path):
    failures = Failures(100, 0.1, tmp_path / "failures.csv", [])
    failures.add(some(25))
    with pytest.raises(ValueError) as caught:
        failures.check(25, World())
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:21]] == [f"{i}.mp4" for i in range(20)]
    assert lines[21] == f"  ... and 5 more in {tmp_path}/failures.csv"
    with open(tmp_path / "failures.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["index", "path", "error"] and len(rows) == 26
    assert rows[-1] == ["24", "24.mp4", "24.mp4 is empty"]


def process_of(world: World, folder: str) -> str:
    failures = Failures(20, 0.1, Path(folder) / "failures.csv", some(2, 2 * world.rank))
    try:
        failures.check(float(world.sum(torch.tensor(float(len(failures))))), world)
    except ValueError as error:
        return str(error)
    return ""


def test_the_limit_counts_the_failures_of_all_processes(tmp_path):
    errors = run_processes(process_of, 2, str(tmp_path))
    assert errors[0] == errors[1]
    assert errors[0].startswith("4 of 20 ") and "3.mp4 is empty" in errors[0]
    assert len((tmp_path / "failures.csv").read_text().splitlines()) == 5
