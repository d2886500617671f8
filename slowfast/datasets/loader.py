"""From a configuration to a loader of batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from slowfast.config import CfgNode
from slowfast.datasets.batch import Collate
from slowfast.datasets.catalogue import DATASETS, Entry
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.epochs import EpochSampler, Loader
from slowfast.datasets.lists import find_list, read_list
from slowfast.datasets.manifest import known_failures
from slowfast.datasets.pipeline import (
    build_augment,
    build_crops,
    build_erasing,
    build_sampling,
    is_random,
)
from slowfast.datasets.records import Records
from slowfast.datasets.transforms import Normalize
from slowfast.datasets.video import Video, check_backend, check_template, open_video

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "recalibrate")


def build_loader(cfg: CfgNode, split: str, rank: int = 0, world: int = 1) -> Loader:
    """The loader of `split`: "train" (random clips), "val" (centres) or "test" (all views).

    "recalibrate" yields the training videos in random order with the views of "val", at the frame
    counts that are tested and not trained.  Of `world` processes, `rank` gets its share.
    Raises ValueError for a list that does not read (see `read_list`), a training list shorter than
    a batch, and mirroring on a data set whose classes have a direction.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
    entry = data_set(cfg, split)
    _check_classes(cfg, split, entry)
    records = build_records(cfg, split)
    if split == "train" and len(records) < cfg.TRAIN.BATCH_SIZE:
        raise ValueError(
            f"{list_path(cfg, split)} has {len(records)} videos, fewer than one batch; "
            f"lower TRAIN.BATCH_SIZE={cfg.TRAIN.BATCH_SIZE} to at most {len(records)}"
        )
    sampling, crops = build_sampling(cfg, split, entry), build_crops(cfg, split, entry)
    training = split == "train"
    copies = cfg.AUG.NUM_SAMPLE if training else 1
    dataset = VideoDataset(
        records,
        sampling,
        crops,
        Normalize(cfg.DATA.MEAN, cfg.DATA.STD, bgr=cfg.DATA.REVERSE_INPUT_CHANNEL),
        augment=build_augment(cfg) if training else None,
        erasing=build_erasing(cfg) if training else None,
        copies=copies,
        random=is_random(cfg, split),
        seed=cfg.RNG_SEED,
        opener=build_opener(cfg),
        failures=known_failures(records, manifest_path(cfg)),
        cache_bytes=int(cfg.DATA.CACHE_GB * 1e9),
    )
    num_views = sampling.num_clips * crops.num_crops
    shuffled = split in ("train", "recalibrate")
    workers = cfg.DATA_LOADER.NUM_WORKERS
    return Loader(
        dataset,
        batch_size=cfg.TEST.BATCH_SIZE if split == "test" else cfg.TRAIN.BATCH_SIZE,
        sampler=EpochSampler(len(records), cfg.RNG_SEED if shuffled else None, rank, world),
        drop_last=training,
        collate_fn=Collate(sampling.num_frames, num_views, crops.size, copies),
        num_workers=workers,  # PyTorch gives each one thread
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR if workers else None,
        persistent_workers=workers > 0,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and cfg.NUM_GPUS > 0 and torch.cuda.is_available(),
        generator=torch.Generator(),  # else every iteration would draw from the global one
    )


def data_set(cfg: CfgNode, split: str) -> Entry:
    """The catalogue's entry for the data of `split`."""
    return DATASETS.get(cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET)


def manifest_path(cfg: CfgNode) -> Path | None:
    """Where the findings of `tools/data.py check` are kept; None if they are not wanted."""
    name = cfg.DATA.MANIFEST
    return Path(cfg.DATA.PATH_TO_DATA_DIR) / name if name else None


def build_opener(cfg: CfgNode) -> Callable[[str], Video]:
    """What opens a video of the data set by its path."""
    data = cfg.DATA
    check_backend(data.DECODING_BACKEND)
    check_template(data.IMAGE_TEMPLATE)
    return partial(
        open_video,
        backend=data.DECODING_BACKEND,
        short_side=data.DECODE_SHORT_SIDE,
        template=data.IMAGE_TEMPLATE,
        fps=data.IMAGE_FPS,
    )


def list_path(cfg: CfgNode, split: str) -> Path:
    """The list of `split`, found as `find_list` does."""
    data, fold = cfg.DATA, data_set(cfg, split).fold
    return find_list(data.PATH_TO_DATA_DIR, split, data.LABEL_PATH_TEMPLATE, fold)


def build_records(cfg: CfgNode, split: str) -> Records:
    """The videos of `split`.  Raises ValueError as `find_list` and `read_list` do."""
    data, entry = cfg.DATA, data_set(cfg, split)
    name = "train" if split == "recalibrate" else split
    path = list_path(cfg, name)
    records = read_list(
        path,
        cfg.MODEL.NUM_CLASSES,
        prefix=data.PATH_PREFIX,
        separator=data.PATH_LABEL_SEPARATOR,
        split=name,
        fold=entry.fold,
        multi_label=entry.multi_label,
    )
    logger.info("%s: %d videos of %s", split, len(records), path)
    return records


def _check_classes(cfg: CfgNode, split: str, entry: Entry) -> None:
    """Whether number of classes and loss go with the data set; part of one may be meant."""
    known, asked, loss = entry.num_classes, cfg.MODEL.NUM_CLASSES, cfg.MODEL.LOSS_FUNC
    if split in ("train", "test") and known not in (0, asked):
        name = cfg[split.upper()].DATASET
        logger.warning("MODEL.NUM_CLASSES is %d, but %s has %d classes", asked, name, known)
    if entry.multi_label and loss == "cross_entropy":
        raise ValueError(
            "videos of this data set have several labels, which MODEL.LOSS_FUNC 'cross_entropy' "
            "does not take; set it to 'bce_logit' and MODEL.HEAD_ACT to 'sigmoid', or to "
            "'soft_cross_entropy' for labels that share the probability"
        )
    if not entry.multi_label and loss == "bce_logit":
        raise ValueError(
            "MODEL.LOSS_FUNC 'bce_logit' is for data sets with several labels per video, like "
            "activitynet; set it to 'cross_entropy', or choose such a TRAIN.DATASET"
        )
