"""Features against the network's own map and classifier, and frames read back from their grey."""

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, perturb
from helpers.linear_net import LinearNet
from helpers.runs import tiny_cfg
from helpers.videos import grey, write_grey_video
from slowfast.datasets.video import Video, open_video
from slowfast.inference import Recognizer
from slowfast.inference.feature_files import FeatureFolder, fingerprint
from slowfast.inference.features import FeatureNet, FeatureReader, Features
from slowfast.models import FrameFlexible
from slowfast.models.flexible import Rate
from tests.models.test_build import BACKBONES, COUNTS, clip_of, flexible_net, plain_net

every_backbone = pytest.mark.parametrize("name", BACKBONES)


@every_backbone
@torch.no_grad()
def test_the_classifier_makes_the_logits_of_the_features_of_the_head(name):
    net, clips = perturb(plain_net(name), 0.05).eval(), clip_of(4)
    features = FeatureNet(net, "head")(clips)
    assert features.shape == (2, net.get_submodule(net.classifier).in_features)
    logits = net.get_submodule(net.classifier)(features)
    torch.testing.assert_close(logits, net(clips), rtol=1e-3, atol=1e-4)


@every_backbone
@torch.no_grad()
def test_features_are_the_mean_of_the_map_at_the_rate_of_the_clip(name):
    model = flexible_net(name).eval()
    net = FeatureNet(model)
    for count in (COUNTS[0], COUNTS[-1]):
        clips = clip_of(count)
        _, features = model(clips, "map")
        torch.testing.assert_close(net(clips), features.mean((2, 3, 4)), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_spatial_features_are_averaged_over_time_alone():
    net, clips = plain_net("R2Plus1D").eval(), clip_of(4)
    found = FeatureNet(net, spatial=True)(clips)
    assert found.shape == (2, 8, 4, 4)
    torch.testing.assert_close(found, net.feature_map(clips).mean(2))


@torch.no_grad()
def test_positions_of_a_dense_head_are_averaged():
    net = plain_net("ResNet", "DATA.TEST_CROP_SIZE", 64).eval()
    clips = torch.randn(2, 3, 2, 64, 64)
    features = FeatureNet(net, "head")(clips)
    logits = net.get_submodule(net.classifier)(features)
    found = net(clips)
    assert found.ndim == 3
    torch.testing.assert_close(logits, found.mean(1), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_model_keeps_its_mode_and_its_hooks():
    model = flexible_net("R2Plus1D").train()
    for layer in ("map", "head"):
        FeatureNet(model, layer)(clip_of(4))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: FeatureNet(plain_net("R2Plus1D"), "neck"),
            "layer='neck' must be one of map, head",
        ),
        (lambda: FeatureNet(plain_net("R2Plus1D"), "head", True), "spatial ones are those of the"),
        (lambda: FeatureNet(FrameFlexible(ForeignNet(), (2, 4))), "ForeignNet shows no map"),
        (lambda: FeatureReader(colours(), window=-1), "window=-1 must be 0 or more"),
        (lambda: FeatureReader(colours(), batch=0), "batch=0 must be 1 or more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---------------------------------------------------------------------------- windows


def colours(*overrides: object) -> Recognizer:
    """Its features are the mean colour of the clip, from 0 to 1."""
    scale = ["DATA.MEAN", [0.0] * 3, "DATA.STD", [1.0] * 3, "FFN.ENABLE", False]
    cfg = tiny_cfg(".", ".", *scale, *overrides)
    return Recognizer(LinearNet(torch.eye(3)), cfg)


def mean_index(row: np.ndarray) -> float:
    """The mean number of the grey frames that made a feature."""
    return (255 * row.mean() - grey(0)) / (grey(1) - grey(0))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """40 frames, each as bright as its number."""
    return write_grey_video(tmp_path_factory.mktemp("video") / "grey.mp4", 40)


class Watched:
    """A video that notes which frames are asked for."""

    def __init__(self, video: Video) -> None:
        self.video, self.asked = video, []

    def __getattr__(self, name: str):
        return getattr(self.video, name)

    def frames(self, indices) -> torch.Tensor:
        self.asked += list(indices)
        return self.video.frames(indices)


def test_a_window_has_a_frame_of_each_of_its_parts(video):
    reader = FeatureReader(colours("DATA.SAMPLING", "segment"), window=8, stride=10)
    features = reader(open_video(video), [Rate(1), Rate(4)])
    assert features.starts == (0, 10, 20, 30) and (features.window, features.stride) == (8, 10)
    # The middles of [0, 8) and of its quarters: 4, and 1 3 5 7.
    for rate in (Rate(1), Rate(4)):
        rows = features.rows[rate]
        assert rows.shape == (4, 3) and rows.dtype == np.float32
        found = [mean_index(row) for row in rows]
        assert np.allclose(found, [4, 14, 24, 34], atol=0.3)


def test_a_window_of_a_dense_network_is_spanned_from_its_first_to_its_last_frame(video):
    reader = FeatureReader(colours("DATA.SAMPLING", "dense"), window=10, stride=15)
    watched = Watched(open_video(video))
    features = reader(watched, [Rate(4)])
    assert features.starts == (0, 15, 30)
    assert sorted(watched.asked) == [0, 3, 6, 9, 15, 18, 21, 24, 30, 33, 36, 39]


def test_without_sizes_a_dense_window_is_what_a_clip_spans(video):
    dense = ["DATA.SAMPLING", "dense", "DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 3]
    features = FeatureReader(colours(*dense, "DATA.TARGET_FPS", 40))(open_video(video), [Rate(2)])
    assert (features.window, features.stride, features.fps) == (6, 3, 20)  # 12 of 40 per second
    assert features.starts == tuple(range(0, 35, 3))


def test_every_frame_is_decoded_once_for_all_rates_and_overlapping_windows(video):
    reader = FeatureReader(colours("DATA.SAMPLING", "segment"), window=12, stride=2, batch=3)
    watched = Watched(open_video(video))
    features = reader(watched, [Rate(3), Rate(4), Rate(6)])
    assert len(features.starts) == 15
    assert len(watched.asked) == len(set(watched.asked)) and set(watched.asked) <= set(range(40))


def test_batches_of_windows_are_joined_in_order(video):
    cfg = "DATA.SAMPLING", "segment"
    rows = [
        FeatureReader(colours(*cfg), window=5, stride=3, batch=batch)(open_video(video), [Rate(2)])
        for batch in (1, 5, 100)
    ]
    assert np.array_equal(rows[0].rows[Rate(2)], rows[1].rows[Rate(2)])
    assert np.array_equal(rows[0].rows[Rate(2)], rows[2].rows[Rate(2)])


def test_large_frames_are_decoded_in_parts(video, monkeypatch):
    expected = FeatureReader(colours(), window=20, stride=5)(open_video(video), [Rate(8)])
    monkeypatch.setattr("slowfast.inference.features.DECODED_BYTES", 20000)  # two frames
    found = FeatureReader(colours(), window=20, stride=5)(open_video(video), [Rate(8)])
    assert np.array_equal(found.rows[Rate(8)], expected.rows[Rate(8)])


def test_a_video_shorter_than_a_window_is_one_window(video):
    features = FeatureReader(colours("DATA.SAMPLING", "segment"), window=64)(
        open_video(video), [Rate(1)]
    )
    assert features.starts == (0,) and features.window == 40
    assert abs(mean_index(features.rows[Rate(1)][0]) - 20) < 0.3


def test_the_whole_video_is_one_clip_as_in_testing(video):
    net = perturb(plain_net("R2Plus1D"), 0.1)
    recognizer = Recognizer(net, tiny_cfg(".", ".", "FFN.ENABLE", False))
    features = FeatureReader(recognizer, whole=True)(open_video(video), [Rate(4), Rate(7)])
    for rate, row in features.rows.items():
        with torch.no_grad():
            _, expected = net(recognizer.read(video, rate.num_frames).tensor, "map")
        assert row.shape == (net.map_dim,)
        np.testing.assert_allclose(row, expected.mean((2, 3, 4))[0], rtol=1e-3, atol=1e-4)


def test_clips_of_another_size_are_resized(video):
    class Sides(LinearNet):
        def encode(self, clip):
            assert clip.shape[3:] == (8, 8)
            return clip

    recognizer = colours()
    recognizer.net = Sides(torch.eye(3)).eval()
    features = FeatureReader(recognizer, window=40)(open_video(video), [Rate(4, 8)])
    assert list(features.rows) == [Rate(4, 8)]


# ---------------------------------------------------------------------------- files

RATES = (Rate(4), Rate(8))
SETTINGS = {"layer": "map", "window": 8}


def made(windows: int = 3, dim: int = 4, rates: tuple[Rate, ...] = RATES) -> Features:
    rng = np.random.default_rng(windows)
    rows = {rate: rng.random((windows, dim), np.float32) for rate in rates}
    return Features(rows, tuple(range(0, 5 * windows, 5)), 8, 5, 60, 25.0)


def folder_of(path, kind="npy", rates=RATES, settings=SETTINGS) -> FeatureFolder:
    return FeatureFolder(path, settings, rates, kind)


def test_an_array_per_video_and_rate_lies_beside_its_times(tmp_path):
    folder, features = folder_of(tmp_path), made()
    folder.write("cats/one", "x/one.mp4", features)
    found = np.load(tmp_path / "frames_8/cats/one.npy")
    assert found.dtype == np.float32 and np.array_equal(found, features.rows[Rate(8)])
    about = json.loads((tmp_path / "frames_8/cats/one.json").read_text())
    assert about == {
        **{"video": "one.mp4", "fps": 25.0, "video_frames": 60, "duration": 2.4},
        **{"window": 8, "stride": 5, "frames": 8, "starts": [0, 5, 10], "shape": [3, 4]},
    }
    assert not list(tmp_path.rglob("*.tmp"))


def test_only_what_is_not_there_is_missing(tmp_path):
    folder_of(tmp_path).write("one", "one.mp4", made(rates=(Rate(4),)))
    again = folder_of(tmp_path)
    assert again.missing("one") == [Rate(8)] and again.missing("two") == [*RATES]


def test_an_array_that_is_cut_off_is_made_again(tmp_path):
    folder = folder_of(tmp_path)
    folder.write("one", "one.mp4", made())
    path = tmp_path / "frames_4/one.npy"
    path.write_bytes(path.read_bytes()[:-4])
    (tmp_path / "frames_8/one.npy").write_bytes(b"")
    assert folder.missing("one") == [*RATES]


def test_features_that_were_made_otherwise_are_not_mixed(tmp_path):
    folder_of(tmp_path)
    with pytest.raises(ValueError, match="made with window 8, not with window 16; choose another"):
        folder_of(tmp_path, settings=SETTINGS | {"window": 16})


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"stride": 0}, {"stride": 4}, "with the usual stride, not with stride 4"),
        ({"stride": 4}, {"stride": 0}, "with stride 4, not with the usual stride"),
        ({"whole": False}, {"whole": True}, "without whole, not with whole"),
    ],
)
def test_settings_of_before_are_told_in_words(tmp_path, before, now, told):
    folder_of(tmp_path, settings=SETTINGS | before)
    with pytest.raises(ValueError, match=f"the features in .* were made {told}; choose another"):
        folder_of(tmp_path, settings=SETTINGS | now)


def test_a_table_has_a_row_per_window_and_grows(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    first, second = made(3), made(2)
    folder = folder_of(tmp_path, "parquet")
    folder.write("b", "b.mp4", first)
    folder.finish()
    folder = folder_of(tmp_path, "parquet")
    assert folder.missing("b") == [] and folder.missing("a") == [*RATES]
    folder.write("a", "a.mp4", second)
    assert folder.finish() == [tmp_path / "frames_4.parquet", tmp_path / "frames_8.parquet"]
    table = parquet.read_table(tmp_path / "frames_8.parquet")
    rows = table.to_pylist()
    assert [(row["video"], row["start_frame"]) for row in rows] == [
        *(("b", 0), ("b", 5), ("b", 10), ("a", 0), ("a", 5)),
    ]
    assert rows[1]["start"] == 0.2 and rows[1]["end"] == pytest.approx(13 / 25)
    expected = np.concatenate([first.rows[Rate(8)], second.rows[Rate(8)]])
    assert np.array_equal(np.array([row["feature"] for row in rows], np.float32), expected)
    assert json.loads(table.schema.metadata[b"features"]) == SETTINGS
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("features.json", "frames_4.parquet", "frames_8.parquet"),
    ]


def test_a_run_that_stopped_behind_its_table_leaves_no_video_twice(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for _ in range(2):  # the files of the second time are those that were not removed
        folder = folder_of(tmp_path, "parquet", (Rate(4),))
        folder.write("a", "a.mp4", made(rates=(Rate(4),)))
        folder.finish()
    assert parquet.read_table(tmp_path / "frames_4.parquet").num_rows == 3


def test_a_name_that_is_no_text_is_spelt_out_in_a_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    name = os.fsdecode(b"caf\xe9")
    folder = folder_of(tmp_path, "parquet", (Rate(4),))
    folder.write(name, name + ".mp4", made(1, rates=(Rate(4),)))
    (path,) = folder.finish()
    assert parquet.read_table(path)["video"].to_pylist() == [r"caf\xe9"]
    assert folder_of(tmp_path, "parquet", (Rate(4),)).missing(name) == []


def test_a_table_without_the_sizes_of_its_videos_grows_as_it_is(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = folder_of(tmp_path, "parquet", (Rate(4),))
    folder.write("a", "a.mp4", made(1, rates=(Rate(4),)))
    (path,) = folder.finish()
    parquet.write_table(parquet.read_table(path).drop_columns("bytes"), path)
    folder = folder_of(tmp_path, "parquet", (Rate(4),))
    assert folder.missing("a", __file__) == []  # which video it was is not known
    folder.write("b", "b.mp4", made(1, rates=(Rate(4),)))
    folder.finish()
    assert parquet.read_table(path)["video"].to_pylist() == ["a", "b"]


def test_a_table_of_whole_or_spatial_features_has_them_flat(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    features = made(2, rates=(Rate(4),))
    features.rows[Rate(4)] = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    folder = folder_of(tmp_path, "parquet", (Rate(4),))
    folder.write("a", "a.mp4", features)
    (path,) = folder.finish()
    rows = parquet.read_table(path)["feature"].to_pylist()
    assert rows == [list(range(12)), list(range(12, 24))]


def test_the_fingerprint_is_that_of_the_bytes(tmp_path):
    for name, data in (("a", b"1" * 3_000_000), ("b", b"1" * 3_000_000), ("c", b"2")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_formats_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="format='h5' must be one of npy, parquet"):
        folder_of(tmp_path, "h5")


def test_modules_of_the_network_are_not_shared_with_the_copy():
    net = plain_net("R2Plus1D").eval()
    features = FeatureNet(net)
    features(clip_of(2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert features(clip_of(2)).any()
    assert isinstance(net.projection, nn.Linear)
