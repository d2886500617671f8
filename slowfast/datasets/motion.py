"""A small data set of real H.264 files whose classes only motion over time tells apart.

Every video shows one bright disk on a textured, shaking background among square distractors.  What
the disk does is the class.  The middle frame is drawn alike for all classes, so a network has to
use time; sixteen classes differ in direction, order (`move_stop` and `stop_move`), sense of
rotation, growth and tempo (`right_left` turns once, `shake_x` three times).
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

WIDTH, HEIGHT = 128, 96
FRAMES = (24, 48)  # shortest and longest video
FPS = (10, 12, 15, 20, 24, 25, 30)
STREAMS = {"val": 0, "train": 1, "test": 2}  # random numbers of each split

# A motion maps time u (T,) in [0, 1] to the disk's offset (T, 2) in units of its reach and to the
# logarithm of its growth (T,), both 0 at u = 1/2.
Path2D = tuple[np.ndarray, np.ndarray]
Motion = Callable[[np.ndarray, Generator], Path2D]


def _shift(u: np.ndarray, rng: Generator, direction: tuple[int, int]) -> Path2D:
    return np.outer(2 * u - 1, direction), np.zeros_like(u)


def _sway(u: np.ndarray, rng: Generator, direction: tuple[int, int], turns: int) -> Path2D:
    wave = 2 / np.pi * np.arcsin(np.cos(np.pi * (turns + 1) * (u - 0.5)))  # triangle, 1 at 1/2
    return np.outer(wave - 1, direction), np.zeros_like(u)


def _circle(u: np.ndarray, rng: Generator, sense: int) -> Path2D:
    start = 2 * np.pi * rng.random()
    angle = start + 2 * np.pi * sense * (u - 0.5)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring - (np.cos(start), np.sin(start)), np.zeros_like(u)


def _grow(u: np.ndarray, rng: Generator, sense: int) -> Path2D:
    return np.zeros((len(u), 2)), sense * 0.55 * (2 * u - 1)


def _half(u: np.ndarray, rng: Generator, first: bool) -> Path2D:
    angle = 2 * np.pi * rng.random()
    run = np.minimum(u - 0.5, 0) if first else np.maximum(u - 0.5, 0)
    return np.outer(3 * run, [np.cos(angle), np.sin(angle)]), np.zeros_like(u)


MOTIONS: dict[str, Motion] = {
    "right": partial(_shift, direction=(1, 0)),
    "left": partial(_shift, direction=(-1, 0)),
    "down": partial(_shift, direction=(0, 1)),
    "up": partial(_shift, direction=(0, -1)),
    "right_left": partial(_sway, direction=(1, 0), turns=1),
    "left_right": partial(_sway, direction=(-1, 0), turns=1),
    "down_up": partial(_sway, direction=(0, 1), turns=1),
    "up_down": partial(_sway, direction=(0, -1), turns=1),
    "shake_x": partial(_sway, direction=(1, 0), turns=3),
    "shake_y": partial(_sway, direction=(0, 1), turns=3),
    "clockwise": partial(_circle, sense=1),
    "anticlockwise": partial(_circle, sense=-1),
    "grow": partial(_grow, sense=1),
    "shrink": partial(_grow, sense=-1),
    "move_stop": partial(_half, first=True),
    "stop_move": partial(_half, first=False),
}


def render(motion: str, rng: Generator) -> np.ndarray:
    """The frames `(T, H, W, 3)` uint8 of one video of the class `motion`."""
    num_frames = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    u = np.linspace(0, 1, num_frames)
    offset, growth = MOTIONS[motion](u, rng)
    centre = np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-1, 1, 2) * (14, 10)
    path = centre + offset * np.exp(rng.uniform(np.log(5), np.log(18)))  # slow and fast alike
    radius = rng.uniform(6, 10) * np.exp(growth)
    colour = rng.uniform(160, 255, 3)

    backgrounds = _shaking_texture(num_frames, rng)
    distractors = [_distractor(num_frames, rng) for _ in range(rng.integers(2, 5))]
    noise = rng.standard_normal((2 * HEIGHT, 2 * WIDTH, 3), np.float32) * 8
    frames = np.empty((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    for t, canvas in enumerate(backgrounds):
        for track, half, shade in distractors:
            _paint(canvas, track[t], half, shade, np.maximum)
        _paint(canvas, path[t], radius[t], colour, np.hypot)
        dy, dx = rng.integers(0, (HEIGHT, WIDTH))
        frames[t] = (canvas + noise[dy : dy + HEIGHT, dx : dx + WIDTH]).clip(0, 255)
    return frames


def _paint(
    canvas: np.ndarray, centre: np.ndarray, radius: float, colour: np.ndarray, norm: np.ufunc
) -> None:
    """Paint the ball of `norm` (hypot: a disk, maximum: a square) with smooth edges."""
    x0, y0 = np.maximum(centre - radius - 1, 0).astype(int)
    patch = canvas[y0 : int(centre[1] + radius) + 2, x0 : int(centre[0] + radius) + 2]
    if not patch.size:  # wandered out of the picture
        return
    y, x = np.ogrid[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]]
    inside = radius - norm(abs(x - centre[0]), abs(y - centre[1]))
    patch += (inside + 0.5).clip(0, 1)[..., None] * (colour - patch)


def _shaking_texture(num_frames: int, rng: Generator) -> Iterator[np.ndarray]:
    """Float frames `(H, W, 3)` of a smooth random texture under a hand-held camera."""
    cell, margin = 12, 8
    texture = rng.uniform(30, 160, (HEIGHT // cell + 4, WIDTH // cell + 4, 3)).astype(np.float32)
    texture = texture.repeat(cell, axis=0).repeat(cell, axis=1)
    for axis in (0, 1):  # a box filter over one cell turns the blocks into ramps
        texture = sum(np.roll(texture, k, axis) for k in range(cell)) / cell
    shake = np.cumsum(rng.normal(0, 0.8, (num_frames, 2)), axis=0).clip(-margin, margin)
    for dy, dx in shake.round().astype(int) + cell + margin:
        yield texture[dy : dy + HEIGHT, dx : dx + WIDTH].copy()


def _distractor(num_frames: int, rng: Generator) -> tuple[np.ndarray, float, np.ndarray]:
    """Centres `(T, 2)`, half side and colour of a square that wanders without aim."""
    start = rng.uniform(0, 1, 2) * (WIDTH, HEIGHT)
    track = start + np.cumsum(rng.normal(0, 1.0, (num_frames, 2)), axis=0)
    return track, rng.uniform(4, 8), rng.uniform(0, 255, 3)


def _encode(path: Path, frames: np.ndarray, fps: int) -> None:
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _write_video(folder: Path, seed: int, split: str, index: int) -> str:
    """Write one video and return its line of the list."""
    label = index % len(MOTIONS)
    rng = np.random.default_rng([seed, STREAMS[split], index])
    name = f"{split}/{index:05d}.mp4"
    _encode(folder / name, render(list(MOTIONS)[label], rng), int(rng.choice(FPS)))
    return f"{name} {label}"


def write_motion(
    folder: str | Path,
    train_videos: int = 800,
    val_videos: int = 480,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Write the videos, `train.csv`, `val.csv` (Kinetics lists) and `classes.txt` below `folder`.

    Classes are balanced; the same arguments give the same pictures.  A finished folder made with
    the same arguments is kept.  `workers` processes, by default one per core.  Returns `folder`.
    Raises ValueError if `folder` holds another motion data set.
    """
    folder = Path(folder)
    made_with = {"train_videos": train_videos, "val_videos": val_videos, "seed": seed}
    done = folder / "motion.json"
    if done.exists():
        if (found := json.loads(done.read_text())) == made_with:
            return folder
        raise ValueError(f"{folder} was made with {found}, asked is {made_with}; remove it")
    for split, count in (("train", train_videos), ("val", val_videos)):
        _write_split(folder, split, count, seed, workers)
    (folder / "classes.txt").write_text("\n".join(MOTIONS) + "\n")
    done.write_text(json.dumps(made_with))
    return folder


def write_held_out(
    folder: str | Path,
    motion: str | Path,
    videos: int = 480,
    seed: int | None = None,
    workers: int | None = None,
) -> Path:
    """Write a data set that tests on `videos` new ones what was trained and tuned on `motion`.

    Its `train.csv` and `val.csv` list the videos of `motion`, a folder of `write_motion`; its
    `test.csv` new ones below `folder`, of the same seed (None) or another.  What is finished is
    kept.  Returns `folder`.  Raises ValueError if `folder` holds another data set.
    """
    folder, motion = Path(folder), Path(motion)
    if seed is None:
        seed = json.loads((motion / "motion.json").read_text())["seed"]
    made_with = {"motion": os.path.relpath(motion, folder), "test_videos": videos, "seed": seed}
    done = folder / "held_out.json"
    if done.exists():
        if (found := json.loads(done.read_text())) == made_with:
            return folder
        raise ValueError(f"{folder} was made with {found}, asked is {made_with}; remove it")
    _write_split(folder, "test", videos, seed, workers)
    for split in ("train", "val"):
        lines = (motion / f"{split}.csv").read_text().splitlines()
        moved = "".join(f"{made_with['motion']}/{line}\n" for line in lines)
        (folder / f"{split}.csv").write_text(moved)
    (folder / "classes.txt").write_text((motion / "classes.txt").read_text())
    done.write_text(json.dumps(made_with))
    return folder


def _write_split(folder: Path, split: str, count: int, seed: int, workers: int | None) -> None:
    """Videos and list of one split."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = pool.map(partial(_write_video, folder, seed, split), range(count), chunksize=8)
        lines = list(tqdm(jobs, desc=f"{split} videos", total=count, unit="video"))
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
