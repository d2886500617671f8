"""Whatever a video comes as, the same frames are seen."""

import io

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.runs import tiny_cfg
from helpers.videos import cut, decode_all, read_indices, write_audio, write_grey_video
from slowfast.datasets import VideoError, loader, open_video
from slowfast.inference import sources
from slowfast.inference.sources import ArrayVideo, clip_seconds, open_source


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_grey_video(tmp_path_factory.mktemp("video") / "grey.mp4", 20)


@pytest.fixture
def cfg(tmp_path):
    return tiny_cfg(tmp_path, tmp_path)


def shrinking(tmp_path):
    return tiny_cfg(tmp_path, tmp_path, "DATA.DECODE_SHORT_SIDE", 24)


def seen(source, cfg, indices=(3, 3, 11)):
    with open_source(source, cfg) as video:
        return read_indices(video.frames(indices))


def test_a_path_an_open_file_bytes_and_an_array_show_the_same_frames(video, cfg):
    array = np.stack(decode_all(video))
    with open(video, "rb") as file:
        sources = [video, str(video), file, io.BytesIO(video.read_bytes()), array]
        sources += [torch.from_numpy(array), open_video(video)]
        assert [seen(source, cfg) for source in sources] == [[3, 3, 11]] * 7
        assert not file.closed


def test_an_open_file_is_named_in_errors(tmp_path, video, cfg):
    path = cut(video, tmp_path / "torn.mp4", 0.5)
    with open(path, "rb") as file, pytest.raises(VideoError, match="torn.mp4 is not a video file"):
        seen(file, cfg)
    with pytest.raises(VideoError, match="the file object is not a video file"):
        seen(io.BytesIO(b"nothing"), cfg)
    with pytest.raises(VideoError, match="the file object has no video stream"):
        seen(io.BytesIO(write_audio(tmp_path / "sound.mp4").read_bytes()), cfg)


def test_a_folder_of_images_is_a_video(tmp_path, video, cfg):
    for i, picture in enumerate(decode_all(video)):
        Image.fromarray(picture).save(tmp_path / f"{i:03d}.png")
    assert seen(tmp_path, cfg) == [3, 3, 11]


def test_arrays_are_shrunk_as_files_are(video, tmp_path):
    cfg = shrinking(tmp_path)
    array = np.stack(decode_all(video))
    pictures = []
    for source in (video, array, array.transpose(0, 2, 1, 3)):
        with open_source(source, cfg) as opened:
            pictures.append(opened.frames([2, 5]))
    assert [tuple(p.shape) for p in pictures] == [(2, 24, 32, 3)] * 2 + [(2, 32, 24, 3)]
    assert torch.equal(pictures[0], pictures[1])


def test_frames_of_an_array_have_the_rate_of_folders(cfg, tmp_path):
    with open_source(np.zeros((6, 4, 4, 3), np.uint8), cfg) as video:
        assert (video.fps, video.num_frames) == (30.0, 6)
    slow = tiny_cfg(tmp_path, tmp_path, "DATA.IMAGE_FPS", 12.0)
    with open_source(torch.zeros(6, 4, 4, 3, dtype=torch.uint8), slow) as video:
        assert video.fps == 12.0


@pytest.mark.filterwarnings("error")
def test_arrays_that_may_not_be_written_and_mirrored_ones_are_read():
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    frames[:, :, 0] = 255
    frames.flags.writeable = False
    assert ArrayVideo(frames[:, :, ::-1]).frames([0, 1])[0, 0, :, 0].tolist() == [0] * 5 + [255]
    assert ArrayVideo(frames[::-1], short_side=2).frames([0]).shape == (1, 2, 3, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 8, 8, 3)),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((3, 4, 8, 8), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        torch.zeros(4, 8, 8, 1, dtype=torch.uint8),
    ],
    ids=["floats", "one frame", "channels first", "none", "grey"],
)
def test_an_array_of_another_shape_or_type_is_refused(array, cfg):
    with pytest.raises(ValueError, match=r"is no video; give \(T, H, W, 3\) uint8"):
        seen(array, cfg)


@pytest.mark.parametrize("source", [None, 1.5, True, [1, 2]])
def test_what_is_no_source_is_refused_by_its_type(source, cfg):
    with pytest.raises(ValueError, match="is no source of frames; give a path"):
        seen(source, cfg)


def test_pyav_decodes_where_the_back_end_of_training_is_missing(video, cfg, monkeypatch, caplog):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.DECODING_BACKEND = "torchcodec"

    def missing(backend):
        if backend == "torchcodec":
            raise ValueError("torchcodec is not installed")

    monkeypatch.setattr(loader, "check_backend", missing)
    assert [seen(video, cfg), seen(video, cfg)] == [[3, 3, 11]] * 2
    assert caplog.text.count("PyAV decodes in the place of torchcodec: torchcodec is not in") == 1


def test_a_path_that_is_not_there_is_named(cfg):
    with pytest.raises(VideoError, match="nothing.mp4 does not exist"):
        seen("nothing.mp4", cfg)


# ---------------------------------------------------------------------------- cameras


def test_a_camera_that_is_not_there_is_said_with_where_it_was_looked_for(cfg):
    with pytest.raises(VideoError, match="camera 77 cannot be opened .*check its number"):
        seen(77, cfg)


def test_a_camera_is_recorded_for_as_long_as_a_clip_lasts(video, cfg, monkeypatch):
    opened = []
    monkeypatch.setattr(sources, "CAMERA_SECONDS", 0.5)
    monkeypatch.setattr(sources, "open_camera", lambda i: opened.append(i) or av.open(str(video)))
    with open_source(2, cfg) as recorded:
        assert opened == [2] and recorded.path == "camera 2"
        assert recorded.num_frames == 11 and recorded.fps == pytest.approx(20)
        assert read_indices(recorded.frames(range(11))) == list(range(11))


def test_an_endless_video_is_seen_for_the_span_of_a_dense_clip(tmp_path):
    assert clip_seconds(tiny_cfg(tmp_path, tmp_path)) == 2.0
    dense = ["TEST.DATASET", "kinetics", "DATA.SAMPLING_RATE", 15]
    assert clip_seconds(tiny_cfg(tmp_path, tmp_path, *dense)) == 4 * 15 / 30


@pytest.mark.parametrize("rule", ["segment", "clips", "tsn", "sth_ffn", "frameexit"])
def test_and_for_two_seconds_by_every_rule_that_sees_whole_videos(tmp_path, rule):
    assert clip_seconds(tiny_cfg(tmp_path, tmp_path, "DATA.SAMPLING", rule)) == 2.0


def test_pictures_come_upright_and_in_time(tmp_path):
    path = write_grey_video(tmp_path / "turned.mp4", 5, (32, 48), rotation=90)
    with av.open(str(path)) as container:
        times, pictures = zip(*sources.moving_pictures(container), strict=True)
    assert times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert pictures[0].shape == (48, 32, 3)


def test_systems_name_their_cameras_each_in_its_way(monkeypatch):
    for platform, expected in {
        "linux": ("v4l2", "/dev/video1"),
        "darwin": ("avfoundation", "1"),
    }.items():
        monkeypatch.setattr(sources.sys, "platform", platform)
        assert sources._address(1) == expected
