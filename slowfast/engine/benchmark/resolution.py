"""A student of low resolution and its teacher: the time of decoding, of pixels and of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config import CfgNode, load_cfg
from slowfast.datasets import DATASETS, open_video
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.pipeline import build_crops, build_sampling
from slowfast.datasets.prepare.pack import Packing, pack_video
from slowfast.datasets.records import Records
from slowfast.datasets.sampling import union
from slowfast.datasets.transforms import Normalize
from slowfast.engine.benchmark.film import Film
from slowfast.engine.benchmark.timing import take_turns
from slowfast.layers.resize import resize
from slowfast.models import build_model
from slowfast.objectives.distill import teacher_yaml
from slowfast.report.cost import gflops

NUM_FILMS = 2
STAGES = ("decode", "pixels", "network")


@dataclass(frozen=True)
class Reader:
    """Tests `model` on stored videos in three stages that can run one by one.

    Clips become `size` pixels on the `device` if that is not what the crops say (0).
    """

    model: nn.Module
    dataset: VideoDataset
    size: int
    device: str

    def decode(self, index: int) -> tuple[Tensor, list]:
        """The frames of all views, and where each view finds its own."""
        with self.dataset.open(index) as video:
            clips = self.dataset.sampling.clips(video.num_frames, video.fps, None)
            wanted, positions = union(clips)
            return video.frames(wanted), positions

    def pixels(self, decoded: tuple[Tensor, list]) -> Tensor:
        """Resized, cropped, normalised and moved to the device: `(V, 3, T, S, S)`."""
        frames, positions = decoded
        (views,) = self.dataset.views(frames, positions, self.dataset.crops, None)
        views = views.to(self.device)
        return resize(views, (views.shape[2], self.size, self.size)) if self.size else views

    @torch.inference_mode()
    def network(self, views: Tensor) -> Tensor:
        """The logits of all views."""
        return self.model(views)

    def stages(self) -> dict[str, Callable[[], object]]:
        """Each stage for all videos, on what the stage before it found."""
        indices = range(len(self.dataset))
        decoded = [self.decode(index) for index in indices]
        views = [self.pixels(one) for one in decoded]
        inputs = {"decode": indices, "pixels": decoded, "network": views}
        return {name: partial(_for_each, getattr(self, name), inputs[name]) for name in STAGES}

    def gflops(self) -> float:
        """Of one video, all of its views."""
        views = self.pixels(self.decode(0))
        return len(views) * gflops(self.model, (1, *views.shape[1:]))


def time_resolution(
    cfg: CfgNode, repeats: int, device: str = "cpu", film: Film | None = None
) -> Iterator[dict[str, Any]]:
    """A row per way to test: milliseconds of each stage per video, GFLOPs, and shares of the first.

        teacher               as its YAML, DISTILL.TEACHER_CFG, says
        student as published  reads the teacher's clips and resizes them on the device
        student               reads its own size, as the YAML `cfg` says
        student, packed       the same, from copies of half the size (`tools/data.py pack`)

    All read the same generated videos, packed at the size of `film`, and take turns; they are CPU
    milliseconds but for a network on CUDA.  Raises ValueError unless `cfg` has a teacher.
    """
    if cfg.OBJECTIVE.NAME != "distill":
        raise ValueError("OBJECTIVE.NAME must be 'distill': give a YAML of projects/res_kd")
    film = film or Film()
    torch.manual_seed(0)
    teacher_cfg = load_cfg(teacher_yaml(cfg.DISTILL.TEACHER_CFG))
    teacher, student = (build_model(c).to(device).eval() for c in (teacher_cfg, cfg))
    with TemporaryDirectory() as folder:
        originals = [film.write(Path(folder, f"{i}.mp4"), seed=i) for i in range(NUM_FILMS)]
        half = film.height // 2
        whole, small = (_pack(originals, Path(folder), side) for side in (film.height, half))
        readers = {
            "teacher": Reader(teacher, _dataset(teacher_cfg, whole), 0, device),
            "student as published": Reader(
                student, _dataset(teacher_cfg, whole), cfg.DATA.TEST_CROP_SIZE, device
            ),
            "student": Reader(student, _dataset(cfg, whole), 0, device),
            "student, packed": Reader(student, _dataset(cfg, small), 0, device),
        }
        yield from _rows(readers, repeats, device)


def _rows(readers: dict[str, Reader], repeats: int, device: str) -> Iterator[dict[str, Any]]:
    runs = {(way, stage): run for way, r in readers.items() for stage, run in r.stages().items()}
    on_cpu = {key: run for key, run in runs.items() if key[1] != "network"}
    times = take_turns(on_cpu, repeats) | take_turns(
        {key: run for key, run in runs.items() if key[1] == "network"}, repeats, device
    )
    taken = {key: 1e3 * found.cpu / NUM_FILMS for key, found in times.items()}
    first = {stage: taken["teacher", stage] for stage in STAGES}
    for way, reader in readers.items():
        own = {stage: taken[way, stage] for stage in STAGES}
        yield {
            "way": way,
            **{f"{stage}_ms": own[stage] for stage in STAGES},
            "total_ms": sum(own.values()),
            "gflops": reader.gflops(),
            **{f"{stage}_share": own[stage] / first[stage] for stage in STAGES},
            "total_share": sum(own.values()) / sum(first.values()),
        }


def _for_each(run: Callable[[Any], object], inputs: Sequence[Any]) -> None:
    for value in inputs:
        run(value)


def _pack(paths: Sequence[Path], folder: Path, short_side: int) -> list[Path]:
    """Copies as `tools/data.py pack` makes them."""
    opener, packing = partial(open_video, short_side=short_side), Packing(short_side)
    copies = [folder / f"{short_side}_{path.name}" for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        packed = pack_video(opener, packing, path.name, str(path), copy)
        if packed.error:
            raise ValueError(packed.error)
    return copies


def _dataset(cfg: CfgNode, paths: Sequence[Path]) -> VideoDataset:
    """The videos at `paths`, as `cfg` tests."""
    entry = DATASETS.get(cfg.TEST.DATASET)
    return VideoDataset(
        Records([str(path) for path in paths], [0] * len(paths)),
        build_sampling(cfg, "test", entry),
        build_crops(cfg, "test", entry),
        Normalize(cfg.DATA.MEAN, cfg.DATA.STD, bgr=cfg.DATA.REVERSE_INPUT_CHANNEL),
    )
