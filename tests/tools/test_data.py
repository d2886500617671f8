"""The command line around data sets: what it prints, what it leaves, how it exits."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from helpers.miniatures import Videos, class_folders, ssv2
from slowfast.config import load_cfg
from slowfast.engine import run
from tools.data import first_batch, label_text, main


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two classes of ten videos, with a configuration."""
    folder = tmp_path_factory.mktemp("mine")
    class_folders(folder, Videos(tmp_path_factory.mktemp("source")), per_class=10)
    assert main(["init", str(folder)]) == 0
    return folder


@pytest.fixture
def mine(source, tmp_path):
    """A copy of it to change."""
    shutil.copytree(source, tmp_path / "mine")
    config = tmp_path / "mine/config.yaml"
    config.write_text(config.read_text().replace(str(source), str(tmp_path / "mine")))
    return tmp_path / "mine"


def test_what_init_writes_trains_and_tests_on_the_cpu(mine, tmp_path):
    overrides = ["SOLVER.MAX_EPOCH", 2, "NUM_GPUS", 0, "OUTPUT_DIR", str(tmp_path / "run")]
    small = ["R2PLUS1D.WIDTHS", [4, 8, 8], "DATA_LOADER.NUM_WORKERS", 0]
    record = run(load_cfg(mine / "config.yaml", overrides + small))
    assert record["coverage"]["read"] == 4 and record["classes"] == ["Opening a door", "closing"]
    assert set(record["by_frames"]) == {"4", "8", "16"}


def test_the_commands_that_init_prints_can_be_copied(source, tmp_path, capsys):
    videos = shutil.ignore_patterns("*.csv", "*.txt", "*.yaml")
    shutil.copytree(source, tmp_path / "my videos", ignore=videos)
    assert main(["init", str(tmp_path / "my videos")]) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [shlex.split(line)[-1] for line in lines] == [f"{tmp_path}/my videos/config.yaml"] * 2


def test_a_second_init_is_refused_in_one_sentence(mine, capsys):
    assert main(["init", str(mine)]) == 2
    assert capsys.readouterr().err == (
        f"error: {mine}/train.csv is there already; remove it to start anew\n"
    )


def test_a_good_data_set_checks_with_0_and_a_broken_one_with_1(mine, capsys):
    config = str(mine / "config.yaml")
    assert main(["check", config, "--workers", "1"]) == 0
    assert "train: 16 of 16 videos can be read (100.0 %)" in capsys.readouterr().out
    (mine / "closing/clip 1.mp4").write_bytes(b"broken")
    assert main(["check", config, "--workers", "2", "--quick"]) == 1
    out = capsys.readouterr().out
    assert "to mend:" in out and "closing/clip 1.mp4 is not a video file" in out
    lines = map(json.loads, (mine / "manifest.jsonl").read_text().splitlines())
    assert [line["name"] for line in lines if not line["ok"]] == ["closing/clip 1.mp4"]


def test_a_manifest_may_go_elsewhere(mine, tmp_path):
    config = str(mine / "config.yaml")
    assert main(["check", config, "--out", str(tmp_path / "m.jsonl"), "DATA.MANIFEST", ""]) == 0
    assert (tmp_path / "m.jsonl").exists() and not (mine / "manifest.jsonl").exists()
    assert main(["check", config, "DATA.MANIFEST", ""]) == 2


def test_packing_says_what_it_saved_and_what_it_could_not_pack(mine, tmp_path, capsys):
    config, out = str(mine / "config.yaml"), tmp_path / "my copies"
    options = ["--out", str(out), "--short-side", "16", "--workers", "1"]
    (mine / "closing/clip 2.mp4").unlink()
    assert main(["pack", config, *options]) == 1
    text = capsys.readouterr().out
    assert "19 of 20 videos" in text and "closing/clip 2.mp4 does not exist" in text
    words = ["DATA.PATH_TO_DATA_DIR", str(out), "DATA.PATH_PREFIX", ""]
    assert shlex.split(text.splitlines()[-1]) == words
    assert main(["check", config, "DATA.PATH_TO_DATA_DIR", str(out), "--workers", "1"]) == 1
    assert "sizes 20x16" in capsys.readouterr().out


def test_a_list_of_the_published_files_names_the_keys_to_set(tmp_path, capsys):
    ssv2(tmp_path, Videos(tmp_path))
    (tmp_path / "20bn-something-something-v2/1.webm").unlink()
    out = tmp_path / "lists"
    assert main(["lists", "ssv2", "--annotations", str(tmp_path), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"{out}/train.csv: 5 of 6 videos are there (83.3 %)" in text
    assert f"MODEL.NUM_CLASSES 3 DATA.PATH_TO_DATA_DIR {out} DATA.PATH_PREFIX {tmp_path}" in text


def test_an_unknown_data_set_names_its_neighbours(tmp_path, capsys):
    assert main(["lists", "ssv3", "--annotations", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "did you mean 'ssv" in capsys.readouterr().err


def test_overrides_may_stand_before_and_behind_options(mine, tmp_path):
    out = tmp_path / "sheet.png"
    words = ["show", str(mine / "config.yaml"), "RNG_SEED", "3", "--out", str(out)]
    assert main([*words, "DATA.TEST_CROP_SIZE", "32"]) == 0
    with pytest.raises(SystemExit):
        main([*words, "--wrong", "DATA.TEST_CROP_SIZE", "32"])
    with pytest.raises(SystemExit):
        main(["init", str(mine), "RNG_SEED", "3"])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_sheet_shows_as_many_videos_as_asked_for(mine, tmp_path, split):
    heights = []
    for videos in ("1", "3"):
        out = tmp_path / f"{videos}.png"
        words = ["show", str(mine / "config.yaml"), "--split", split, "--videos", videos]
        assert main([*words, "--out", str(out)]) == 0
        heights.append(imread(out).shape[0])
    assert 2 * heights[0] < heights[1] < 3 * heights[0]


@pytest.mark.parametrize("videos", ["0", "-2"])
def test_a_sheet_of_no_videos_is_refused(mine, videos, tmp_path, capsys):
    words = ["show", str(mine / "config.yaml"), "--out", str(tmp_path / "sheet.png")]
    assert main([*words, "--videos", videos]) == 2
    assert f"--videos {videos} must be 1 or more" in capsys.readouterr().err


def test_videos_that_cannot_be_shown_are_named(mine, tmp_path, capsys):
    (mine / "Opening a door/clip 0.mp4").write_bytes(b"x")
    first = (mine / "val.csv").read_text().splitlines()[0].rpartition(" ")[0]
    (mine / first).write_bytes(b"x")
    words = ["show", str(mine / "config.yaml"), "--split", "val", "--videos", "2"]
    assert main([*words, "--out", str(tmp_path / "s.png")]) == 0
    assert f"not shown: {mine}/{first} is not a video file" in capsys.readouterr().out
    assert main([*words[:-1], "1", "--out", str(tmp_path / "s.png")]) == 2
    assert "none of the first videos can be read" in capsys.readouterr().err


@pytest.mark.parametrize("bgr", [False, True])
def test_what_is_shown_is_what_the_network_gets(mine, bgr):
    overrides = ["DATA.REVERSE_INPUT_CHANNEL", bgr, "DATA.MEAN", [0.1, 0.2, 0.3]]
    batch, normalize = first_batch(load_cfg(mine / "config.yaml", overrides), "val", 2, 0)
    pixels = normalize.pixels(batch.clips[0][0])
    assert pixels.dtype == torch.uint8 and pixels.shape == (4, 64, 64, 3)
    again = normalize(pixels.permute(0, 3, 1, 2))
    torch.testing.assert_close(again, batch.clips[0][0])


def test_mixed_samples_are_shown_mixed(mine):
    cfg = load_cfg(mine / "config.yaml", ["MIXUP.ENABLE", True])
    batch, _ = first_batch(cfg, "train", 4, 0)
    assert batch.labels.shape == (4, 2) and np.allclose(batch.labels.sum(1), 1)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (torch.tensor(1), "walk"),
        (torch.tensor(7), "class 7"),
        (torch.tensor([1.0, 0.0, 1.0]), "run, class 2"),
        (torch.tensor([0.0, 0.0, 0.0]), "no class"),
        (torch.tensor([0.28, 0.70, 0.02]), "0.70 walk + 0.28 run"),
    ],
)
def test_labels_are_written_with_their_weights_if_they_have_such(label, text):
    assert label_text(label, ["run", "walk"]) == text
