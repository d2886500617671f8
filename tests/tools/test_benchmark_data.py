"""The rows of the data benchmark on tiny videos; no test measures time."""

import pytest
import torch

from slowfast.datasets import open_video
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.sampling import DenseSampling
from slowfast.datasets.transforms import UniformCrops
from slowfast.engine.benchmark import data
from slowfast.engine.benchmark.film import Film
from tools import benchmark

TINY = Film(seconds=2, height=64, width=80, fps=10)


@pytest.fixture
def paths(tmp_path):
    return [TINY.write(tmp_path / f"{i}.mp4", seed=i) for i in range(2)]


@pytest.fixture
def tiny(monkeypatch):
    """The command line on tiny videos."""
    monkeypatch.setattr(data, "Film", lambda: TINY)
    monkeypatch.setattr(data, "DRAWS", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_goal_has_a_row_that_says_whether_it_is_met(tiny, capsys):
    benchmark.main(["data", "--repeats", "1", "--videos", "8"])
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert head == "data: cpu, 1 threads"
    assert columns.split() == ["what", "other", "ours", "theirs", "ratio", "goal", "met"]
    assert all(row.endswith(("yes", "NO")) for row in rows)
    kinds = [row.split()[0] for row in rows]
    assert kinds == ["test"] * 4 + ["decode", "read"] * 8 + ["train"] * 2 + ["memory"]
    assert {row.split("  ")[0].split(", ", 1)[1] for row in rows if row.startswith("decode")} == {
        f"{name}, {kind}" for name in ("nested", "independent") for kind in ("segments", "dense")
    }


@pytest.mark.parametrize(
    ("ratio", "goal", "met"),
    [
        (15.1, {"at_least": 15}, "yes"),
        (14.9, {"at_least": 15}, "NO"),
        (1.04, {"at_most": 1.05}, "yes"),
        (1.06, {"at_most": 1.05}, "NO"),
    ],
)
def test_a_goal_is_met_or_not(ratio, goal, met):
    assert data._row("a", "b", 1.0, 2.0, ratio, **goal)["met"] == met


def test_the_straightforward_way_shows_the_same_views(paths):
    dataset = data._dataset(paths, DenseSampling((2, 4), 8, num_clips=2), UniformCrops(64, 3))
    for ours, other in zip(dataset[1].clips, data.straightforward(dataset, 1), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=0)


def test_ways_that_show_other_pictures_are_not_timed(paths, monkeypatch):
    dataset = data._dataset(paths, DenseSampling((2,), 8), UniformCrops(64))
    data._check_equal(dataset)
    right = VideoDataset.__getitem__
    swapped = lambda self, index: right(self, 1 - index)  # noqa: E731
    monkeypatch.setattr(VideoDataset, "__getitem__", swapped)
    with pytest.raises(ValueError, match="the two ways differ"):
        data._check_equal(dataset)


def test_films_have_the_stated_size_and_differ_by_seed(paths):
    with open_video(paths[0]) as one, open_video(paths[1]) as two:
        assert one.num_frames == two.num_frames == 20
        assert one.size == two.size == (64, 80)
        assert not torch.equal(one.frames([3]), two.frames([3]))
