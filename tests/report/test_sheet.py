"""The contact sheet: a strip for every video and rate."""

import numpy as np
from matplotlib import rcParams
from matplotlib.image import imread

from slowfast.report.sheet import Row, save_sheet
from slowfast.report.style import DPI

RED, GREEN = (200, 0, 0), (0, 200, 0)


def clip(colour, frames: int) -> np.ndarray:
    return np.full((frames, 8, 8, 3), colour, np.uint8)


def strips(path) -> list[tuple[int, int]]:
    """For each strip from the top: its colour (0 red, 1 green) and how many frames it has."""
    pixels = (imread(path)[..., :3] * 255).astype(int)
    found = []
    marks = np.abs(pixels - np.array([RED, GREEN])[:, None, None]).max(-1) < 30  # (2, H, W)
    colour_rows = marks.any(axis=(0, 2))
    starts = np.flatnonzero(colour_rows[1:] & ~colour_rows[:-1])
    ends = np.flatnonzero(~colour_rows[1:] & colour_rows[:-1])
    for start, end in zip(starts, ends, strict=True):
        line = marks[:, (start + end) // 2]
        colour = int(line[1].any())
        found.append((colour, int((line[colour][1:] & ~line[colour][:-1]).sum())))
    return found


def test_each_video_has_a_strip_per_rate_low_to_high(tmp_path):
    rows = [
        Row("run", "a.mp4", {4: clip(RED, 4), 2: clip(RED, 2)}),
        Row("walk", "b.mp4", {2: clip(GREEN, 2), 4: clip(GREEN, 4)}),
    ]
    before = dict(rcParams)
    save_sheet(tmp_path / "sheet.png", "title", rows)
    assert dict(rcParams) == before
    assert strips(tmp_path / "sheet.png") == [(0, 2), (0, 4), (1, 2), (1, 4)]


def test_of_long_clips_sixteen_frames_are_shown(tmp_path):
    save_sheet(tmp_path / "sheet.png", "title", [Row("run", "a.mp4", {64: clip(RED, 64)})])
    assert strips(tmp_path / "sheet.png") == [(0, 16)]


def test_frames_are_not_scaled_in_brightness(tmp_path):
    dark = np.full((1, 8, 8, 3), 60, np.uint8)
    save_sheet(tmp_path / "sheet.png", "title", [Row("run", "a.mp4", {1: dark})])
    pixels = imread(tmp_path / "sheet.png")
    x, y = int(0.85 * DPI), int(1.2 * DPI)
    assert np.allclose(pixels[y, x, :3] * 255, 60, atol=2)
