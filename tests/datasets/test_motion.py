from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.datasets.lists import read_list
from slowfast.datasets.motion import (
    FPS,
    FRAMES,
    MOTIONS,
    render,
    write_held_out,
    write_motion,
)


def centroid(frames):
    """Centre of the bright disk in each frame, (T, 2) as x, y."""
    found = []
    for frame in frames:
        y, x = np.nonzero(frame.min(axis=2) > 172)
        found.append((x.mean(), y.mean()))
    return np.array(found)


def test_files_are_h264_of_varying_length_and_rate(motion):
    lengths, rates = set(), set()
    for path in sorted((motion / "train").iterdir()):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height) == (128, 96)
            lengths.add(stream.frames)
            rates.add(int(stream.average_rate))
    assert len(lengths) > 5 and min(lengths) >= FRAMES[0] and max(lengths) <= FRAMES[1]
    assert len(rates) > 2 and rates <= set(FPS)


def test_lists_are_kinetics_style_and_balanced(motion):
    lines = (motion / "train.csv").read_text().split()
    assert lines[0] == "train/00000.mp4"
    labels = [int(label) for label in lines[1::2]]
    assert all(labels.count(k) == 2 for k in range(len(MOTIONS)))


def test_the_same_seed_gives_the_same_files(motion, tmp_path):
    again = write_motion(tmp_path, train_videos=1, val_videos=1, workers=1)
    assert (again / "train/00000.mp4").read_bytes() == (motion / "train/00000.mp4").read_bytes()


def test_held_out_videos_are_new_and_stand_beside_the_others(motion, tmp_path):
    folder = write_held_out(tmp_path / "held_out", motion, videos=16, workers=1)
    records = {split: read_list(folder / f"{split}.csv", 16) for split in ("train", "val", "test")}
    assert [len(part) for part in records.values()] == [32, 16, 16]
    paths = {Path(part.path(i)) for part in records.values() for i in range(len(part))}
    assert len({path.read_bytes() for path in paths}) == len(paths) == 64
    assert Counter(records["test"].labels.tolist()) == Counter(range(16))
    times = [path.stat().st_mtime_ns for path in paths]
    assert write_held_out(folder, motion, videos=16) == folder
    assert times == [path.stat().st_mtime_ns for path in paths]
    with pytest.raises(ValueError, match="was made with"):
        write_held_out(folder, motion, videos=32)


def test_another_seed_makes_other_videos_to_test(motion, tmp_path):
    first = write_held_out(tmp_path / "a", motion, videos=4, workers=1)
    other = write_held_out(tmp_path / "b", motion, videos=4, seed=99, workers=1)
    names = sorted(path.name for path in (first / "test").iterdir())
    assert names == sorted(path.name for path in (other / "test").iterdir())
    assert all(
        (first / "test" / n).read_bytes() != (other / "test" / n).read_bytes() for n in names
    )


def test_another_data_set_is_not_overwritten(motion):
    with pytest.raises(ValueError, match="remove it"):
        write_motion(motion, train_videos=1, val_videos=1)


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1)]
)
def test_the_rendered_disk_moves_as_its_class_says(name, axis, sign, monkeypatch):
    elsewhere = lambda count, rng: (np.full((count, 2), -99.0), 1.0, np.zeros(3))  # noqa: E731
    monkeypatch.setattr("slowfast.datasets.motion._distractor", elsewhere)
    for seed in range(3):
        path = centroid(render(name, np.random.default_rng(seed)))
        travelled = sign * (path[-1] - path[0])
        assert travelled[axis] > 8
        assert abs(travelled[1 - axis]) < 2


@pytest.mark.parametrize("name", MOTIONS)
def test_the_middle_frame_says_nothing_about_the_class(name):
    offset, growth = MOTIONS[name](np.linspace(0, 1, 101), np.random.default_rng(0))
    assert offset[50] == pytest.approx([0, 0], abs=1e-9)
    assert growth[50] == pytest.approx(0, abs=1e-9)


def test_the_order_of_frames_tells_reversed_motions_apart():
    u = np.linspace(0, 1, 33)
    for name, reverse in (("right", "left"), ("move_stop", "stop_move"), ("grow", "shrink")):
        forward = MOTIONS[name](u, np.random.default_rng(1))
        backward = MOTIONS[reverse](u, np.random.default_rng(1))
        sign = -1 if name == "move_stop" else 1  # it runs towards its anchor, the other away
        assert forward[0][::-1] == pytest.approx(sign * backward[0], abs=1e-9)
        assert forward[1][::-1] == pytest.approx(backward[1], abs=1e-9)
