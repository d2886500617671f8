"""Predictions from the command line: files, folders, lists and streams, to people and programs."""

import csv
import io
import json
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

import slowfast
from helpers.recognizers import write_network
from helpers.source import ROOT
from helpers.videos import cut, decode_all, write_grey_video
from slowfast.inference import drawing, sources
from slowfast.inference.drawing import LEAST_SIDE, names_of, sheet_of
from slowfast.inference.predictions import Prediction
from slowfast.models.flexible import Rate
from tools import predict

LABELS = tuple(f"motion {k}" for k in range(16))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path, "DATA.DECODE_SHORT_SIDE", 20, labels=LABELS)
    return path


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "b").mkdir(parents=True)
    write_grey_video(folder / "a.mp4", 8)
    write_grey_video(folder / "b/c.mp4", 12)
    return folder


def run(network, *argv):
    return predict.main([str(network), *map(str, argv), "--device", "cpu"])


# ---------------------------------------------------------------------------- what is written


def test_every_video_of_a_folder_is_named_with_its_classes(network, videos, capsys):
    assert run(network, videos, "--frames", 3, "--topk", 2) == 0
    first, second = capsys.readouterr().out.splitlines()
    found = slowfast.load(network).predict(videos / "a.mp4", 3, topk=2)
    assert first.startswith(f"{videos}/a.mp4: {found.labels[0]} {found.scores[0]:.1%}, ")
    assert "b/c.mp4: " in second and "(3 frames of 16 px at rate 4" in second


def test_json_and_csv_hold_what_predict_returns(network, videos, tmp_path, capsys):
    out = tmp_path / "new/out.json"
    assert run(network, videos / "a.mp4", "--topk", 3, "--json", out, "--csv", "-") == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    (record,) = json.loads(out.read_text())["predictions"]
    expected = slowfast.load(network).predict(videos / "a.mp4", topk=3)
    assert record["labels"] == [row[f"label_{k}"] for k in (1, 2, 3)] == list(expected.labels)
    assert record["scores"] == [float(row[f"score_{k}"]) for k in (1, 2, 3)]
    assert record["scores"] == pytest.approx(expected.scores)
    assert (record["rate"], row["rate"], row["num_frames"], row["size"]) == ("4", "4", "4", "16")
    assert record["indices"] == list(expected.indices)


def test_a_list_is_read_and_paths_are_relative_to_it(network, videos, capsys):
    (videos / "list.csv").write_text("b/c.mp4 3\na.mp4 0\n")
    assert run(network, videos / "list.csv", "--json", "-") == 0
    record = json.loads(capsys.readouterr().out)
    assert [p["name"] for p in record["predictions"]] == [f"{videos}/b/c.mp4", f"{videos}/a.mp4"]
    assert record["failures"] == []


def test_corrupt_videos_are_reported_skipped_and_told_at_the_end(network, videos, capsys):
    cut(videos / "a.mp4", videos / "torn.mp4", 0.5)
    (videos / "z.mp4").write_bytes(b"")
    missing = videos / "missing.mp4"
    assert run(network, videos, missing, "--json", "-") == 1
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert len(record["predictions"]) == 2
    names = [str(videos / name) for name in ("torn.mp4", "z.mp4", "missing.mp4")]
    assert [f["name"] for f in record["failures"]] == names
    assert "torn.mp4 is truncated" in record["failures"][0]["error"]
    assert "not read: " in err and "z.mp4 is empty (0 bytes)" in err
    assert "3 of 5 videos could not be read" in err


def test_csv_tells_failures_too(network, videos, tmp_path, capsys):
    cut(videos / "a.mp4", videos / "torn.mp4", 0.5)
    assert run(network, videos, "--topk", 1, "--csv", tmp_path / "out.csv") == 1
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    assert rows[2]["name"] == str(videos / "torn.mp4") and rows[2]["label_1"] == ""


# ---------------------------------------------------------------------------- what is asked


def test_budgets_choose_the_rate(network, videos, capsys):
    cheap = slowfast.load(network).gflops(2)
    assert run(network, videos / "a.mp4", "--max-gflops", cheap, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["rate"] == "2"


def test_a_budget_that_nothing_fits_is_said_in_one_sentence(network, videos, capsys):
    assert run(network, videos, "--max-gflops", "1e-9") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: nothing fits 1e-09 GFLOPs: the cheapest rate, 2, takes")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "give VIDEOS or --camera N"),
        (["a.mp4", "b.mp4", "--stream"], "--stream takes one file or --camera N"),
        (["a.mp4", "--frames", "many"], "invalid int value"),
    ],
)
def test_what_cannot_be_meant_is_refused(argv, words, capsys):
    with pytest.raises(SystemExit) as error:
        predict.main(["best.safetensors", *argv])
    assert error.value.code == 2 and words in capsys.readouterr().err


def test_another_file_than_a_network_is_refused(videos, capsys):
    assert run(videos / "a.mp4", videos / "a.mp4") == 2
    assert "does not say which network it is of" in capsys.readouterr().err


def test_a_missing_camera_counts_as_a_video_that_cannot_be_read(network, capsys):
    assert run(network, "--camera", 77) == 1
    assert "camera 77 cannot be opened" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['predict.py', '--help']\n"
        "import tools.{0} as tool\n"
        "try: tool.main()\n"
        "except SystemExit: pass\n"
        "heavy = {{'torch', 'numpy', 'av', 'slowfast.inference'}} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    for name in ("predict", "measure"):
        subprocess.run([sys.executable, "-c", code.format(name)], cwd=ROOT, check=True)


# ---------------------------------------------------------------------------- labelled videos


def test_a_labelled_video_has_the_frames_and_pace_of_the_original(network, videos, tmp_path):
    out = tmp_path / "labelled.mp4"
    assert run(network, videos / "a.mp4", "--video", out) == 0
    frames = decode_all(out)
    with av.open(str(out)) as container:
        assert container.streams.video[0].average_rate == 20
    assert len(frames) == 8 and frames[0].shape == (240, 320, 3)  # enlarged five times from 48x64
    greys = [frame[-40:].mean() for frame in frames]  # below the words
    originals = [frame.mean() for frame in decode_all(videos / "a.mp4")]
    assert greys == pytest.approx(originals, abs=3)
    assert frames[0][:60].max() > 200  # of the words


def test_several_labelled_videos_go_into_a_folder(network, videos, tmp_path, capsys):
    assert run(network, videos, "--video", tmp_path / "out") == 0
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.mp4")) == ["a.mp4", "c.mp4"]
    assert run(network, videos, "--video", tmp_path / "one.mp4") == 2
    assert "2 videos do not fit into one" in capsys.readouterr().err
    assert names_of(["a"], tmp_path / "x.mp4") == [tmp_path / "x.mp4"]


def test_names_that_kept_their_suffix_get_no_second_one(tmp_path):
    films = names_of(["a.mp4", "a.avi", "b"], tmp_path)
    assert [film.name for film in films] == ["a.mp4", "a.avi.mp4", "b.mp4"]
    films = names_of(["a", "a.mp4"], tmp_path)  # a folder of images and a video
    assert [film.name for film in films] == ["a.mp4", "a.mp4.mp4"]


@pytest.mark.parametrize("more", [[], ["--stream", "--window", 0.2]])
def test_a_film_is_an_mp4_or_is_refused(network, videos, tmp_path, capsys, more):
    assert run(network, videos / "a.mp4", "--video", tmp_path / "out.avi", *more) == 2
    assert "out.avi must end in .mp4, or name a folder" in capsys.readouterr().err
    (tmp_path / "folder.v2").mkdir()
    for out in (tmp_path / "folder.v2", tmp_path / "new"):
        assert run(network, videos / "a.mp4", "--video", out, *more) == 0
        assert [path.name for path in out.iterdir()] == ["a.mp4"]


def test_without_h264_the_film_is_mpeg4(monkeypatch, network, videos, tmp_path):
    monkeypatch.setattr(drawing.av, "codecs_available", {"mpeg4"})
    assert run(network, videos / "a.mp4", "--video", tmp_path / "old.mp4") == 0
    with av.open(str(tmp_path / "old.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_a_frame_that_is_damaged_spoils_the_film_but_not_the_prediction(
    network, videos, tmp_path, monkeypatch, capsys
):
    def damaged(video, prediction, path):
        raise sources.VideoError("frame 7 is damaged")

    monkeypatch.setattr(drawing, "write_labelled", damaged)
    assert run(network, videos / "a.mp4", "--video", tmp_path / "x.mp4", "--json", "-") == 1
    record = json.loads(capsys.readouterr().out)
    assert len(record["predictions"]) == len(record["failures"]) == 1
    assert not (tmp_path / "x.mp4").exists()


def test_words_fit_into_pictures_of_any_shape():
    long = Prediction("v", Rate(4), 4, 16, (), ("x" * 300, "é"), (1.7, -0.2), (0, 1), 1.0, 1.0, 1.0)
    for height, width in ((LEAST_SIDE, 40), (40, 640), (720, 1280)):
        sheet = sheet_of(long, height, width)
        assert sheet.width == width and sheet.height <= height
        assert np.asarray(sheet).max() > 0


def test_odd_sides_lose_a_row_and_a_column(tmp_path):
    found = Prediction("v", Rate(4), 4, 16, (), ("a",), (1.0,), (0,), 1.0, 1.0, 1.0)
    with drawing.new_film(tmp_path / "odd.mp4", 29.97) as film:
        film.add(np.zeros((201, 303, 3), np.uint8), found)
    assert decode_all(tmp_path / "odd.mp4")[0].shape == (200, 302, 3)


# ---------------------------------------------------------------------------- streams


def test_a_stream_prints_each_window_with_the_rate_it_chose(network, tmp_path, capsys):
    path = write_grey_video(tmp_path / "grey.mp4", 16)
    out = tmp_path / "stream.mp4"
    options = ["--window", 0.3, "--hop", 0.2, "--video", out, "--json", tmp_path / "out.json"]
    assert run(network, path, "--stream", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all("rate " in line and "load " in line for line in lines)
    record = json.loads((tmp_path / "out.json").read_text())
    assert len(record["predictions"]) == len(lines)
    assert lines[0].split("  rate")[0].strip() == record["predictions"][0]["name"]
    assert decode_all(out)[0].shape == (240, 320, 3)


def test_a_stream_that_cannot_be_played_is_reported(network, tmp_path, capsys):
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    assert run(network, tmp_path / "junk.mp4", "--stream") == 1
    assert "junk.mp4 is not a video file" in capsys.readouterr().err
    assert run(network, "--camera", 77, "--stream") == 1
    assert "camera 77 cannot be opened" in capsys.readouterr().err


def test_the_frames_of_a_stream_stay_when_asked_for(network, tmp_path, capsys):
    path = write_grey_video(tmp_path / "grey.mp4", 10)
    assert run(network, path, "--stream", "--window", 0.2, "--hop", 0.1, "--frames", 3) == 0
    assert {line.split("  ")[1] for line in _stripped(capsys.readouterr().out)} == {"3 frames"}


def _stripped(text):
    return [line.strip() for line in text.splitlines()]


def test_a_folder_of_images_is_one_video(network, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for i in range(5):
        Image.new("RGB", (24, 24), (40 * i, 0, 0)).save(tmp_path / f"frames/{i:02d}.png")
    assert run(network, tmp_path / "frames", "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 1
