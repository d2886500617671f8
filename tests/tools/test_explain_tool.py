"""The command line of explanations: what it leaves, what it says, how it exits."""

import pytest
import torch

from helpers.recognizers import write_network
from helpers.videos import cut, decode_all, write_grey_video
from slowfast.datasets import Batch
from slowfast.engine.evaluate import Evaluation, Scored
from slowfast.engine.files.outputs import ResultFiles
from tools.explain import main, parse_args

LABELS = tuple(f"kind {n}" for n in range(16))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A flexible network of 2 and 4 frames, 16 pixels."""
    path = tmp_path_factory.mktemp("net") / "best.safetensors"
    write_network(path, labels=LABELS)
    return str(path)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_grey_video(tmp_path_factory.mktemp("video") / "a.mp4", 12)


def test_cam_leaves_a_picture_and_a_video(checkpoint, video, tmp_path, capsys):
    words = ["cam", checkpoint, str(video), "--out", str(tmp_path), "--class", "kind 3"]
    assert main([*words, "--video"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cam.mp4", "a.cam.png"]
    assert len(decode_all(tmp_path / "a.cam.mp4")) == 12
    said = capsys.readouterr()
    assert f"wrote {tmp_path}/a.cam.png" in said.out
    assert "the last map has only 2 x 2 places" in said.err


def test_without_a_command_a_class_is_explained():
    args = parse_args(["best.safetensors", "clip.mp4"])
    assert (args.command, args.checkpoint, args.videos) == (
        *("cam", "best.safetensors", ["clip.mp4"]),
    )


def test_frames_leaves_a_timeline_of_any_rates(checkpoint, video, tmp_path):
    words = ["frames", checkpoint, str(video), "--out", str(tmp_path), "--frames", "1", "5", "20"]
    assert main(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.frames.png"]


def test_a_corrupt_video_is_named_and_the_others_are_explained(checkpoint, video, tmp_path, capsys):
    broken = cut(video, tmp_path / "broken.mp4", 0.3)
    words = ["cam", checkpoint, str(broken), str(video), "--out", str(tmp_path / "out")]
    assert main([*words, "--frames", "2"]) == 1
    assert f"not read: {broken} is truncated" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.cam.png"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--class", "kind x"], "no class 'kind x' among 16; did you mean kind"),
        (["--layer", "stage"], "no layer 'stage' in R2Plus1D; there are stages"),
        (["--layer", "projection"], "layer 'projection' gives no map of places"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(checkpoint, video, tmp_path, capsys, words, error):
    assert main(["cam", checkpoint, str(video), "--out", str(tmp_path), *words]) == 2
    assert error in capsys.readouterr().err


@pytest.fixture
def tested(tmp_path):
    """The folder of a run with the results of a test of three videos at 2 and 4 frames."""
    results = tmp_path / "run/results"
    results.mkdir(parents=True)
    files = ResultFiles(results, ["left", "right"])
    batch = Batch((), torch.tensor([0, 1, 1]), torch.arange(3), paths=("a", "b", "c"))
    low, high = [[0.9, 0.1]] * 3, [[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    files.add(Scored(batch, {2: torch.tensor(low), 4: torch.tensor(high)}))
    files.finish(Evaluation())
    return tmp_path / "run"


def test_changes_reads_what_a_test_wrote(tested, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["changes", str(tested), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "3 videos; 33.3 % have the same class at 2 and 4 frames" in said
    assert "right at 2 and wrong at 4 frames: 1; wrong at 2 and right at 4 frames: 1" in said
    names = ["changes.csv", "changes.md", "changes.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert "| b | 1 | 0 (0.90) | 1 (0.70) |" in (out / "changes.md").read_text()


@pytest.mark.parametrize("given", ["", "results", "results/predictions.csv"])
def test_changes_lie_beside_the_predictions_that_they_are_of(tested, given):
    assert main(["changes", str(tested / given)]) == 0
    assert (tested / "results/changes.md").is_file()
    assert not (tested.parent / "changes.md").exists() and not (tested / "changes.md").exists()


def test_changes_of_something_else_is_refused(tmp_path, capsys):
    assert main(["changes", str(tmp_path)]) == 2
    assert "is a folder without results/predictions.csv" in capsys.readouterr().err
