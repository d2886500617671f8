"""What users do by mistake ends in one sentence, and nothing of theirs is replaced or lost."""

import json
import os

import pytest

from helpers.recognizers import write_network
from helpers.videos import decode_all, write_grey_video
from slowfast import command_line
from slowfast.inference import stream
from tools import convert_weights, explain, export, features, measure, predict

NOWHERE = [  # none of these inputs can be read, which is told instead if it is tried
    (predict, "none.safetensors clip.mp4 --csv {place}/out.csv"),
    (predict, "none.safetensors clip.mp4 --json {place}/new/out.json"),
    (predict, "none.safetensors clip.mp4 --stream --csv {place}/out.csv"),
    (predict, "none.safetensors clip.mp4 --video {place}/out.mp4"),
    (predict, "none.safetensors clip.mp4 --video {place}"),
    (features, "none.safetensors clip.mp4 --out {place}"),
    (explain, "cam none.safetensors clip.mp4 --out {place}/new"),
    (explain, "frames none.safetensors clip.mp4 --out {place}"),
    (explain, "changes empty.csv --out {place}"),
    (export, "none.safetensors --out {place}/new"),
    (export, "none.safetensors --out {place} --overwrite"),
    (convert_weights, "none.pyth --cfg none.yaml --out {place}/new/out.pyth"),
]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path)
    return str(path)


@pytest.fixture
def video(tmp_path):
    return write_grey_video(tmp_path / "clip.mp4", 8)


@pytest.mark.parametrize("more", [[], ["--stream", "--window", "0.2"]])
def test_a_labelled_film_never_replaces_its_video(network, video, capsys, more):
    before = video.read_bytes()
    assert predict.main([network, str(video), "--video", str(video), *more]) == 2
    assert "is a video to be read" in capsys.readouterr().err
    assert video.read_bytes() == before


def test_films_in_the_folder_of_their_videos_are_refused(network, video, capsys):
    write_grey_video(video.with_name("other.mp4"), 4)
    assert predict.main([network, str(video.parent), "--video", str(video.parent)]) == 2
    assert "is a video to be read" in capsys.readouterr().err


def test_json_and_csv_need_files_of_their_own(network, video, tmp_path, capsys):
    for options in (["--json", "-", "--csv", "-"], ["--csv", str(tmp_path)]):
        with pytest.raises(SystemExit):
            predict.main([network, str(video), *options])
    assert "is a folder; name a file" in capsys.readouterr().err


@pytest.fixture
def places(tmp_path, monkeypatch):
    """In the working directory, the file `taken` and the folder `locked` that nobody writes to."""
    monkeypatch.chdir(tmp_path)
    for name in ("taken", "empty.csv"):
        (tmp_path / name).touch()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(command_line.os, "access", lambda path, mode: str(path) != "locked")


@pytest.mark.parametrize(("tool", "words"), NOWHERE)
def test_a_file_in_place_of_a_folder_is_told_before_all_work(tool, words, places, capsys):
    assert tool.main(words.format(place="taken").split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --") and said.count("\n") == 1
    assert ": taken is a file where a folder is needed; name another place" in said


@pytest.mark.parametrize(("tool", "words"), NOWHERE)
def test_a_protected_folder_is_told_before_all_work(tool, words, places, capsys):
    assert tool.main(words.format(place="locked").split()) == 2
    assert ": locked cannot be written to; name another place" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_a_protected_file_is_told_before_all_work(option, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    out.write_text("of before")
    monkeypatch.setattr(command_line.os, "access", lambda path, mode: path != out)
    assert predict.main(["none.safetensors", "clip.mp4", option, str(out)]) == 2
    assert f"{option}: {out} cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_one_sentence(network, video, capsys, device):
    assert predict.main([network, str(video), "--device", device]) == 2
    assert capsys.readouterr().err.startswith(f"error: device {device!r} cannot be used: ")


def test_results_of_before_survive_a_command_that_did_nothing(network, video, tmp_path):
    out = tmp_path / "out.json"
    assert predict.main([network, str(video), "--json", str(out)]) == 0
    before = out.read_text()
    assert predict.main([network, str(video), "--json", str(out), "--max-gflops", "1e-9"]) == 2
    assert out.read_text() == before


def test_a_name_that_is_no_text_is_written_as_it_is(network, video, tmp_path, capsysbinary):
    strange = tmp_path / os.fsdecode(b"b\xff\xe9.mp4")
    video.rename(strange)
    assert predict.main([network, str(strange), "--csv", str(tmp_path / "out.csv")]) == 0
    assert b"b\xff\xe9.mp4," in (tmp_path / "out.csv").read_bytes()
    assert b"b\xff\xe9.mp4: " in capsysbinary.readouterr().out


def test_ctrl_c_keeps_what_was_filmed_of_a_stream(network, video, tmp_path, monkeypatch):
    whole = stream.watch

    def interrupted(*args):
        yield next(iter(whole(*args)))
        raise KeyboardInterrupt

    monkeypatch.setattr(stream, "watch", interrupted)
    out = tmp_path / "film.mp4"
    assert predict.main([network, str(video), "--stream", "--video", str(out)]) == 0
    assert len(decode_all(out)) == 8


def test_ctrl_c_keeps_the_predictions_and_ends_in_a_word(
    network, video, tmp_path, monkeypatch, capsys
):
    one = predict.one

    def interrupted(model, source, args, film):
        yield from one(model, source, args, film)
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "one", interrupted)
    out = tmp_path / "out.json"
    assert predict.main([network, str(video), "--json", str(out)]) == 130
    assert len(json.loads(out.read_text())["predictions"]) == 1
    assert capsys.readouterr().err.endswith("stopped\n")


@pytest.mark.parametrize("tool", [features, explain])
@pytest.mark.parametrize("option", [("--frames", "0"), ("--size", "-3")])
def test_no_frames_or_pixels_are_refused(tool, option, network, video, tmp_path, capsys):
    assert tool.main([network, str(video), "--out", str(tmp_path / "out"), *option]) == 2
    assert f"{' '.join(option)} must be 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_features_of_another_video_of_the_same_name_are_not_taken_for_its_own(
    kind, network, video, tmp_path, capsys
):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "b").mkdir()
    other = write_grey_video(tmp_path / "b/clip.mp4", 20)
    out = ["--out", str(tmp_path / "out"), "--format", kind]
    assert features.main([network, str(video), *out]) == 0
    assert features.main([network, str(other), *out]) == 2
    assert "has another video called 'clip'" in capsys.readouterr().err
    assert features.main([network, str(video), *out]) == 0


def test_a_file_that_cannot_be_written_is_told_before_measuring(network, monkeypatch, capsys):
    monkeypatch.setattr(measure.os, "access", lambda path, mode: False)
    assert measure.main([network]) == 2
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--clips", "0"), ("--seconds", "nan"), ("--seconds", "-1")])
def test_measuring_nothing_is_refused(option, network, capsys):
    with pytest.raises(SystemExit):
        measure.main([network, *option])
    assert f"{option[0]} must be" in capsys.readouterr().err


def test_a_negative_number_of_threads_is_refused(network, video, capsys):
    assert predict.main([network, str(video), "--threads", "-2"]) == 2
    assert "--threads -2 must be" in capsys.readouterr().err
