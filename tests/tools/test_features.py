"""The command line of features: what it leaves, what it says, how it exits, how it goes on."""

import json

import numpy as np
import pytest
import torch

import slowfast
from helpers.recognizers import write_network
from helpers.videos import cut, write_grey_video
from slowfast.datasets.video import open_video
from tools.features import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A flexible network of 2 and 4 frames, 16 pixels."""
    path = tmp_path_factory.mktemp("net") / "best.safetensors"
    write_network(path)
    return str(path)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of 40 frames, and a third in a folder of its own."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    for name in ("a.mp4", "b.mp4", "more/c.mp4"):
        write_grey_video(folder / name)
    return folder


def test_features_of_a_folder_lie_under_the_names_of_its_videos(
    checkpoint, videos, tmp_path, capsys
):
    out = tmp_path / "out"
    words = [checkpoint, str(videos), "--out", str(out), "--window", "16", "--stride", "8"]
    assert main(words) == 0
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.npy"))
    assert files == [f"frames_{t}/{name}.npy" for t in (2, 4) for name in ("a", "b", "more/c")]
    found = np.load(out / "frames_4/more/c.npy")
    assert found.shape == (4, 8) and found.dtype == np.float32
    about = json.loads((out / "frames_4/more/c.json").read_text())
    assert (about["fps"], about["window"], about["stride"]) == (20, 16, 8)
    assert "3 videos done, 0 were there already, 0 cannot be read" in capsys.readouterr().out


def test_a_window_is_the_clip_that_the_network_sees_of_these_frames(checkpoint, videos, tmp_path):
    out = tmp_path / "out"
    main([checkpoint, str(videos / "a.mp4"), "--out", str(out), "--window", "16", "--stride", "8"])
    model = slowfast.load(checkpoint)
    part = open_video(videos / "a.mp4").frames(range(8, 24)).numpy()
    with torch.no_grad():
        _, features = model.net(model.read(part, 4).tensor, "map")
    found = np.load(out / "frames_4/a.npy")[1]
    np.testing.assert_allclose(found, features.mean((2, 3, 4))[0], rtol=1e-3, atol=1e-4)


def test_what_is_there_is_not_made_again_and_new_rates_are_added(
    checkpoint, videos, tmp_path, capsys
):
    words = [checkpoint, str(videos / "a.mp4"), "--out", str(tmp_path)]
    main([*words, "--frames", "3"])
    before = (tmp_path / "frames_3/a.npy").stat().st_mtime_ns
    assert main([*words, "--frames", "3", "1"]) == 0
    assert (tmp_path / "frames_3/a.npy").stat().st_mtime_ns == before
    assert (tmp_path / "frames_1/a.npy").exists()
    capsys.readouterr()
    assert main([*words, "--frames", "3", "1"]) == 0
    assert "0 videos done, 1 were there already" in capsys.readouterr().out


def test_a_corrupt_video_is_named_skipped_and_makes_the_exit_code_1(
    checkpoint, videos, tmp_path, capsys
):
    broken = cut(videos / "a.mp4", tmp_path / "broken.mp4", 0.3)
    inputs = [str(broken), str(tmp_path / "gone.mp4"), str(videos / "b.mp4")]
    assert main([checkpoint, *inputs, "--out", str(tmp_path / "out"), "--frames", "2"]) == 1
    said = capsys.readouterr()
    assert "1 videos done, 0 were there already, 2 cannot be read" in said.out
    assert f"not read: {broken} is truncated" in said.err
    assert "gone.mp4 does not exist" in said.err
    assert [path.name for path in (tmp_path / "out/frames_2").glob("*.npy")] == ["b.npy"]


def test_whole_videos_and_places_have_their_own_shapes(checkpoint, videos, tmp_path):
    words = [checkpoint, str(videos / "a.mp4"), "--frames", "4"]
    main([*words, "--out", str(tmp_path / "whole"), "--whole", "--layer", "head"])
    main([*words, "--out", str(tmp_path / "places"), "--spatial", "--window", "20"])
    assert np.load(tmp_path / "whole/frames_4/a.npy").shape == (8,)
    assert np.load(tmp_path / "places/frames_4/a.npy").shape == (3, 8, 2, 2)


def test_a_table_is_made_of_all_videos(checkpoint, videos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    words = [str(videos), "--out", str(tmp_path), "--frames", "2", "--format", "parquet"]
    assert main([checkpoint, *words]) == 0
    table = parquet.read_table(tmp_path / "frames_2.parquet")
    assert sorted(set(table["video"].to_pylist())) == ["a", "b", "more/c"]
    assert len(table["feature"][0].as_py()) == 8 and not (tmp_path / "frames_2").exists()


def test_what_a_user_can_mend_is_one_sentence_and_exit_code_2(checkpoint, videos, tmp_path, capsys):
    words = [str(videos), "--out", str(tmp_path)]
    assert main([checkpoint, *words, "--layer", "head", "--spatial"]) == 2
    assert "error: the head takes pooled features" in capsys.readouterr().err
    assert main([str(tmp_path / "none.safetensors"), *words]) == 2
    assert "none.safetensors: no such file" in capsys.readouterr().err
    main([checkpoint, str(videos / "a.mp4"), "--out", str(tmp_path / "out")])
    assert main([checkpoint, *words[:1], "--out", str(tmp_path / "out"), "--window", "9"]) == 2
    told = f"the features in {tmp_path / 'out'} were made with the usual window, not with window 9"
    assert told in capsys.readouterr().err
