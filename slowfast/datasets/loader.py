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
from slowfast.datasets.epochs import EpochBatches, Kind, Kinds, Loader
from slowfast.datasets.lists import find_list, read_list
from slowfast.datasets.manifest import known_failures
from slowfast.datasets.multigrid import Multigrid
from slowfast.datasets.pipeline import (
    EXITS,
    build_augment,
    build_crops,
    build_erasing,
    build_sampling,
    build_shapes,
    is_random,
)
from slowfast.datasets.records import Records
from slowfast.datasets.transforms import Normalize
from slowfast.datasets.video import Video, check_backend, check_template, open_video
from slowfast.datasets.workers import heed_the_parent_alone

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "recalibrate", *EXITS)


def build_loader(cfg: CfgNode, split: str, rank: int = 0, world: int = 1) -> Loader:
    """The loader of `split`: "train" (random clips), "val" (centres) or "test" (all views).

    "recalibrate" yields the training videos in random order with the views of "val", at the frame
    counts that are tested and not trained.  "calibrate" yields the videos of "val", "exits" those
    of "test", each in one view at the trained counts, lower ones among the frames of higher ones.
    Of `world` processes, `rank` gets its share: in training TRAIN.BATCH_SIZE / `world` videos.

    Raises ValueError for a list that does not read (see `read_list`), a training list shorter than
    a batch, a batch that the processes cannot divide, and mirroring on a data set whose classes
    have a direction.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
    training = split == "train"
    grid = Multigrid.from_cfg(cfg) if training else None
    entry = data_set(cfg, split)
    _check_classes(cfg, split, entry)
    records = build_records(cfg, split)
    if training:
        _check_batch(cfg, len(records), world, grid)
        if rank == 0:
            _tell_odd(cfg, world)
    sampling, crops = build_sampling(cfg, split, entry), build_crops(cfg, split, entry)
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
        shapes=build_shapes(cfg, entry, grid.shapes) if grid else (),
    )
    num_views = sampling.num_clips * crops.num_crops
    shuffled = split in ("train", "recalibrate")
    seed = cfg.RNG_SEED if shuffled else None
    videos, kinds = _videos(cfg, split, world), grid and _kinds(cfg, grid)
    workers = cfg.DATA_LOADER.NUM_WORKERS
    return Loader(
        dataset,
        EpochBatches(len(records), videos, seed, rank, world, training, kinds),
        collate_fn=Collate(sampling.num_frames, num_views, crops.size, copies),
        num_workers=workers,  # PyTorch gives each one thread
        worker_init_fn=heed_the_parent_alone if workers else None,
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR if workers else None,
        persistent_workers=workers > 0,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and cfg.NUM_GPUS > 0 and torch.cuda.is_available(),
        generator=torch.Generator(),  # else every iteration would draw from the global one
    )


def _videos(cfg: CfgNode, split: str, world: int) -> int:
    """Videos in a batch of all processes together."""
    if split == "test" or split in EXITS:
        return cfg.TEST.BATCH_SIZE * world
    if split == "train":
        return cfg.TRAIN.BATCH_SIZE
    return max(cfg.TRAIN.BATCH_SIZE // world, 1) * world  # no process takes more than in training


def _kinds(cfg: CfgNode, grid: Multigrid) -> Kinds:
    """Videos and shape of the batches of multigrid training."""
    batch, shapes = cfg.TRAIN.BATCH_SIZE, grid.shapes
    return lambda epoch: [
        Kind(batch * turn.factor, shapes.index(turn.shape)) for turn in grid.phase(epoch).turns
    ]


def _check_batch(cfg: CfgNode, videos: int, world: int, grid: Multigrid | None) -> None:
    """Whether processes can divide a training batch, and every epoch has one."""
    batch = cfg.TRAIN.BATCH_SIZE
    if batch % world:
        raise ValueError(
            f"TRAIN.BATCH_SIZE={batch} cannot be divided among {world} processes; set it to a "
            f"multiple of their number, like {max(batch // world, 1) * world}"
        )
    if cfg.MIXUP.ENABLE and batch == world > 1:
        raise ValueError(
            f"MIXUP mixes videos of the same process, and TRAIN.BATCH_SIZE={batch} leaves one in "
            f"each of {world}; set it to {2 * world} or more, or MIXUP.ENABLE False"
        )
    largest = max(phase.turns[0].factor for phase in grid.phases) if grid else 1
    if videos < batch * largest:
        enlarged = f" (of up to {batch * largest} with MULTIGRID)" if grid else ""
        fitting = videos // largest
        remedy = f"lower TRAIN.BATCH_SIZE={batch} to at most {fitting}"
        raise ValueError(
            f"{list_path(cfg, 'train')} has {videos} videos, fewer than one batch{enlarged}; "
            f"{remedy if fitting else 'turn the cycles of MULTIGRID off'}"
        )


def _tell_odd(cfg: CfgNode, world: int) -> None:
    share = cfg.TRAIN.BATCH_SIZE // world
    if cfg.MIXUP.ENABLE and world > 1 and share % 2:
        logger.warning(
            "of the %d videos of a process one is mixed with itself; an even number mixes the same "
            "videos as one process would",
            share,
        )


def data_set(cfg: CfgNode, split: str) -> Entry:
    """The catalogue's entry for the data of `split`."""
    tested = split == "test" or split in EXITS
    return DATASETS.get(cfg.TEST.DATASET if tested else cfg.TRAIN.DATASET)


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
        start=data.IMAGE_START,
        fps=data.IMAGE_FPS,
    )


def list_path(cfg: CfgNode, split: str) -> Path:
    """The list of `split`, found as `find_list` does."""
    data, fold = cfg.DATA, data_set(cfg, split).fold
    return find_list(data.PATH_TO_DATA_DIR, split, data.LABEL_PATH_TEMPLATE, fold)


def build_records(cfg: CfgNode, split: str) -> Records:
    """The videos of `split`.  Raises ValueError as `find_list` and `read_list` do."""
    data, entry = cfg.DATA, data_set(cfg, split)
    name = {"recalibrate": "train", "calibrate": "val", "exits": "test"}.get(split, split)
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
