"""A recognizer says of a video what testing says of it, at any frame count and size."""

import json

import pytest
import torch

import slowfast
from helpers.foreign_net import perturb
from helpers.recognizers import write_network
from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader, open_video
from slowfast.engine.evaluate import evaluate
from slowfast.inference import Recognizer
from slowfast.models import build_model, to_scores
from slowfast.models.flexible import Rate, add_rates
from tests.models.test_build import BACKBONES, OWN, cfg_of, flexible_net, plain_net

CLASSES = tuple(f"motion {k}" for k in range(16))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path, labels=CLASSES)
    return path


@pytest.fixture
def model(path):
    return slowfast.load(path)


@pytest.fixture(scope="module")
def video(motion):
    return motion / "val/00000.mp4"


# ---------------------------------------------------------------------------- as in testing

WAYS = {
    "segments": [],
    "a dense span": ["TEST.DATASET", "kinetics", "DATA.SAMPLING_RATE", 3],
    "PySlowFast": ["DATA.SAMPLING", "pyslowfast", "DATA.CROPS", "pyslowfast"],
    "TSN, shrunk": ["DATA.SAMPLING", "tsn", "DATA.CROPS", "tsn", "DATA.DECODE_SHORT_SIDE", 20],
    "BGR": ["DATA.REVERSE_INPUT_CHANNEL", True, "DATA.MEAN", [0.3, 0.4, 0.5]],
    "sizes": ["FFN.SIZES", [12, 16]],
    "several classes": ["MODEL.HEAD_ACT", "sigmoid"],
    "a plain network": ["FFN.ENABLE", False],
}


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_testing_with_one_view_of_one_crop(way, motion, tmp_path):
    path = tmp_path / "best.safetensors"
    write_network(path, *WAYS[way])
    cfg = tiny_cfg(motion, tmp_path, *WAYS[way], "TEST.BATCH_SIZE", 2)
    model, tested = slowfast.load(path), slowfast.weights.load(path)
    sizes = tuple(cfg.FFN.SIZES) if cfg.FFN.ENABLE else ()
    batches, found = [next(iter(build_loader(cfg, "test")))], []
    evaluate(tested, batches, torch.device("cpu"), cfg, on_batch=found.append, sizes=sizes)
    (batch, scores) = found[0]
    assert {rate[0] if sizes else rate for rate in scores} == {1, 2, 3, 4}
    for rate, rows in scores.items():
        frames, size = rate if sizes else (rate, None)
        for name, row in zip(batch.paths, rows, strict=True):
            prediction = model.predict(name, frames, size=size, topk=16)
            assert prediction.size == (size or 16)
            assert torch.allclose(by_class(prediction), row, atol=1e-6), (name, rate)


def by_class(prediction):
    """The scores of all classes, class 0 first."""
    scores = torch.zeros(len(prediction.classes))
    scores[list(prediction.classes)] = torch.tensor(prediction.scores)
    return scores


# ---------------------------------------------------------------------------- rates


def test_a_plain_network_has_the_rate_that_it_was_trained_at(tmp_path):
    path = tmp_path / "best.safetensors"
    write_network(path, "FFN.ENABLE", False)
    model = slowfast.load(path)
    assert model.rates == (Rate(4),)
    assert model.predict(frames_of(9), 7).rate == Rate(4)


def test_without_a_frame_count_the_dearest_rate_runs(model):
    found = model.predict(frames_of(9))
    assert (found.num_frames, found.size, found.rate) == (4, 16, Rate(4))


def test_any_frame_count_runs_at_the_nearest_rate(model):
    found = model.predict(frames_of(30), 20)
    assert (found.num_frames, len(found.indices), found.rate) == (20, 20, Rate(4))
    assert model.predict(frames_of(30), 1).rate == Rate(2)
    with pytest.raises(ValueError, match="frames=0 must be 1 or more"):
        model.predict(frames_of(3), 0)


@pytest.mark.parametrize("frames", ["8", 6.5])
def test_a_frame_count_that_is_no_integer_is_named(model, video, frames):
    with pytest.raises(ValueError, match=f"frames={frames!r} must be an integer"):
        model.predict(video, frames=frames)


def test_without_a_size_the_largest_trained_one_runs(tmp_path):
    path = tmp_path / "best.safetensors"
    write_network(path, "FFN.SIZES", [12, 16], "TEST.SIZES", [12], "DATA.TEST_CROP_SIZE", 20)
    model = slowfast.load(path)
    assert [str(rate) for rate in model.rates] == ["2x12", "2x16", "4x12", "4x16"]
    assert model.predict(frames_of(9)).rate == Rate(4, 16)
    found = model.predict(frames_of(9), 2, size=13)
    assert (found.rate, found.size) == (Rate(2, 12), 13)


@torch.no_grad()
def test_forward_gives_the_logits_of_the_network(model):
    clip = torch.randn(2, 3, 3, 16, 16)
    assert torch.equal(model(clip), model.net(clip))
    assert torch.allclose(model.at(3)(clip), model.net(clip), atol=1e-5)


def test_a_rate_is_specialised_once_and_anew_after_the_network_moved(model):
    net = model.at(Rate(2))
    assert model.at(2) is net and model.at(1) is net and model.at(4) is not net
    model.double()
    assert next(model.at(2).parameters()).dtype == torch.float64


def test_gflops_are_counted_without_computing(model):
    assert model.gflops(4) == pytest.approx(2 * model.gflops(2), rel=0.02)  # but for the last layer
    assert model.gflops(4, 32) == pytest.approx(4 * model.gflops(4, 16), rel=0.02)


# ---------------------------------------------------------------------------- what comes out


def frames_of(count, height=24, width=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def test_a_clip_holds_the_pixels_that_the_network_sees(model, video):
    clip = model.read(video, 3)
    assert clip.tensor.shape == (1, 3, 3, 16, 16) and clip.tensor.dtype == torch.float32
    assert clip.pixels.shape == (3, 16, 16, 3) and clip.pixels.dtype == torch.uint8
    assert (clip.video_frames, clip.name) == (open_video(video).num_frames, str(video))
    seen = (clip.pixels.permute(3, 0, 1, 2)[None] / 255 - 0.45) / 0.225
    assert torch.allclose(seen, clip.tensor, atol=1e-5)
    prediction = model.predict(video, 3, topk=16)
    assert prediction.indices == tuple(clip.indices.tolist())
    assert torch.allclose(model.scores(clip), by_class(prediction), atol=1e-6)


def test_a_clip_of_another_size_shows_the_resized_pixels(model, video):
    clip = model.read(video, 3, 8)
    assert clip.tensor.shape == (1, 3, 3, 8, 8) and clip.pixels.shape == (3, 8, 8, 3)
    full = model.read(video, 3).pixels.double()
    means = full.unflatten(1, (8, 2)).unflatten(3, (8, 2)).mean((2, 4))
    assert (means - clip.pixels).abs().max() <= 0.51


def test_a_prediction_names_the_best_classes_and_becomes_json(model, video):
    found = model.predict(video, 2, topk=3)
    assert [CLASSES[k] for k in found.classes] == list(found.labels)
    assert sorted(found.scores, reverse=True) == list(found.scores) and len(found.scores) == 3
    assert found.label == found.labels[0] and found.label in str(found)
    record = json.loads(json.dumps(found.to_dict()))
    assert record["rate"] == "2" and record["labels"] == list(found.labels)
    assert sum(model.predict(video, topk=99).scores) == pytest.approx(1)
    with pytest.raises(ValueError, match="topk=0"):
        model.predict(video, topk=0)


def test_classes_without_names_are_numbered(tmp_path, video):
    path = tmp_path / "best.safetensors"
    write_network(path)
    found = slowfast.load(path).predict(video)
    assert found.labels[0] == f"class {found.classes[0]}"


def test_classes_that_may_occur_together_have_scores_of_their_own(tmp_path, video):
    path = tmp_path / "best.safetensors"
    cfg = write_network(path, "MODEL.HEAD_ACT", "sigmoid")
    model = slowfast.load(path)
    clip = model.read(video, 4)
    assert torch.allclose(model.scores(clip), model.net(clip.tensor).sigmoid()[0], atol=1e-5)
    assert cfg.MODEL.HEAD_ACT == "sigmoid"


def test_the_last_exit_of_a_network_with_several_counts():
    cfg = cfg_of("FrameExit", "DATA.NUM_FRAMES", 4, "DATA.TEST_CROP_SIZE", 32)
    net = perturb(build_model(cfg), 0.05).eval()
    model = Recognizer(net, cfg)
    clip = model.read(frames_of(8, 40, 40), 4)
    with torch.no_grad():
        logits = net(clip.tensor).logits[0, -1]
    assert torch.allclose(model.scores(clip), logits.softmax(0), atol=1e-5)
    assert model.predict(frames_of(8), 4).gflops == model.gflops(4) > 0


def test_a_clip_that_a_network_of_steps_cannot_divide_is_refused_in_words():
    options = ["FRAME_EXIT.CLIP_LENGTH", 2, "FRAME_EXIT.BACKBONE", "R2Plus1D"]
    cfg = cfg_of("FrameExit", "DATA.NUM_FRAMES", 4, "DATA.TEST_CROP_SIZE", 32, *options)
    model = Recognizer(build_model(cfg).eval(), cfg)
    assert model.predict(frames_of(8), 2).num_frames == 2
    with pytest.raises(ValueError, match="3 frames.*no whole number"):
        model.predict(frames_of(8), 3)


@pytest.mark.parametrize(
    ("name", "flexible"), [*((name, False) for name in OWN), *((name, True) for name in BACKBONES)]
)
def test_every_network_predicts_at_trained_and_other_frame_counts(name, flexible):
    cfg = cfg_of(name, "FFN.ENABLE", flexible, "DATA.TEST_CROP_SIZE", 32)
    net = (flexible_net if flexible else plain_net)(name).eval()
    model = Recognizer(net, cfg)
    clips = [model.read(frames_of(9), frames) for frames in (4, 5)]
    for clip in clips:
        with torch.no_grad():
            expected = to_scores(net(clip.tensor))[0]
        assert torch.allclose(model.scores(clip), expected, atol=1e-4)
        assert model.gflops(len(clip.indices)) > 0


def test_gradients_pass_a_network_that_was_made_for_a_prediction(model):
    model.scores(model.read(frames_of(9), 4))
    clip = torch.randn(1, 3, 4, 16, 16, requires_grad=True)
    model.at(4)(clip).sum().backward()
    assert clip.grad.abs().sum() > 0


def test_rates_that_were_added_later_are_known(model):
    assert model.nearest(3) == Rate(4)
    add_rates(model.net, [3], "interpolated")
    assert model.rates == (Rate(2), Rate(3), Rate(4)) and model.nearest(3) == Rate(3)


def test_predicting_changes_no_weight_and_no_mode(model, video):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.predict(video, 3)
    model.predict(video, budget_gflops=1.0)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
