"""Reading videos against straightforward ways to do it, in CPU seconds, and memory over time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from slowfast.config import get_cfg
from slowfast.datasets import Batch, build_loader, open_video
from slowfast.datasets.dataset import VideoDataset, sample_generator
from slowfast.datasets.records import Records
from slowfast.datasets.sampling import DenseSampling, Indices, Sampling, SegmentSampling, union
from slowfast.datasets.transforms import Box, Crops, Normalize, RandomCrop, UniformCrops
from slowfast.datasets.video.pyav import PyAVVideo
from slowfast.engine.benchmark.film import Film
from slowfast.engine.benchmark.timing import seconds

MEAN, STD = [0.45] * 3, [0.225] * 3
RATES = ((4, 8, 16), (16, 32, 64))
NUM_FILMS = 2
DRAWS = 4  # random samples of each video per turn
ROUNDING = 0.03  # of the pixels' standard deviation, on average: whole numbers instead of floats


# ---------------------------------------------------------------------------- rows


def measure_data(
    repeats: int, num_videos: int, num_workers: int = 2, film: Film | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of ours, another way, their ratio and the goal for it, on generated videos.

    Seconds are CPU seconds per video.  Memory is watched over `num_videos`.
    """
    film = film or Film()
    tested = UniformCrops(film.height, 3)
    trained = RandomCrop(film.height * 7 // 8, (film.height, film.height * 5 // 4), flip=True)
    with TemporaryDirectory() as folder:
        paths = [film.write(Path(folder, f"{i}.mp4"), seed=i) for i in range(NUM_FILMS)]
        for counts, span in (((32,), 64), ((4, 8, 16), 128)):
            sampling = DenseSampling(counts, span, num_clips=10)
            yield from _time_testing(paths, sampling, tested, repeats)
        for counts in RATES:
            for nested in (True, False):
                name = "nested" if nested else "independent"
                segments = SegmentSampling(counts, nested=nested)
                dense = DenseSampling(counts, 128, nested=nested)
                yield from _time_rates(f"{name}, segments", paths, segments, repeats)
                yield from _time_rates(f"{name}, dense", paths, dense, repeats)
        for sampling in (DenseSampling((32,), 64), SegmentSampling((4, 8, 16), nested=True)):
            yield _time_training(paths, sampling, trained, repeats)
        yield watch_memory(paths, trained, num_videos, num_workers)


def _time_testing(
    paths: Sequence[Path], sampling: Sampling, crops: UniformCrops, repeats: int
) -> Iterator[dict[str, Any]]:
    """All views of a video against a decode for each, and against one decode of every frame.

    The ways do not take turns: a worker tests one video after the other, and so finds the memory
    of the last sample warm.
    """
    dataset = _dataset(paths, sampling, crops)
    _check_equal(dataset)

    def decode_all(index: int) -> None:
        _dataset(paths, sampling, crops, cache_bytes=10**10)[index]

    ours, per_view, once = (
        _least_seconds([read], range(len(paths)), repeats)[0]
        for read in (dataset.__getitem__, partial(_one_by_one, dataset), decode_all)
    )
    what = f"test 10x3 views, {_words(sampling)}"
    yield _row(what, "a decode per view", ours, per_view, per_view / ours, at_least=15)
    yield _row(what, "decode every frame once", ours, once, ours / once, at_most=1.5)


def _time_rates(
    name: str, paths: Sequence[Path], sampling: SegmentSampling | DenseSampling, repeats: int
) -> Iterator[dict[str, Any]]:
    """The frames of all rates against those of the highest alone: decoded, and as pictures.

    Every picture has its price, and rates that are drawn independently have more of them.
    """

    def take(how: Callable[[PyAVVideo, Tensor], object], rates: slice, key: tuple[int, int]):
        epoch, index = key
        with open_video(paths[index]) as video:
            generator = sample_generator(0, epoch, index)
            (clip,) = sampling.clips(video.num_frames, video.fps, generator)
            how(video, union([clip[rates]])[0])

    for verb, how in (("decode", _decode), ("read", PyAVVideo.frames)):
        ways = [partial(take, how, rates) for rates in (slice(None), slice(-1, None))]
        ours, highest = _least_seconds(ways, _keys(paths), repeats)
        what = f"{verb} {_words(sampling)}, {name}"
        other = f"{sampling.num_frames[-1]} frames alone"
        yield _row(what, other, ours, highest, ours / highest, at_most=1.05)


def _decode(video: PyAVVideo, wanted: Tensor) -> None:
    """All that it takes to have the frames, but not what it takes to make pictures of them."""
    deque(video.decode(wanted.numpy()), maxlen=0)


def _time_training(
    paths: Sequence[Path], sampling: Sampling, crops: RandomCrop, repeats: int
) -> dict[str, Any]:
    """A random sample against decoding all, floats, resizing and cropping."""
    dataset = _dataset(paths, sampling, crops, random=True)
    _check_equal(dataset)
    ways = [dataset.__getitem__, partial(straightforward, dataset)]
    ours, other = _least_seconds(ways, _keys(paths), repeats)
    what = f"train {crops.size} px, {_words(sampling)}"
    name = "decode all, float, resize, crop"
    return _row(what, name, ours, other, other / ours, at_least=2.5)


def _keys(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Epoch and index of the random samples that are timed."""
    return [(epoch, index) for epoch in range(DRAWS) for index in range(len(paths))]


def _least_seconds(
    ways: Sequence[Callable[[Any], object]], keys: Sequence[Any], repeats: int
) -> list[float]:
    """CPU seconds per key of each way in its best of `repeats` turns, after one to warm up.

    What else the machine does can only add to them.
    """
    turns = [
        [seconds(partial(_for_each, keys, way)).cpu / len(keys) for way in ways]
        for _ in range(repeats + 1)
    ]
    return [min(times) for times in zip(*turns[1:], strict=True)]


def _for_each(keys: Iterable[Any], read: Callable[[Any], object]) -> None:
    for key in keys:
        read(key)


def _row(
    what: str,
    other: str,
    ours_s: float,
    other_s: float,
    ratio: float,
    *,
    at_least: float = 0.0,
    at_most: float = 0.0,
) -> dict[str, Any]:
    """`at_least` is about how many times as fast ours is, `at_most` about its share of the time."""
    met = ratio >= at_least if at_least else ratio <= at_most
    goal = f"other/ours >= {at_least}" if at_least else f"ours/other <= {at_most}"
    return {
        "what": what,
        "other": other,
        "ours": f"{ours_s:.3f} s",
        "theirs": f"{other_s:.3f} s",
        "ratio": ratio,
        "goal": goal,
        "met": "yes" if met else "NO",
    }


def _words(sampling: Sampling) -> str:
    return "/".join(map(str, sampling.num_frames))


# ---------------------------------------------------------------------------- other ways


def _dataset(paths: Sequence[Path], sampling: Sampling, crops: Crops, **how: Any) -> VideoDataset:
    records = Records([str(path) for path in paths], [0] * len(paths))
    return VideoDataset(records, sampling, crops, Normalize(MEAN, STD), **how)


def straightforward(dataset: VideoDataset, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
    """A sample by decoding every frame, floats, resizing whole frames and cropping last.

    PyAV decodes as it does by itself.
    """
    clips, frames, generator = _clips_and_frames(dataset, key)
    boxes = dataset.crops.boxes(*frames.shape[1:3], generator)
    return _float_views(dataset, frames, clips, boxes)


def _one_by_one(dataset: VideoDataset, index: int) -> None:
    """The same, but with every view a sample of its own."""
    for clip in range(dataset.sampling.num_clips):
        for crop in range(dataset.crops.num_crops):
            clips, frames, _ = _clips_and_frames(dataset, index)
            boxes = dataset.crops.boxes(*frames.shape[1:3])
            _float_views(dataset, frames, clips[clip : clip + 1], [boxes[crop]])


def _clips_and_frames(
    dataset: VideoDataset, key: int | tuple[int, int]
) -> tuple[list[Indices], Tensor, torch.Generator | None]:
    epoch, index = key if isinstance(key, tuple) else (0, key)
    generator = sample_generator(dataset.seed, epoch, index) if dataset.random else None
    with av.open(dataset.records.path(index)) as container:
        stream = container.streams.video[0]
        rgb = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        fps = float(stream.average_rate)
    clips = dataset.sampling.clips(len(rgb), fps, generator)
    return clips, torch.from_numpy(np.stack(rgb)), generator


def _float_views(
    dataset: VideoDataset, frames: Tensor, clips: Sequence[Indices], boxes: Sequence[Box]
) -> tuple[Tensor, ...]:
    size = dataset.crops.size
    return tuple(
        torch.stack([_float_view(frames[where], box, size) for where in rate for box in boxes])
        for rate in zip(*clips, strict=True)
    )


def _float_view(frames: Tensor, box: Box, size: int) -> Tensor:
    x = (frames.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    x = x.permute(0, 3, 1, 2)
    scale = size / box.height
    height, width = round(x.shape[2] * scale), round(x.shape[3] * scale)
    if (height, width) != x.shape[2:]:
        x = interpolate(x, (height, width), mode="bilinear")
    top = min(round(box.top * scale), height - size)
    left = min(round(box.left * scale), width - size)
    x = x[:, :, top : top + size, left : left + size]
    return (x.flip(-1) if box.flip else x).transpose(0, 1)


def _check_equal(dataset: VideoDataset) -> None:
    """Raises ValueError if the two ways show different pictures."""
    for ours, other in zip(dataset[0].clips, straightforward(dataset, 0), strict=True):
        # Crops in whole pixels shift noise by parts of one, so compare means of some pixels.
        error = (avg_pool3d(ours, (1, 8, 8)) - avg_pool3d(other, (1, 8, 8))).abs().mean().item()
        if not error <= ROUNDING:
            raise ValueError(f"the two ways differ by {error:.3f}; at most {ROUNDING} is rounding")


# ---------------------------------------------------------------------------- memory


class Watch:
    """A collate function that adds the resident MB of the worker that ran it."""

    def __init__(self, collate: Callable[[Sequence], Batch]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence) -> tuple[Batch, int, float]:
        return self.collate(items), os.getpid(), resident_mb()


def resident_mb() -> float:
    """Memory of this process that is in RAM, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch_memory(
    paths: Sequence[Path], crops: RandomCrop, num_videos: int, num_workers: int
) -> dict[str, Any]:
    """The growth of memory, all processes together, over `num_videos` of a training loader.

    From their second tenth, when every buffer has been used, to the last one.
    """
    folder = paths[0].parent
    names = [paths[i % len(paths)].name for i in range(num_videos)]
    (folder / "train.csv").write_text("".join(f"{name} 0\n" for name in names))
    cfg = get_cfg()
    cfg.merge_from_list(
        ["FFN.ENABLE", True, "DATA.PATH_TO_DATA_DIR", str(folder), "MODEL.NUM_CLASSES", 1]
        + ["DATA.TRAIN_CROP_SIZE", crops.size, "DATA.TRAIN_JITTER_SCALES", list(crops.jitter)]
        + ["TRAIN.BATCH_SIZE", 4, "DATA_LOADER.NUM_WORKERS", num_workers, "NUM_GPUS", 0]
    )
    loader = build_loader(cfg, "train")
    loader.collate_fn = Watch(loader.collate_fn)
    history: dict[int, list[float]] = {os.getpid(): []}
    for _, worker, megabytes in loader:
        history.setdefault(worker, []).append(megabytes)
        history[os.getpid()].append(resident_mb())
    tenths = [_tenths(values) for values in history.values()]
    early, late = sum(t[1] for t in tenths), sum(t[-1] for t in tenths)
    return {
        "what": f"memory at the end of {num_videos} videos, {num_workers} workers",
        "other": "in their second tenth",
        "ours": f"{late:.0f} MB",
        "theirs": f"{early:.0f} MB",
        "ratio": late / early,
        "goal": "ours/other < 1.02",
        "met": "yes" if late / early < 1.02 else "NO",
    }


def _tenths(values: Sequence[float]) -> list[float]:
    """Means of the values' ten parts."""
    bounds = np.linspace(0, len(values), 11).astype(int)
    return [mean(values[a:b] or values) for a, b in zip(bounds, bounds[1:], strict=False)]
