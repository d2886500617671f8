"""Features of clips: what the last layer takes, for windows that slide over videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from slowfast.config import frame_counts
from slowfast.datasets import DATASETS
from slowfast.datasets.pipeline import build_crops, build_sampling
from slowfast.datasets.published import EACH_RATE
from slowfast.datasets.sampling import dense_indices
from slowfast.datasets.transforms import Crops, cut
from slowfast.datasets.video import Video
from slowfast.inference.backbones import Backbones, backbone_of
from slowfast.inference.recognizer import Recognizer
from slowfast.layers.resize import resize
from slowfast.models.flexible import Rate

LAYERS = ("map", "head")
WINDOW = 32  # frames, for networks that see whole videos in training
DECODED_BYTES = 2**29  # full frames in memory at a time


class FeatureNet:
    """Clips `(B, 3, T, H, W)` to features, by what `model` is at the rate nearest to them.

    map     the mean of the last map before pooling, `(B, C)`; its mean over time alone, with
            `spatial`: `(B, C, H', W')`
    head    what the last layer takes, `(B, C)`; the mean over positions of a dense head

    Raises ValueError for another `layer`, `spatial` features of the head, and a network that shows
    no map.  `model` is left as it is.
    """

    def __init__(self, model: nn.Module, layer: str = "map", spatial: bool = False) -> None:
        if layer not in LAYERS:
            raise ValueError(f"layer={layer!r} must be one of {', '.join(LAYERS)}")
        if spatial and layer != "map":
            raise ValueError("the head takes pooled features; spatial ones are those of the map")
        self.backbones = Backbones(model)
        self.layer, self.spatial = layer, spatial

    @torch.inference_mode()
    def __call__(self, clips: Tensor) -> Tensor:
        net = self.backbones(clips)
        if self.layer == "head":
            return _input_of_classifier(net, clips)
        return net.feature_map(clips).float().mean((2,) if self.spatial else (2, 3, 4))


def _input_of_classifier(net: nn.Module, clips: Tensor) -> Tensor:
    taken: list[Tensor] = []
    layer = net.get_submodule(net.classifier)
    handle = layer.register_forward_pre_hook(lambda _layer, args: taken.append(args[0]))
    try:
        net(clips)
    finally:
        handle.remove()
    return taken[0].float().flatten(1, -2).mean(1) if taken[0].ndim > 2 else taken[0].float()


class Windows(NamedTuple):
    """Where features of one video are taken.

    starts    first frame of each window
    length    frames of a window, and `stride`, frames from one to the next
    offsets   (T,) int64 per frame count: which frames of a window a clip has
    """

    starts: tuple[int, ...]
    length: int
    stride: int
    offsets: dict[int, Tensor]


@dataclass
class Features:
    """The features of one video.

    rows      (windows, C) float32 per rate; (windows, C, H', W') with spatial ones, and without
              the first dimension for a single clip of the whole video
    starts    first frame of each window of `window` frames, `stride` frames apart
    video_frames   frames of the video, `fps` per second
    """

    rows: dict[Rate, np.ndarray]
    starts: tuple[int, ...]
    window: int
    stride: int
    video_frames: int
    fps: float


class FeatureReader:
    """Features of videos at several rates, each video decoded once.

    `window` and `stride` are frames of the video at its own frames per second.  The clip of a
    window is taken as in testing: a frame of each of its equal parts, or evenly from its first to
    its last frame, as the network was trained.  0 stands for the usual ones: a window of what a
    dense clip spans, or of WINDOW frames where training sees whole videos, and a stride of half a
    window.  Windows lie inside the video, but for one that is longer.  With `whole` there is one
    clip of the whole video, as in testing with one view.  `batch` clips run together.
    Raises ValueError for a negative number, and as `FeatureNet` does.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        layer: str = "map",
        *,
        spatial: bool = False,
        window: int = 0,
        stride: int = 0,
        whole: bool = False,
        batch: int = 16,
    ) -> None:
        backbone_of(recognizer.net)
        for name, value, least in (
            ("window", window, 0),
            ("stride", stride, 0),
            ("batch", batch, 1),
        ):
            if value < least:
                raise ValueError(f"{name}={value} must be {least} or more")
        self.recognizer, self.net = recognizer, FeatureNet(recognizer.net, layer, spatial)
        self.window, self.stride, self.whole, self.batch = window, stride, whole, batch
        cfg = recognizer.cfg.clone()
        cfg.defrost()
        cfg.TEST.NUM_ENSEMBLE_VIEWS = cfg.TEST.NUM_SPATIAL_CROPS = 1
        self.cfg, self.entry = cfg, DATASETS.get(cfg.TEST.DATASET)
        self.crops = build_crops(cfg, "test", self.entry)

    def __call__(self, video: Video, rates: Sequence[Rate]) -> Features:
        """The features of `video` at `rates`; size 0 is the usual one.

        Raises VideoError if it cannot be read.
        """
        windows = self.windows(video, sorted({rate.num_frames for rate in rates}))
        rows: dict[Rate, list[Tensor]] = {rate: [] for rate in rates}
        pixels = _Pixels(video, self.crops)
        for starts in _parts(windows.starts, self.batch):
            pixels.load([s + o for s in starts for o in windows.offsets.values()])
            for rate in rates:
                clips = self._clips(pixels, starts, windows.offsets[rate.num_frames], rate)
                rows[rate].append(self.net(clips.to(self.recognizer.device)).cpu())
        arrays = {rate: torch.cat(parts).numpy() for rate, parts in rows.items()}
        if self.whole:
            arrays = {rate: array[0] for rate, array in arrays.items()}
        facts = windows.starts, windows.length, windows.stride, video.num_frames, video.fps
        return Features(arrays, *facts)

    def windows(self, video: Video, counts: Sequence[int]) -> Windows:
        """The windows of `video`, and which of their frames clips of `counts` frames take."""
        length, fps = video.num_frames, video.fps
        if self.whole:
            return Windows((0,), length, length, self._as_in_testing(counts, length, fps))
        window = min(self.window or self._usual_window(fps, counts), length)
        stride = self.stride or max(window // 2, 1)
        starts = tuple(range(0, length - window + 1, stride))
        if self._sees_parts:
            return Windows(starts, window, stride, self._as_in_testing(counts, window, fps))
        offsets = {count: dense_indices(window, count, 0, window) for count in counts}
        return Windows(starts, window, stride, offsets)

    @property
    def _kind(self) -> str:
        kind = self.cfg.DATA.SAMPLING
        return self.entry.sampling if kind == "auto" else kind

    @property
    def _sees_parts(self) -> bool:
        """Whether clips are frames of equal parts of all that there is."""
        return self._kind == "segment" or self._kind in EACH_RATE

    def _usual_window(self, fps: float, counts: Sequence[int]) -> int:
        data, most = self.cfg.DATA, frame_counts(self.cfg)[-1]
        if self._sees_parts:
            return max(WINDOW, most, *counts)
        return max(round(most * data.SAMPLING_RATE * fps / data.TARGET_FPS), 1)

    def _as_in_testing(self, counts: Sequence[int], length: int, fps: float) -> dict[int, Tensor]:
        self.cfg.TEST.NUM_FRAMES = list(counts)
        sampling = build_sampling(self.cfg, "test", self.entry)
        (indices,) = sampling.clips(length, fps)
        return dict(zip(sampling.num_frames, indices, strict=True))

    def _clips(self, pixels: _Pixels, starts: Sequence[int], offsets: Tensor, rate: Rate) -> Tensor:
        """`(B, 3, T, S, S)`: the clips of windows, normalised and then resized as in testing."""
        normalize, side = self.recognizer.normalize, self.recognizer.side(rate.size)
        clips = torch.stack([normalize(pixels.at(start + offsets)) for start in starts])
        return resize(clips, (rate.num_frames, side, side))


def _parts(items: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    return (items[i : i + most] for i in range(0, len(items), most))


class _Pixels:
    """The crops of a video's frames, decoded in order and kept as long as windows need them."""

    def __init__(self, video: Video, crops: Crops) -> None:
        self.video, self.crops = video, crops
        self._kept: dict[int, Tensor] = {}

    def load(self, wanted: Sequence[Tensor]) -> None:
        """Have all the frames `wanted`, and forget those before them."""
        indices = torch.unique(torch.cat(list(wanted))).tolist()
        self._kept = {i: pixels for i, pixels in self._kept.items() if i >= indices[0]}
        missing = [i for i in indices if i not in self._kept]
        frame_bytes = self.video.num_bytes // self.video.num_frames
        for part in _parts(missing, max(DECODED_BYTES // frame_bytes, 1)):
            frames = self.video.frames(part)
            (box,) = self.crops.boxes(*frames.shape[1:3])
            self._kept |= zip(part, cut(frames, box, self.crops.size), strict=True)

    def at(self, indices: Tensor) -> Tensor:
        """`(n, 3, S, S)` uint8."""
        return torch.stack([self._kept[i] for i in indices.tolist()])
