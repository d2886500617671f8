"""What a bundle says of reading a video is what testing does, in 60 lines of NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from helpers.recognizers import write_network  # noqa: E402
from helpers.source import ROOT, imported_modules  # noqa: E402
from helpers.videos import textured_frames, write_video  # noqa: E402
from slowfast.inference.export.bundle import describe  # noqa: E402
from slowfast.inference.loading import load  # noqa: E402
from slowfast.inference.recognizer import Recognizer  # noqa: E402
from tools import run_bundle  # noqa: E402

SCRIPT = ROOT / "tools/run_bundle.py"
WIDE, ODD = (40, 64), (50, 38)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of a fixed and a changing frame rate, turned, with few frames, and without stamps."""
    folder = tmp_path_factory.mktemp("videos")
    changing = [*range(0, 800, 40), *range(800, 1400, 100)]
    write_video(folder / "fixed.mp4", textured_frames(30, *WIDE), fps=25)
    write_video(folder / "changing.mkv", textured_frames(26, *ODD), times_ms=changing)
    write_video(folder / "turned.mp4", textured_frames(9, *WIDE), rotation=90)
    write_video(folder / "one.mp4", textured_frames(1, *WIDE))
    write_video(folder / "old.avi", textured_frames(20, *WIDE), codec="mpeg4", options={"bf": "2"})
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path)
    return load(path)


def changed(recognizer, **data):
    """The same network with other keys of DATA."""
    cfg = recognizer.cfg.clone()
    cfg.defrost()
    for key, value in data.items():
        cfg.DATA[key] = value
    cfg.freeze()
    return Recognizer(recognizer.net, cfg)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"DECODE_SHORT_SIDE": 24},
        {"SAMPLING": "dense", "SAMPLING_RATE": 3, "TARGET_FPS": 20},
        {"SAMPLING": "pyslowfast", "CROPS": "pyslowfast", "TRAIN_JITTER_SCALES": [28, 30]},
        {"CROPS": "tsn", "TEST_CROP_SIZE": 33},
    ],
    ids=["segment", "shrunk", "dense", "pyslowfast", "tsn"],
)
def test_the_script_sees_the_frames_and_pixels_of_testing(network, folder, data):
    recognizer = changed(network, **data)
    rule = describe(recognizer, {})["reading"]
    for path in sorted(folder.iterdir()):
        for num_frames in (1, 2, 5, 8):
            expected = recognizer.cut(path, num_frames)
            indices, pixels = run_bundle.read(str(path), rule, num_frames)
            assert indices.tolist() == expected.indices.tolist(), path
            np.testing.assert_array_equal(pixels, expected.pixels.numpy(), str(path))


def test_dense_frames_are_the_same_for_videos_of_any_length_and_frame_rate(network, monkeypatch):
    recognizer = changed(network, SAMPLING="dense", SAMPLING_RATE=2)
    rule = describe(recognizer, {})["reading"]
    monkeypatch.setattr(run_bundle, "av", SimpleNamespace(open=lambda film: film))
    monkeypatch.setattr(run_bundle, "see", lambda frame, rule: np.zeros(1))
    for length in range(1, 90):
        for fps in (12.5, 24.0, 29.97, 50.0):
            for num_frames in (1, 4, 7, 16):
                ((indices,),) = recognizer._sampling(num_frames).clips(length, fps)
                found = run_bundle.read(_Film(length, fps), rule, num_frames)[0]
                assert found.tolist() == indices.tolist(), (length, fps, num_frames)


class _Film:
    """What the script asks PyAV for, of a video of a steady rate that has no pictures."""

    def __init__(self, length, fps):
        self.length = length
        self.stream = SimpleNamespace(average_rate=fps)
        self.streams = SimpleNamespace(best=lambda kind: self.stream)
        self.format = SimpleNamespace(name="avi")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def decode(self, stream):
        return [SimpleNamespace(pts=None)] * self.length


@pytest.mark.parametrize(
    ("key", "value"), [("SAMPLING", "mmaction_dense"), ("CROPS", "sth_ffn"), ("SAMPLING", "clips")]
)
def test_what_a_bundle_has_no_words_for_is_refused(network, key, value):
    with pytest.raises(ValueError, match=f"a bundle cannot say DATA.{key} '{value}'"):
        describe(changed(network, **{key: value}), {})


def test_the_script_needs_onnxruntime_numpy_and_av_only():
    modules = {name.partition(".")[0] for name in imported_modules(SCRIPT)}
    assert modules == {"json", "sys", "zipfile", "av", "numpy", "onnxruntime"}


def test_the_script_has_sixty_lines_of_code():
    lines = [line for line in SCRIPT.read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
