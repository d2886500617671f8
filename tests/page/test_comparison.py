"""What the demo page shows, without Gradio and without a browser."""

import base64
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.runs import tiny_cfg
from helpers.videos import cut, write_audio, write_grey_video, write_video
from slowfast.inference import Recognizer
from slowfast.inference.page import html
from slowfast.inference.page.app import Guard, describe, first_rates
from slowfast.inference.page.comparison import Comparison, Limits, check_video, verdict
from slowfast.inference.page.results import Accuracy, read_results, results_beside
from slowfast.models import build_model
from slowfast.models.flexible import Rate

NAMES = tuple(f"motion & <{k}>" for k in range(16))
TEST = {
    "metric": "top1",
    "num_classes": 16,
    "crop": 16,
    "views": [1, 1],
    "coverage": {"videos": 10, "read": 9},
    "by_frames": {"2": {"top1": 40.0}, "4": {"top1": 60.25}},
}


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    torch.manual_seed(0)
    cfg = tiny_cfg("data", tmp_path_factory.mktemp("run"))
    return Recognizer(build_model(cfg), cfg, NAMES)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_grey_video(tmp_path_factory.mktemp("videos") / "grey.mp4"))


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "run/results/test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(TEST))
    return path


def compared(recognizer, accuracy=None, limits=None):
    return Comparison(recognizer, accuracy, limits or Limits())


def shown(card):
    """The pictures in a column, RGB, and the numbers of their frames."""
    found = re.findall(r'<img src="data:image/\w+;base64,([^"]+)"[^>]*alt="frame (\d+)"', card)
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data, _ in found]
    return [np.asarray(p.convert("RGB")) for p in pictures], [int(i) for _, i in found]


def test_each_column_shows_the_pixels_that_the_network_sees(recognizer, video):
    _, *cards = compared(recognizer)(video, 3, 4)
    for card, count in zip(cards, (3, 4), strict=True):
        clip = recognizer.read(video, count)
        pictures, indices = shown(card)
        assert indices == clip.indices.tolist() and len(pictures) == count
        np.testing.assert_array_equal(np.stack(pictures), clip.pixels.numpy())


def test_a_column_has_the_five_best_classes_and_the_cost_of_its_rate(recognizer, video):
    _, _, card = compared(recognizer)(video, 2, 4)
    clip = recognizer.read(video, 4)
    with torch.no_grad():
        scores, best = recognizer(clip.tensor)[0].softmax(0).topk(5)
    names = re.findall(r'class="name" title="([^"]+)"', card)
    assert names == [f"motion &amp; &lt;{k}&gt;" for k in best.tolist()]
    shares = [float(s) for s in re.findall(r'class="share">([\d.]+) %', card)]
    assert shares == pytest.approx((100 * scores).tolist(), abs=0.06)
    assert f"<dd>{recognizer.gflops(4):.3g}</dd>" in card


def test_no_name_of_a_class_or_file_becomes_markup(recognizer, video):
    message, *cards = compared(recognizer)(video, 2, 4)
    assert "<0>" not in message + "".join(cards)
    trouble, *_ = compared(recognizer)("/nowhere/<script>.mp4", 2, 4)
    assert "&lt;script&gt;.mp4" in trouble and "<script>" not in trouble


def test_without_a_video_the_page_says_what_to_do(recognizer):
    message, *cards = compared(recognizer)(None)
    assert "Drop a video" in message and all("appear here" in card for card in cards)


def test_what_is_wrong_with_a_video_is_said_once_without_its_folder(recognizer, video, tmp_path):
    damaged = cut(write_grey_video(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.6)
    message, *cards = compared(recognizer)(str(damaged), 2, 4)
    assert message.count("cut.mkv is truncated") == 1 and 'role="alert"' in message
    assert str(tmp_path) not in message and all("no result" in card for card in cards)


def test_a_rate_that_a_network_cannot_run_leaves_the_other_column(recognizer, video, monkeypatch):
    cannot = RuntimeError("kernel larger than the input\nmore of it")
    run = recognizer.run

    def fails_at_three(pixels, size=0):
        if len(pixels) == 3:
            raise cannot
        return run(pixels, size)

    monkeypatch.setattr(recognizer, "run", fails_at_three)
    message, low, high = compared(recognizer)(video, 3, 4)
    assert "does not run on 3 frames (kernel larger than the input)" in message
    assert "no result" in low and len(shown(high)[1]) == 4


def test_sliding_one_column_does_not_run_the_other_again(recognizer, video, monkeypatch):
    compare, seen, cut = compared(recognizer), [], recognizer.cut

    def noting(path, frames):
        seen.append(frames)
        return cut(path, frames)

    monkeypatch.setattr(recognizer, "cut", noting)
    compare(video, 2, 4)
    compare(video, 2, 3)
    assert seen == [2, 4, 3]


# --------------------------------------------------------------------------- uploads


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(megabytes=0), "at most 0 are taken"),
        (Limits(frames=39), "40 frames in 2 s; at most 39 frames"),
        (Limits(seconds=1.5), "at most 36000 frames in 2 s"),
        (Limits(pixels=48 * 64 - 1), "pixels a frame"),
    ],
)
def test_larger_videos_than_allowed_are_refused(video, limits, said):
    check_video(video, Limits(megabytes=1, seconds=2, frames=40, pixels=48 * 64))
    with pytest.raises(ValueError, match=said):
        check_video(video, limits)


def test_what_is_no_video_is_refused_by_its_name(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    files = {
        tmp_path / "a.png": "a.png is a picture",
        write_audio(tmp_path / "b.mp4"): "b.mp4 has no video stream",
        tmp_path / "c.mp4": "c.mp4 is no longer kept",
        tmp_path: "is no longer kept",
    }
    for path, said in files.items():
        with pytest.raises(ValueError, match=said):
            check_video(str(path), Limits())


# --------------------------------------------------------------------------- accuracy


def test_the_accuracy_is_that_of_the_run_of_the_checkpoint(results, recognizer, video):
    run = results.parents[1]
    assert results_beside(run / "checkpoints/best.safetensors") == results
    assert results_beside(run / "best.safetensors") is None
    accuracy = read_results(run, 16)
    assert accuracy == read_results(results, 16)
    _, low, high = compared(recognizer, accuracy)(video, 3, 4)
    assert "60.2 %" in high and "Top-1 of 9 test videos, one view each" in high
    assert "<dd>–</dd>" in low and "tested with 2, 4 frames" in low


def test_accuracy_at_another_picture_size_is_not_shown():
    accuracy = Accuracy("Top-1", {"4": 60.0, "4x12": 50.0}, crop=16, videos=9, views="")
    assert (accuracy.at(4, 16), accuracy.at(4, 12), accuracy.at(4, 8)) == (60.0, 50.0, None)


def test_results_that_name_no_metric_are_of_the_time_when_there_was_one(results):
    results.write_text(json.dumps({key: TEST[key] for key in TEST if key != "metric"}))
    assert read_results(results, 16).at(4, 16) == 60.25


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{", "holds no results of a test"),
        ("[]", "holds no results of a test"),
        (json.dumps(TEST | {"metric": "loss"}), "holds no results of a test"),
        (json.dumps(TEST | {"num_classes": 7}), "7 classes, this one has 16"),
    ],
)
def test_other_files_are_no_results(results, text, said):
    results.unlink() if text is None else results.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_results(results, 16)


# --------------------------------------------------------------------------- words


def view(label, num_frames, gflops, size=16):
    found = SimpleNamespace(label=label, gflops=gflops, size=size)
    return SimpleNamespace(prediction=found, num_frames=num_frames)


def test_the_verdict_names_both_answers_or_what_agreement_saves():
    few, many = view("up", 4, 1.0), view("down", 16, 4.0)
    assert verdict(few, many) == "From 4 frames: “up”. From 16 frames: “down”."
    assert verdict(many, few) == verdict(few, many)
    agreed = "Both say “up”, and 1 frame cost 2.5 times less than 16 frames."
    assert verdict(view("up", 16, 2.5), view("up", 1, 1.0)) == agreed
    assert verdict(few, few) == "Both say “up”."
    small = verdict(view("up", 4, 1.0, 8), view("down", 4, 4.0, 16))
    assert small == "From 4 frames of 8 pixels: “up”. From 4 frames of 16 pixels: “down”."


def test_the_sliders_start_at_the_cheapest_and_the_dearest_rate():
    assert first_rates([Rate(4), Rate(8), Rate(16)]) == (Rate(4), Rate(16), 32)
    assert first_rates([Rate(8)]) == (Rate(4), Rate(8), 16)
    assert first_rates([Rate(1)]) == (Rate(1), Rate(1), 8)


def test_the_page_describes_its_network(recognizer):
    told = describe(recognizer)
    assert told.startswith("R2Plus1D trained at 2 and 4 frames of 16 pixels, 16 classes.")


def test_scores_without_bounds_are_shown_as_they_are():
    assert html._share(0.5) == "50.0 %" and html._share(-3.14159) == "-3.14"


# --------------------------------------------------------------------------- the server's guard


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/gradio_api/file=/tmp/a.mp4", 200),
        ("/gradio_api/file=https://example.org/a.mp4", 403),
        ("/gradio_api/FILE=HTTP://example.org", 403),
        ("/gradio_api/proxy=https://example.org", 403),
    ],
)
def test_the_guard_fetches_nothing_and_allows_pages_nothing_from_elsewhere(path, status):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message):
        sent.append(message)

    call = Guard(app)({"type": "http", "path": path}, None, send)
    with pytest.raises(StopIteration):
        call.send(None)
    assert sent[0]["status"] == status
    assert b"default-src 'self'" in dict(sent[0]["headers"])[b"content-security-policy"]


def test_thumbnails_of_large_frames_are_small():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), np.uint8))
    ((address, small, index), _) = html._pictures(frames, [3, 5])
    assert address.startswith("data:image/jpeg") and not small and index == 3
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert picture.size == (html.THUMBNAIL, html.THUMBNAIL)


def test_a_long_video_marks_its_frames_on_the_line_of_time(tmp_path, recognizer):
    frames = [np.full((16, 16, 3), 9, np.uint8)] * 10
    path = write_video(tmp_path / "ten.mp4", frames, fps=10)
    _, low, _ = compared(recognizer)(str(path), 1, 2)
    # One segment of 10 frames: its frame 5, whose middle is at 55 %.
    assert "1 of 10 frames in 1.0 s" in low and low.count('x1="550.0"') == 1
