"""From a configuration to a loader of batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets.batch import Batch, Collate
from slowfast.datasets.catalogue import DATASETS, Entry
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.lists import Records, find_list, read_list
from slowfast.datasets.sampling import DenseSampling, Sampling, SegmentSampling
from slowfast.datasets.transforms import Crops, Normalize, RandomCrop, UniformCrops

SPLITS = ("train", "val", "test")


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields `(epoch, index)`, every index once: shuffled by `seed` and epoch, or in order."""

    def __init__(self, length: int, seed: int | None = None) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.arange(self.length)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        return ((self.epoch, index) for index in order.tolist())


class Loader(DataLoader[Batch]):
    """A DataLoader of `Batch` whose epoch decides order and random numbers."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.sampler.epoch = epoch


def build_loader(cfg: CfgNode, split: str) -> Loader:
    """The loader of `split`: "train" (random clips), "val" (centres) or "test" (all views).

    Raises ValueError for a list that does not read (see `read_list`), a training list shorter than
    a batch, and mirroring on a data set whose classes have a direction.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
    entry = DATASETS.get(cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET)
    records = _read_records(cfg, split)
    sampling, crops = _build_sampling(cfg, split, entry), _build_crops(cfg, split, entry)
    dataset = VideoDataset(
        records,
        sampling,
        crops,
        Normalize(cfg.DATA.MEAN, cfg.DATA.STD, bgr=cfg.DATA.REVERSE_INPUT_CHANNEL),
        random=split == "train",
        seed=cfg.RNG_SEED,
        short_side=cfg.DATA.DECODE_SHORT_SIDE,
        cache_bytes=int(cfg.DATA.CACHE_GB * 1e9),
    )
    num_views = sampling.num_clips * crops.num_crops
    return Loader(
        dataset,
        batch_size=cfg.TEST.BATCH_SIZE if split == "test" else cfg.TRAIN.BATCH_SIZE,
        sampler=EpochSampler(len(records), cfg.RNG_SEED if split == "train" else None),
        drop_last=split == "train",
        collate_fn=Collate(sampling.num_frames, num_views, crops.size),
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,  # PyTorch gives each one thread
        persistent_workers=cfg.DATA_LOADER.NUM_WORKERS > 0,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and cfg.NUM_GPUS > 0 and torch.cuda.is_available(),
        generator=torch.Generator(),  # else every iteration would draw from the global one
    )


def _read_records(cfg: CfgNode, split: str) -> Records:
    path = find_list(cfg.DATA.PATH_TO_DATA_DIR, split)
    records = read_list(
        path,
        cfg.MODEL.NUM_CLASSES,
        prefix=cfg.DATA.PATH_PREFIX,
        separator=cfg.DATA.PATH_LABEL_SEPARATOR,
    )
    if split == "train" and len(records) < cfg.TRAIN.BATCH_SIZE:
        raise ValueError(
            f"{path} has {len(records)} videos, fewer than one batch; "
            f"lower TRAIN.BATCH_SIZE={cfg.TRAIN.BATCH_SIZE} to at most {len(records)}"
        )
    return records


def _build_sampling(cfg: CfgNode, split: str, entry: Entry) -> Sampling:
    trained = frame_counts(cfg)
    tested = tuple(sorted(set(cfg.TEST.NUM_FRAMES))) or trained
    num_frames = tested if split == "test" else trained
    num_clips = cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1
    nested = cfg.FFN.SAMPLING == "nested"
    kind = entry.sampling if cfg.DATA.SAMPLING == "auto" else cfg.DATA.SAMPLING
    if kind == "segment":
        return SegmentSampling(num_frames, num_clips, nested)
    span = trained[-1] * cfg.DATA.SAMPLING_RATE
    return DenseSampling(num_frames, span, cfg.DATA.TARGET_FPS, num_clips, nested)


def _build_crops(cfg: CfgNode, split: str, entry: Entry) -> Crops:
    data = cfg.DATA
    if split != "train":
        num_crops = cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1
        return UniformCrops(data.TEST_CROP_SIZE, num_crops)
    if data.RANDOM_FLIP and entry.directional:
        raise ValueError(
            f"DATA.RANDOM_FLIP mirrors videos of {cfg.TRAIN.DATASET!r}, whose classes have a "
            f"direction; set DATA.RANDOM_FLIP False"
        )
    return RandomCrop(
        data.TRAIN_CROP_SIZE,
        tuple(data.TRAIN_JITTER_SCALES),
        inverse=data.INV_UNIFORM_SAMPLE,
        flip=data.RANDOM_FLIP,
    )
