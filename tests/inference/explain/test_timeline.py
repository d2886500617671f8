"""Figures and videos of what was seen: which frames, where the heat is, what stands where."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from helpers.foreign_net import perturb
from helpers.linear_net import LinearNet
from helpers.runs import tiny_cfg
from helpers.videos import decode_all, write_grey_video, write_video
from slowfast.inference import Recognizer
from slowfast.inference.explain import Evidence, Explainer
from slowfast.inference.explain.heat_video import heat_places, save_heat_video
from slowfast.inference.explain.seen import Seen, Views, class_number, look
from slowfast.inference.explain.timeline import save_strips, save_timeline, warmed
from slowfast.models.flexible import Rate
from tests.models.test_build import plain_net

RED = torch.tensor([[1.0, -1.0, -1.0], [0.0, 0.0, 0.0]])  # class 0 is red, class 1 anything
LABELS = ("red", "other")


def red_square(num_frames: int = 24, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A red square that goes from left to right over grey."""
    frames = []
    for i in range(num_frames):
        frame = np.full((height, width, 3), 90, np.uint8)
        left = 8 + round(32 * i / (num_frames - 1))
        frame[16:32, left : left + 16] = 230, 20, 20
        frames.append(frame)
    return frames


def recognizer_of(net, *overrides: object) -> Recognizer:
    scale = ["DATA.MEAN", [0.0] * 3, "DATA.STD", [1.0] * 3, "FFN.ENABLE", False]
    options = ["DATA.TEST_CROP_SIZE", 48, "MODEL.NUM_CLASSES", 2, *overrides]
    return Recognizer(net, tiny_cfg(".", ".", *scale, *options), LABELS)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "red.mp4"
    return str(write_video(path, red_square(), options={"crf": "10"}))


@pytest.fixture(scope="module")
def recognizer():
    return recognizer_of(LinearNet(RED, torch.tensor([0.0, -1.0])))


@pytest.fixture(scope="module")
def seen(video, recognizer):
    return look(recognizer, video, [Rate(2), Rate(6)], Explainer(recognizer.net), 0)


def test_the_heat_follows_what_speaks_for_the_class(seen):
    for one in seen:
        assert one.heat.shape == (len(one.clip.indices), 48, 48) and one.heat.max() == 1.0
        for index, heat in zip(one.clip.indices.tolist(), one.heat, strict=True):
            rows, columns = (heat > 0.5).nonzero()
            left = 8 + 32 * index / 23 - 8  # the crop leaves out 8 pixels on each side
            assert abs(columns.mean() - min(left + 7.5, 40)) < 3 and abs(rows.mean() - 23.5) < 2


def test_each_rate_is_scored_on_its_own_frames(video, recognizer, seen):
    assert [one.clip.indices.tolist() for one in seen] == [[6, 18], [2, 6, 10, 14, 18, 22]]
    for one in seen:
        torch.testing.assert_close(one.scores, recognizer.scores(one.clip))
    plain = look(recognizer, video, [Rate(6)])
    assert plain[0].evidence is None and plain[0].target == plain[0].best
    torch.testing.assert_close(plain[0].scores, seen[1].scores)


def test_the_explained_class_is_the_one_asked_for_or_the_best_of_each_rate(video, recognizer, seen):
    assert [one.target for one in seen] == [0, 0]
    (free,) = look(recognizer, video, [Rate(2)], Explainer(recognizer.net))
    assert free.target == free.best
    assert seen[0].said(1) == f"other {100 * seen[0].scores[1]:.1f} %"


def test_a_rate_is_named_in_words(seen):
    names = [replace(seen[0], rate=rate).name for rate in (Rate(1), Rate(8), Rate(8, 112))]
    assert names == ["1 frame", "8 frames", "8 frames of 112 px"]


@pytest.mark.parametrize(("name", "number"), [("red", 0), ("OTHER", 1), ("1", 1), ("0", 0)])
def test_a_class_is_named_or_numbered(name, number):
    assert class_number(name, LABELS) == number


def test_a_class_that_is_none_is_refused_with_the_most_alike():
    with pytest.raises(ValueError, match="no class 'othr' among 2; did you mean other?"):
        class_number("othr", LABELS)
    with pytest.raises(ValueError, match="no class '2' among 2; give a name or a number"):
        class_number("2", LABELS)


def test_views_are_the_crop_of_the_network_in_more_pixels(video, recognizer):
    (picture,) = Views(recognizer.cfg).cropped(video, [6], 96)
    assert picture.shape == (96, 96, 3)
    clip = recognizer.read(video, 2)
    small = picture.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(small - clip.pixels[0].numpy()).mean() < 4


def test_views_do_not_shrink_while_decoding(video, recognizer):
    cfg = recognizer.cfg.clone()
    cfg.defrost()
    cfg.DATA.DECODE_SHORT_SIDE = 16
    assert Views(cfg).whole(video, [0, 5]).shape == (2, 48, 64, 3)


# ---------------------------------------------------------------------------- heat


def one_of(indices: list[int], video_frames: int, heat: torch.Tensor) -> Seen:
    recognizer = recognizer_of(LinearNet(RED))
    clip = recognizer.read(np.zeros((video_frames, 8, 8, 3), np.uint8), len(indices))
    clip = replace(clip, indices=torch.tensor(indices), pixels=torch.zeros(len(indices), 8, 8, 3))
    evidence = Evidence(heat, 0, torch.zeros(2))
    return Seen(Rate(len(indices)), clip, torch.tensor([0.5, 0.5]), LABELS, evidence)


def test_a_frame_between_two_that_were_seen_lies_between_them_in_the_clip():
    places = heat_places(one_of([4, 8], 14, torch.ones(2, 1, 1)))
    expected = [np.nan] * 2 + [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1] + [np.nan] * 3
    np.testing.assert_allclose(places, expected)


def test_a_single_frame_and_repeated_ones_have_places():
    places = heat_places(one_of([2], 4, torch.ones(1, 1, 1)))
    np.testing.assert_allclose(places, [np.nan, np.nan, 0, np.nan])
    places = heat_places(one_of([0, 0, 1, 1], 2, torch.ones(4, 1, 1)))
    np.testing.assert_allclose(places, [0, 2])


def test_warm_pictures_are_grey_where_nothing_speaks_for_the_class():
    heat = torch.zeros(2, 2, 2)
    heat[0, :, 0] = 1.0
    one = one_of([0, 1], 2, heat)
    picture = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    hot, cold, between, outside = warmed(one, [picture] * 4, [0, 1, 0.5, np.nan])
    assert (np.ptp(cold, axis=2) == 0).all() and np.array_equal(cold, outside)
    assert (np.ptp(hot[:, 7], axis=1) == 0).all() and np.ptp(hot[0, 0]) > 60
    assert 0 < np.ptp(between[0, 0]) < 255 and not np.array_equal(between, hot)


# ---------------------------------------------------------------------------- files


def test_strips_have_a_block_per_rate_and_say_what_they_show(video, recognizer, seen, tmp_path):
    views = Views(recognizer.cfg)
    save_strips(tmp_path / "one.png", video, seen[:1], views)
    save_strips(tmp_path / "two.png", video, seen, views)
    one, two = (imread(tmp_path / name) for name in ("one.png", "two.png"))
    assert two.shape[0] > 1.7 * one.shape[0] and two.shape[1] == one.shape[1]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("count", [1, 40])
def test_strips_and_timeline_hold_any_number_of_frames(video, count, tmp_path):
    net = perturb(plain_net("R2Plus1D", "MODEL.NUM_CLASSES", 2), 0.05)
    recognizer = recognizer_of(net)
    views = Views(recognizer.cfg)
    seen = look(recognizer, video, [Rate(count)], Explainer(net))
    save_strips(tmp_path / "strips.png", video, seen, views, "stages.0")
    save_timeline(tmp_path / "timeline.png", video, seen, views)
    assert all(imread(path).std() > 0.05 for path in tmp_path.glob("*.png"))


def test_a_class_that_nothing_speaks_for_is_drawn_without_a_division_by_zero(tmp_path):
    path = str(write_grey_video(tmp_path / "grey.mp4", 6))
    recognizer = recognizer_of(LinearNet(-torch.ones(2, 3)))
    seen = look(recognizer, path, [Rate(3)], Explainer(recognizer.net), 1)
    with np.errstate(all="raise"):
        save_strips(tmp_path / "strips.png", path, seen, Views(recognizer.cfg))
        save_heat_video(tmp_path / "heat.mp4", path, seen, Views(recognizer.cfg))
    assert not seen[0].heat.any() and not seen[0].shares.any()


def test_the_video_has_all_frames_and_a_panel_per_rate(video, recognizer, seen, tmp_path):
    save_heat_video(tmp_path / "heat.mp4", video, seen, Views(recognizer.cfg))
    frames = decode_all(tmp_path / "heat.mp4")
    assert len(frames) == 24
    height, width, _ = frames[0].shape
    assert height % 2 == width % 2 == 0 and width >= 3 * 240
    crop = frames[6][50:290, 12:252]
    red = (crop[..., 0] > 180) & (crop[..., 1] < 80)
    panel = frames[6][50:290, 264:504].astype(int)
    warm = panel[..., 0] - panel[..., 2] > 60
    assert (red & warm).sum() > 0.8 * red.sum() and (warm & ~red).sum() < 0.5 * red.sum()


def test_a_panel_is_framed_while_it_shows_a_frame_that_was_seen(video, recognizer, seen, tmp_path):
    save_heat_video(tmp_path / "heat.mp4", video, seen, Views(recognizer.cfg))
    frames = decode_all(tmp_path / "heat.mp4")
    borders = [frame[47:49, 300:480].astype(int).mean((0, 1)) for frame in frames]
    framed = [i for i, (red, _, blue) in enumerate(borders) if red - blue > 80]
    assert framed == seen[0].clip.indices.tolist()


def test_the_timeline_has_a_row_per_rate(video, recognizer, seen, tmp_path):
    views = Views(recognizer.cfg)
    for count in (1, 2):
        save_timeline(tmp_path / f"{count}.png", video, seen[:count], views)
    one, two = (imread(tmp_path / f"{count}.png") for count in (1, 2))
    assert two.shape[0] - one.shape[0] == pytest.approx(0.5 * 180, abs=2)
