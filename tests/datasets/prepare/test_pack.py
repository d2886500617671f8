"""Packed copies: the same frames at the same indices, smaller, and none half written."""

import av
import pytest
import torch

from helpers.miniatures import Videos
from helpers.videos import textured_frames, write_grey_video, write_video
from slowfast.datasets.lists import read_list
from slowfast.datasets.prepare.pack import Packing, pack_video, pack_videos
from slowfast.datasets.records import Records
from slowfast.datasets.video import open_video


def packed(folder, source, **how):
    target = folder / "copy.mp4"
    found = pack_video(open_video, Packing(**how), "name", str(source), target)
    assert not found.error and found.after == target.stat().st_size
    return target


def same_frames(copy, source) -> list[int]:
    """For each frame of `copy`, the first of `source` that looks most like it."""
    ours, theirs = (v.frames(range(v.num_frames)).float().flatten(1) for v in (copy, source))
    return torch.cdist(ours, theirs).argmin(dim=1).tolist()


def key_frames(path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    packets.sort(key=lambda packet: packet.pts)
    return [i for i, packet in enumerate(packets) if packet.is_keyframe]


def test_every_frame_keeps_its_index(tmp_path):
    source = write_video(tmp_path / "a.avi", textured_frames(40, 48, 64), codec="mpeg4")
    with open_video(packed(tmp_path, source)) as copy, open_video(source) as video:
        assert same_frames(copy, video) == list(range(40))
        assert copy.fps == 20


def test_a_variable_rate_becomes_the_constant_one_that_is_sampled(tmp_path):
    times = [0, 40, 80, 400, 440, 480, 900, 940, 1000, 1400]
    source = write_video(tmp_path / "v.mkv", textured_frames(10, 48, 64), times_ms=times)
    with open_video(packed(tmp_path, source)) as copy, open_video(source) as video:
        assert copy.num_frames == video.num_frames and copy.fps == pytest.approx(video.fps, 1e-3)
        shown = same_frames(video, video)
        assert same_frames(copy, video) == shown
        assert len(set(shown)) < 10


def test_key_frames_are_at_most_a_gop_apart(tmp_path):
    source = write_video(tmp_path / "a.mp4", textured_frames(40, 48, 64))
    keys = key_frames(packed(tmp_path, source, gop=8))
    assert keys[0] == 0 and max(b - a for a, b in zip(keys, [*keys[1:], 40], strict=True)) <= 8


def test_odd_sizes_lose_a_line_and_rotated_videos_stand_upright(tmp_path):
    source = write_video(tmp_path / "a.mp4", textured_frames(4, 48, 64), rotation=90)
    with open_video(packed(tmp_path, source)) as video:
        assert video.size == (64, 48)
    (tmp_path / "copy.mp4").unlink()
    source = write_video(
        tmp_path / "odd.mkv", textured_frames(4, 33, 47), codec="ffv1", pix_fmt="bgr0"
    )
    with open_video(packed(tmp_path, source)) as video:
        assert video.size == (32, 46)


def test_folders_of_frames_become_videos(tmp_path):
    Videos(tmp_path).put_frames(tmp_path / "frames", num_frames=6)
    copy = packed(tmp_path, tmp_path / "frames")
    with open_video(copy) as copy, open_video(tmp_path / "frames") as video:
        assert same_frames(copy, video) == list(range(6))


def test_a_video_that_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    out = tmp_path / "out"
    out.mkdir()
    found = pack_video(open_video, Packing(), "a", str(tmp_path / "a.mp4"), out / "a.mp4")
    assert "is not a video file" in found.error and list(out.iterdir()) == []


def test_a_copy_of_another_length_is_refused(tmp_path, monkeypatch):
    source = write_grey_video(tmp_path / "a.mp4", 10)

    class Losing:
        """A video that hands out one frame less than it says."""

        def __init__(self, video):
            self.video = video

        def __getattr__(self, name):
            return getattr(self.video, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.video.close()

        def frames(self, indices):
            return self.video.frames(indices)[:-1]

    opener = lambda path: Losing(open_video(path))  # noqa: E731
    target = tmp_path / "out.mp4"
    found = pack_video(opener, Packing(), "a", str(source), target)
    assert "has 9 frames" in found.error and "not 10" in found.error and not target.exists()


# ----------------------------------------------------------------------------------- data sets


@pytest.fixture
def splits(tmp_path):
    videos = Videos(tmp_path)
    names = ["x/a.mp4", "x/a.avi", "y/b c.webm"]
    videos.put(*(tmp_path / "in" / name for name in names))
    (tmp_path / "in/y/broken.mp4").touch()
    return {
        "train": Records([*names, "y/broken.mp4"], [0, 0, 1, 1], tmp_path / "in"),
        "val": Records(["x/a.mp4"], [0], tmp_path / "in"),
    }


def test_lists_of_the_copies_keep_order_labels_and_broken_videos(splits, tmp_path):
    out = tmp_path / "out"
    done = pack_videos(splits, open_video, Packing(), out, 1, ["run", "walk"])
    assert [p.name for p in done if p.error] == ["y/broken.mp4"]
    assert (out / "train.csv").read_text().splitlines() == [
        *("x/a.mp4 0", "x/a.avi.mp4 0", "y/b c.mp4 1", "y/broken.mp4 1"),
    ]
    records = read_list(out / "train.csv", 2)
    with open_video(records.path(2)) as video:
        assert video.num_frames == 12
    assert (out / "classes.txt").read_text() == "run\nwalk\n"


def test_several_labels_stay(tmp_path):
    Videos(tmp_path).put(tmp_path / "in/a.mp4")
    splits = {"train": Records(["a.mp4"], [(0, 2)], tmp_path / "in", num_classes=3)}
    pack_videos(splits, open_video, Packing(), tmp_path / "out", 1)
    assert (tmp_path / "out/train.csv").read_text() == "a.mp4 0;2\n"


def test_packing_goes_on_where_it_was_broken_off(splits, tmp_path):
    out = tmp_path / "out"
    pack_videos(splits, open_video, Packing(), out, 1)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.mp4")}
    (out / "x/a.mp4").unlink()
    (out / "y/b c.mp4.part").write_bytes(b"half")
    pack_videos(splits, open_video, Packing(), out, 1)
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.mp4")}
    assert before.keys() == after.keys()
    assert [p.name for p in before if after[p] != before[p]] == ["a.mp4"]


def test_a_folder_packed_otherwise_or_with_other_files_is_refused(splits, tmp_path):
    out = tmp_path / "out"
    pack_videos({"val": splits["val"]}, open_video, Packing(), out, 1)
    with pytest.raises(ValueError, match="was packed with .*'gop': 12.*asked is .*'gop': 4"):
        pack_videos(splits, open_video, Packing(gop=4), out, 1)
    with pytest.raises(ValueError, match="holds other files"):
        pack_videos(splits, open_video, Packing(), tmp_path / "in", 1)


def test_names_outside_of_the_root_stay_inside_of_the_copies(tmp_path):
    Videos(tmp_path).put(tmp_path / "elsewhere/a.mp4")
    records = Records([str(tmp_path / "elsewhere/a.mp4")], [0], tmp_path / "in")
    out = tmp_path / "out"
    pack_videos({"train": records}, open_video, Packing(), out, 1)
    assert (out / "elsewhere/a.mp4").exists()


def test_a_short_side_shrinks(tmp_path):
    source = write_video(tmp_path / "a.mp4", textured_frames(4, 64, 96))
    target = tmp_path / "b.mp4"
    opener = lambda path: open_video(path, short_side=32)  # noqa: E731
    pack_video(opener, Packing(32), "a", str(source), target)
    with open_video(target) as video, open_video(source, short_side=32) as small:
        assert video.size == (32, 48)
        difference = (video.frames([0]).int() - small.frames([0]).int()).abs()
        assert difference.float().mean() < 8  # noise that the encoder smooths
