"""A trained network as a user wants it: a video in, labels and scores out."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode
from slowfast.datasets import DATASETS
from slowfast.datasets.pipeline import build_crops, build_sampling
from slowfast.datasets.sampling import Sampling
from slowfast.datasets.transforms import Normalize
from slowfast.datasets.transforms.crops import cut
from slowfast.inference.budget import (
    LEAST_MARGIN,
    Cost,
    Costs,
    bound,
    place,
    rising,
    timed_blocks,
    unsteadiness,
)
from slowfast.inference.precision import PRECISIONS, ToLogits, check_precision
from slowfast.inference.predictions import Prediction, top_classes
from slowfast.inference.sources import Source, clip_seconds, open_source
from slowfast.layers.resize import resize
from slowfast.models import FrameFlexible, final_logits, to_scores
from slowfast.models.flexible import Rate, specialize
from slowfast.models.frame_exit import FrameExit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """The frames of one video that a network will see, `pixels` (T, S, S, 3) uint8.

    indices        (T,) int64, which frames of the video these are
    video_frames   how many it has, `fps` per second
    seconds        from the source to here
    """

    pixels: Tensor
    indices: Tensor
    video_frames: int
    fps: float
    name: str
    seconds: float


@dataclass(frozen=True)
class Clip(Cut):
    """One video as a network sees it: `tensor` (1, 3, T, S, S) float32, normalised."""

    tensor: Tensor


class Recognizer(nn.Module):
    """A network with what its training knew: classes, frames, pixels, and what it costs.

        model = slowfast.load("best.safetensors")
        print(model.predict("clip.mp4", frames=8))

    net      built by `build_model(cfg)`, plain or frame-flexible
    labels   names of the classes, "class 3" where there are none
    rates    the trained ones, cheap to dear; a plain network has one
    costs    the table measured on this device with so many threads, or None; `tables` has all

    It sees a video as testing does with one view of one crop, and runs the specialised network of
    the rate, made when first needed from the weights of that moment, in `precision`: fp32, bf16 or
    fp16.  Raises ValueError for another one.
    """

    def __init__(
        self,
        net: nn.Module,
        cfg: CfgNode,
        labels: Sequence[str] = (),
        costs: Costs | Sequence[Costs] | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.net = net
        self.cfg = cfg
        self.labels = tuple(labels) or tuple(f"class {k}" for k in range(cfg.MODEL.NUM_CLASSES))
        self.tables = [costs] if isinstance(costs, Costs) else list(costs or ())
        data = cfg.DATA
        self.normalize = Normalize(data.MEAN, data.STD, bgr=data.REVERSE_INPUT_CHANNEL)
        self.precision = precision
        check_precision(precision, self.device)
        self._testing = _testing_cfg(cfg)
        self._entry = DATASETS.get(cfg.TEST.DATASET)
        self._crops = build_crops(self._testing, "test", self._entry)
        self.clock: Callable[[], float] = time.perf_counter
        self._nets: dict[Rate, nn.Module] = {}
        self._warm: set[Rate] = set()
        self._told = False
        self._samplings: dict[int, Sampling] = {}
        self._gflops: dict[Rate, float] = {}
        self.eval()

    @property
    def rates(self) -> tuple[Rate, ...]:
        if isinstance(self.net, FrameFlexible):
            return self.net.rates.all
        return (Rate(self.cfg.DATA.NUM_FRAMES),)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def costs(self) -> Costs | None:
        """What was measured where the network is now, for the rates that it has."""
        here, rates = place(self.device, self.precision), set(self.rates)
        found = (table for table in self.tables if table.place == here)
        return next((table for table in found if set(table.rows) == rates), None)

    def forward(self, clip: Tensor) -> Tensor:
        """Logits of a batch `(B, 3, T, S, S)` at the rate nearest to it."""
        return final_logits(self.net(clip))

    @property
    def clip_seconds(self) -> float:
        """How much of an endless video one prediction sees."""
        return clip_seconds(self.cfg)

    # ------------------------------------------------------------------ rates

    def nearest(self, num_frames: int, size: int = 0) -> Rate:
        """The trained rate whose private layers run for such a clip; size 0 is the usual one."""
        if not isinstance(self.net, FrameFlexible):
            return self.rates[0]
        rates = self.net.rates
        return rates.rate(rates.nearest(num_frames, self.side(size)))

    def side(self, size: int = 0) -> int:
        """Pixels of a side: `size`, where 0 is the largest trained one, or else that of testing."""
        return size or max(rate.size for rate in self.rates) or self.cfg.DATA.TEST_CROP_SIZE

    def at(self, rate: Rate | int) -> nn.Module:
        """The specialised network for clips of `rate`, to logits; made once."""
        trained = self.nearest(*(rate if isinstance(rate, tuple) else (rate,)))
        if trained not in self._nets:
            with torch.inference_mode(False):  # or no gradient could pass it, ever
                net = specialize(self.net, trained.num_frames, size=trained.size)
            if isinstance(net, FrameExit) or self.precision != "fp32":
                net = ToLogits(net, PRECISIONS[self.precision])
            self._nets[trained] = net
        return self._nets[trained]

    def gflops(self, num_frames: int, size: int = 0) -> float:
        """Billions of multiply-adds of one such clip, counted without computing."""
        from slowfast.report.cost import gflops  # which imports the figures' library

        key = Rate(num_frames, self.side(size))
        if key not in self._gflops:
            net = copy.deepcopy(self.at(key)).to("meta")
            self._gflops[key] = gflops(net, (1, 3, num_frames, key.size, key.size))
        return self._gflops[key]

    def counted(self) -> Costs:
        """The GFLOPs of all trained rates, without times."""
        return Costs({rate: Cost(self.gflops(*rate)) for rate in self.rates})

    # ------------------------------------------------------------------ a video

    def read(self, source: Source, num_frames: int, size: int = 0) -> Clip:
        """The clip of `num_frames` frames that testing takes of `source` in one view, one crop.

        See `open_source` for what a source may be, and for what is raised.
        """
        return self.clip_of(self.cut(source, num_frames), size)

    def clip_of(self, found: Cut, size: int = 0) -> Clip:
        """What the network sees of the frames that `cut` returned, at `size`."""
        start = self.clock()
        tensor = self._tensor(found.pixels, size)
        pixels = found.pixels
        if tensor.shape[-1] != pixels.shape[2]:
            pixels = self.normalize.pixels(tensor[0])
        seconds = found.seconds + self.clock() - start
        return Clip(**vars(found) | {"pixels": pixels, "seconds": seconds}, tensor=tensor)

    def cut(self, source: Source, num_frames: int) -> Cut:
        """The pixels of the frames that testing takes, at DATA.TEST_CROP_SIZE."""
        start = self.clock()
        with open_source(source, self.cfg) as video:
            ((indices,),) = self._sampling(num_frames).clips(video.num_frames, video.fps)
            wanted, positions = torch.unique(indices, return_inverse=True)
            frames = video.frames(wanted)
            facts = (video.num_frames, video.fps, video.path)
        (box,) = self._crops.boxes(*frames.shape[1:3])
        pixels = cut(frames, box, self._crops.size).permute(0, 2, 3, 1)[positions]
        return Cut(pixels, indices, *facts, self.clock() - start)

    @torch.inference_mode()
    def scores(self, clip: Clip) -> Tensor:
        """(K,) scores of the classes: probabilities, unless MODEL.HEAD_ACT says otherwise."""
        return self._scores(clip.tensor).cpu()

    @torch.inference_mode()
    def run(self, pixels: Tensor, size: int = 0) -> Tensor:
        """(K,) scores of the pixels that `cut` returned, on the CPU: the step that has a budget."""
        return self._scores(self._tensor(pixels, size)).cpu()

    def _scores(self, tensor: Tensor) -> Tensor:
        rate = Rate(tensor.shape[2], tensor.shape[-1])
        logits = self.at(rate)(tensor.to(self.device))
        return to_scores(logits, self.cfg.MODEL.HEAD_ACT)[0]

    def _tensor(self, pixels: Tensor, size: int) -> Tensor:
        """(1, 3, T, S, S) of pixels (T, C, C, 3): normalised, then resized as testing does."""
        clip = self.normalize(pixels.permute(0, 3, 1, 2))[None]
        side = self.side(size)
        return resize(clip, (len(pixels), side, side))

    def _sampling(self, num_frames: int) -> Sampling:
        if num_frames not in self._samplings:
            cfg = self._testing.clone()
            cfg.TEST.NUM_FRAMES = [num_frames]
            self._samplings[num_frames] = build_sampling(cfg, "test", self._entry)
        return self._samplings[num_frames]

    # ------------------------------------------------------------------ predictions

    def predict(
        self,
        source: Source,
        frames: int | None = None,
        *,
        size: int | None = None,
        budget_gflops: float | None = None,
        budget_ms: float | None = None,
        topk: int = 5,
    ) -> Prediction:
        """The `topk` most likely classes of `source`.

        `frames` and `size` may be any; without them the dearest trained rate runs, or the dearest
        that keeps within the budgets: GFLOPs of the network, milliseconds from pixels to scores in
        95 of 100 videos.  Raises VideoError if the source cannot be read, NothingFits, a
        ValueError, if no rate keeps within the budgets.
        """
        rate = self.choose(frames, size, budget_gflops, budget_ms)
        found = self.cut(source, rate.num_frames)
        if budget_ms is not None:
            self.warm_up(rate)
        prediction = self.judge(found, rate.size, topk)
        if budget_ms is not None and prediction.network_ms > budget_ms:
            self._tell_exceeded(found.name, prediction.network_ms, budget_ms)
        return prediction

    def judge(self, found: Cut, size: int = 0, topk: int = 5) -> Prediction:
        """The `topk` most likely classes of the frames that `cut` returned, seen at `size`."""
        rate = Rate(len(found.pixels), size)
        self.at(rate)
        start = self.clock()
        scores = self.run(found.pixels, size)
        network_ms = 1e3 * (self.clock() - start)
        return Prediction(
            name=found.name,
            rate=self.nearest(*rate),
            num_frames=rate.num_frames,
            size=self.side(rate.size),
            indices=tuple(found.indices.tolist()),
            **top_classes(scores, self.labels, topk),
            gflops=self.gflops(*rate),
            decode_ms=1e3 * found.seconds,
            network_ms=network_ms,
        )

    def choose(
        self,
        frames: int | None = None,
        size: int | None = None,
        budget_gflops: float | None = None,
        budget_ms: float | None = None,
    ) -> Rate:
        """The frames and size to run at; see `predict`."""
        for name, value in (("frames", frames), ("size", size)):
            if value is not None and not isinstance(value, Integral):
                raise ValueError(f"{name}={value!r} must be an integer")
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if budget_gflops is None and budget_ms is None:
            largest = max(rate.size for rate in self.rates)
            return Rate(frames or self.rates[-1].num_frames, size or largest)
        fitting = [
            rate
            for rate in self.rates
            if frames in (None, rate.num_frames) and size in (None, self.side(rate.size))
        ]
        if not fitting:
            rates = ", ".join(map(str, self.rates))
            asked = f"{frames or ''} frame{'s' * (frames != 1)}".strip()
            asked += f" of {size} pixels" if size else ""
            given = [name for name, value in (("frames", frames), ("size", size)) if value]
            raise ValueError(
                f"a budget chooses among the trained rates, {rates}, and none has {asked}; "
                f"leave out {' or '.join(given)}"
            )
        costs = self.counted() if budget_ms is None else self.costs or self._measure_once()
        return costs.among(fitting).choose(budget_gflops, budget_ms)

    def _measure_once(self) -> Costs:
        logger.warning(
            "measuring what %d rates take on %s; to keep it: python tools/measure.py FILE",
            *(len(self.rates), place(self.device, self.precision)),
        )
        return self.measure()

    def _tell_exceeded(self, name: str, taken: float, budget: float) -> None:
        if not self._told:
            logger.warning(
                "%s took %.1f ms, more than the budget of %g ms; 5 in 100 may, if more do the "
                "machine is busier than when it was measured: python tools/measure.py FILE",
                *(name, taken, budget),
            )
        self._told = True

    def measure(self, seconds: float = 60.0) -> Costs:
        """The costs of all trained rates where the network is now, which `costs` is from then on.

        It takes up to about `seconds`, or longer where 53 turns of all rates do.  A warning says
        if times differed so much that the table has to keep further apart than usual.
        """
        here = place(self.device, self.precision)
        blocks = timed_blocks(
            {rate: partial(self.run, self._noise(rate), rate.size) for rate in self.rates},
            self.clock,
            seconds,
        )
        if (worst := max(map(unsteadiness, blocks.values()))) > LEAST_MARGIN:
            logger.warning(
                "times differed by up to %.0f %% from one moment to another, as where other "
                "programs run; the table allows for that, a quiet machine gives tighter ones",
                100 * (worst - 1),
            )
        gflops = {rate: self.gflops(*rate) for rate in self.rates}
        bounds = rising({rate: bound(blocks[rate]) for rate in sorted(gflops, key=gflops.get)})
        rows = {rate: Cost(gflops[rate], bounds[rate]) for rate in self.rates}
        self.tables = [table for table in self.tables if table.place != here]
        self.tables.append(Costs(rows, here))
        return self.tables[-1]

    def warm_up(self, rate: Rate) -> None:
        """Let what the first runs of a rate do once be done; nothing where it has run before."""
        if rate not in self._warm:
            for _ in range(2):
                self.run(self._noise(rate), rate.size)
            self._warm.add(rate)

    def _noise(self, rate: Rate) -> Tensor:
        side = self._crops.size
        generator = torch.Generator().manual_seed(0)
        shape = (rate.num_frames, side, side, 3)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Recognizer:
        self._nets.clear()  # copies of weights that are about to move
        self._warm.clear()
        return super()._apply(fn, recurse)


def _testing_cfg(cfg: CfgNode) -> CfgNode:
    """`cfg` with one view of one crop, to be changed."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.NUM_ENSEMBLE_VIEWS = cfg.TEST.NUM_SPATIAL_CROPS = 1
    return cfg
