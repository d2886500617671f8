"""Export from the command line, and the script that uses what it made."""

import ast
import importlib.util
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import slowfast  # noqa: E402
from helpers.recognizers import write_network  # noqa: E402
from helpers.source import ROOT  # noqa: E402
from helpers.videos import textured_frames, write_video  # noqa: E402
from slowfast.inference.export import Session, optional  # noqa: E402
from slowfast.inference.precision import is_native  # noqa: E402
from slowfast.models.flexible import Rate  # noqa: E402
from tools import export  # noqa: E402

LABELS = tuple(f"motion {k}" for k in range(16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, three videos and their list."""
    folder = tmp_path_factory.mktemp("export")
    write_network(folder / "best.safetensors", labels=LABELS)
    for i in range(3):
        write_video(folder / f"{i}.mp4", textured_frames(20, 40, 64, seed=i))
    (folder / "list.csv").write_text("0.mp4 0\n1.mp4 5\n2.mp4 3\n")
    return folder


@pytest.fixture(scope="module")
def said(folder):
    """What an export of everything printed."""
    command = [sys.executable, ROOT / "tools/export.py", folder / "best.safetensors"]
    videos = ["--list", folder / "list.csv", "--calibrate", folder / "list.csv"]
    out = ["--out", folder / "out", "--formats", "onnx", "program", "bundle", "--repeats", "2"]
    return subprocess.run([*command, *out, *videos], capture_output=True, text=True, check=True)


def rates_of(folder):
    return slowfast.load(folder / "best.safetensors").rates


def run(folder, *argv):
    export.run(export.parse_args([str(folder / "best.safetensors"), *map(str, argv)]))


def test_every_rate_has_its_files_and_rows(folder, said):
    rates = rates_of(folder)
    kinds = ("model_{}.onnx", "model_{}.int8.onnx", "model_{}.pt2")
    expected = {kind.format(rate) for rate in rates for kind in kinds} | {"bundle.zip"}
    assert {path.name for path in (folder / "out").iterdir()} == expected
    lines = said.stdout.splitlines()
    assert lines[1].split() == ["rate", "form", "MB", "error", "ms", "CPU", "ms", "faster", "top-1"]
    rounded = ["folded bf16"] if is_native("bf16", torch.device("cpu")) else []
    forms = ["eager", "folded", *rounded, "ONNX Runtime", "int8"]
    rows = lines[2 : 2 + len(forms) * len(rates)]
    assert [row.split()[0] for row in rows] == [str(rate) for rate in rates for _ in forms]
    assert [row[6:20].strip().split("  ")[0] for row in rows[: len(forms)]] == forms


def test_nothing_but_progress_is_told_on_the_way(folder, said):
    lines = said.stderr.splitlines()
    assert all(line.startswith("rate ") for line in lines)
    assert [line for line in lines if line.endswith("tracing")] == [
        f"rate {rate}: tracing" for rate in rates_of(folder)
    ]


def test_the_script_gives_the_scores_of_predict(folder, said):
    model = slowfast.load(folder / "best.safetensors")
    for i, rate in enumerate(rates_of(folder)):
        found = model.predict(folder / f"{i}.mp4", frames=rate.num_frames)
        command = [sys.executable, ROOT / "tools/run_bundle.py", folder / "out/bundle.zip"]
        script = subprocess.run(
            [*command, folder / f"{i}.mp4", str(rate)], capture_output=True, text=True, check=True
        )
        pairs = [ast.literal_eval(line) for line in script.stdout.splitlines()]
        assert pairs[0][0] == found.labels[0]
        np.testing.assert_allclose([score for _, score in pairs], found.scores, atol=1e-3)


@pytest.mark.parametrize("words", [[], ["bundle.zip"], ["bundle.zip", "a.mp4", "8", "more"]])
def test_the_script_says_how_it_is_called(words):
    command = [sys.executable, ROOT / "tools/run_bundle.py", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and not done.stdout
    usage = (
        "Top classes of a video by a bundle of export.py:  python run_bundle.py BUNDLE VIDEO [RATE]"
    )
    assert done.stderr == usage + "\n"


def test_a_program_gives_the_logits_of_its_rate(folder, said):
    model = slowfast.load(folder / "best.safetensors")
    rate = rates_of(folder)[0]
    program = torch.export.load(folder / f"out/model_{rate}.pt2").module()
    clip = model.read(folder / "0.mp4", rate.num_frames).tensor
    logits, scores = program(clip)
    torch.testing.assert_close(logits, model(clip), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores[0], model.scores(model.read(folder / "0.mp4", rate[0])))


def test_the_bundle_says_how_to_read_and_what_the_classes_are(folder, said):
    with zipfile.ZipFile(folder / "out/bundle.zip") as file:
        about = json.loads(file.read("bundle.json"))
        assert set(file.namelist()) == {"bundle.json"} | {
            rate["file"] for rate in about["rates"].values()
        }
    assert about["labels"] == list(LABELS)
    assert list(about["rates"]) == [str(rate) for rate in rates_of(folder)]


def test_a_network_of_several_sizes_takes_clips_of_the_size_of_testing(folder, tmp_path):
    sizes = {"FFN.SIZES": [16, 24], "DATA.TRAIN_CROP_SIZE": 24, "DATA.TEST_CROP_SIZE": 24}
    sizes["DATA.TRAIN_JITTER_SCALES"] = [24, 28]
    write_network(tmp_path / "best.safetensors", *(v for pair in sizes.items() for v in pair))
    model, rate = slowfast.load(tmp_path / "best.safetensors"), Rate(2, 16)
    assert rate in model.rates
    run(tmp_path, "--out", tmp_path / "out", "--rates", "2x16", "--repeats", 1)
    clip = model.read(folder / "0.mp4", 2)
    assert clip.tensor.shape[-1] == 24
    expected = model.scores(model.read(folder / "0.mp4", 2, size=16)).numpy()
    logits = Session(tmp_path / "out/model_2x16.onnx")(clip.tensor.numpy())
    found = torch.from_numpy(logits).softmax(1)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


# ---------------------------------------------------------------------------- what is refused


def test_a_file_of_before_is_not_replaced(folder, said):
    before = (folder / "out/bundle.zip").read_bytes()
    with pytest.raises(ValueError, match="exists already; add --overwrite"):
        run(folder, "--out", folder / "out", "--formats", "bundle")
    assert (folder / "out/bundle.zip").read_bytes() == before


def test_a_rate_that_was_not_trained_is_refused_with_those_that_were(folder, tmp_path):
    known = ", ".join(map(str, rates_of(folder)))
    with pytest.raises(ValueError, match=f"no rate '5'; this network has {known}"):
        run(folder, "--out", tmp_path, "--rates", 5)


def test_a_list_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="--list .*none.csv does not exist"):
        run(folder, "--out", tmp_path, "--list", tmp_path / "none.csv")


def test_videos_that_cannot_be_read_are_left_out_of_calibration_and_told_once(
    folder, tmp_path, capsys
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = [tmp_path / "broken.mp4", folder / "0.mp4", tmp_path / "gone.mp4", folder / "1.mp4"]
    rates = rates_of(folder)
    assert len(rates) > 1
    words = ["--formats", "onnx", "--repeats", 1]
    run(folder, "--out", tmp_path / "out", *words, "--calibrate", *videos)
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "not read" in line]
    assert len(told) == 2 and "broken.mp4 is not a video" in told[0] and "gone.mp4" in told[1]
    assert lines.count("2 of 4 videos are left out of the calibration") == 1
    run(folder, "--out", tmp_path / "good", *words, "--calibrate", videos[1], videos[3])
    for rate in rates:
        made, good = (tmp_path / name / f"model_{rate}.int8.onnx" for name in ("out", "good"))
        clip = slowfast.load(folder / "best.safetensors").read(folder / "2.mp4", rate[0]).tensor
        np.testing.assert_array_equal(Session(made)(clip.numpy()), Session(good)(clip.numpy()))


def test_calibration_needs_a_video_that_can_be_read_and_else_leaves_no_files(
    folder, tmp_path, capsys
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="none of the 1 videos to calibrate 8 bits with can be"):
        run(folder, "--out", tmp_path / "out", "--calibrate", tmp_path / "broken.mp4")
    assert list((tmp_path / "out").iterdir()) == []
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "not read" in line)
    assert "broken.mp4 is not a video" in line


def test_missing_packages_are_named_with_the_extra_that_brings_them(folder, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(optional, "find_spec", lambda name: name != "onnx" and find(name))
    with pytest.raises(ValueError, match=r"onnx must be installed.*slowfast-ffn\[onnx\]"):
        run(folder, "--out", tmp_path)


@pytest.mark.parametrize("argv", [["--repeats", "0"], ["--small-bundle"]])
def test_options_that_cannot_work_end_at_once(argv, capsys):
    with pytest.raises(SystemExit):
        export.parse_args(["best.safetensors", "--out", "x", *argv])
    assert argv[0] in capsys.readouterr().err
