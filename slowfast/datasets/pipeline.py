"""From a configuration to the frames, crops and augmentations of a split."""

from __future__ import annotations

from collections.abc import Iterable

from slowfast.config import CfgNode, frame_counts
from slowfast.datasets.catalogue import Entry
from slowfast.datasets.multigrid import AnyOf, Shape, of_shape, strides
from slowfast.datasets.published import NAMES, RANDOM_VALIDATION, published_sampling
from slowfast.datasets.sampling import (
    ClipsSampling,
    DenseSampling,
    FixedViews,
    NestedViews,
    Sampling,
    SegmentSampling,
)
from slowfast.datasets.transforms import (
    ColorJitter,
    Crops,
    MultiScaleCrop,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    ScaledCrops,
    ScaledRandomCrop,
    UniformCrops,
)

# The published crops whose validation is as random as their training.
RANDOM_VALIDATION_CROPS = ("pyslowfast", "sth_ffn")
VALIDATION = ("val", "recalibrate")  # splits with the views of validation
EXITS = ("calibrate", "exits")  # splits for TEST.EXIT


def is_random(cfg: CfgNode, split: str) -> bool:
    """Whether the samples of `split` are drawn: in training, and as published in validation."""
    if split in VALIDATION:
        data = cfg.DATA
        return data.SAMPLING in RANDOM_VALIDATION or data.CROPS in RANDOM_VALIDATION_CROPS
    return split == "train"


def build_sampling(cfg: CfgNode, split: str, entry: Entry) -> Sampling:
    """Frames of the clips of `split`; `entry` is that of its data set."""
    num_frames = _counts_of(cfg, split)
    num_clips = cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1
    kind = entry.sampling if cfg.DATA.SAMPLING == "auto" else cfg.DATA.SAMPLING
    sampling = _named_sampling(cfg, kind, num_frames, num_clips)
    if split in VALIDATION and kind not in RANDOM_VALIDATION:
        return FixedViews(sampling)
    return NestedViews(sampling) if split in EXITS and len(num_frames) > 1 else sampling


def _counts_of(cfg: CfgNode, split: str) -> tuple[int, ...]:
    trained = frame_counts(cfg)
    tested = tuple(sorted(set(cfg.TEST.NUM_FRAMES))) or trained
    if split == "recalibrate":
        return tuple(t for t in tested if t not in trained)
    return tested if split == "test" else trained


def _named_sampling(
    cfg: CfgNode, kind: str, num_frames: tuple[int, ...], num_clips: int
) -> Sampling:
    data, most = cfg.DATA, frame_counts(cfg)[-1]
    nested = cfg.FFN.SAMPLING == "nested"
    if kind == "segment":
        return SegmentSampling(num_frames, num_clips, nested)
    if kind == "dense":
        span = most * data.SAMPLING_RATE
        return DenseSampling(num_frames, span, data.TARGET_FPS, num_clips, nested)
    if nested:
        raise ValueError(
            f"DATA.SAMPLING {kind!r} draws rates as published, not nested; "
            "set FFN.SAMPLING independent, or DATA.SAMPLING to auto, dense or segment"
        )
    if kind == "clips":
        each = cfg.FRAME_EXIT.CLIP_LENGTH
        span = each * data.SAMPLING_RATE
        return ClipsSampling(num_frames, each, span, data.TARGET_FPS, num_clips)
    if kind not in NAMES:
        raise ValueError(f"no sampling {kind!r}; choose one of {', '.join(NAMES)}")
    return published_sampling(
        kind,
        num_frames,
        num_clips,
        most=most,
        stride=data.SAMPLING_RATE,
        target_fps=data.TARGET_FPS,
        offset=data.USE_OFFSET_SAMPLING,
    )


def build_crops(cfg: CfgNode, split: str, entry: Entry) -> Crops:
    """Crops of `split`.  Raises ValueError for mirroring where classes have a direction."""
    data, name = cfg.DATA, cfg.DATA.CROPS
    if split == "train":
        _check_flip(cfg, entry)
        return _training_crop(cfg)
    if split in VALIDATION and name in RANDOM_VALIDATION_CROPS:
        return _jitter_crop(cfg)
    num_crops = cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1
    size = data.TEST_CROP_SIZE
    if name == "auto":
        return UniformCrops(size, num_crops)
    single = num_crops == 1
    if name == "pyslowfast":
        return ScaledCrops(size, num_crops, data.TRAIN_JITTER_SCALES[0] if single else size)
    if name == "sth_ffn":
        return ScaledCrops(size, num_crops, size, at_start=True)
    if name == "tsn":
        short_side = size * 256 // 224 if single else size
        return ScaledCrops(size, num_crops, short_side, even=True, antialias=True)
    return ScaledCrops(size, num_crops, size, even=True)


def _training_crop(cfg: CfgNode) -> Crops:
    data = cfg.DATA
    if data.CROPS == "tsn":
        return MultiScaleCrop(data.TRAIN_CROP_SIZE, data.RANDOM_FLIP)
    area = tuple(data.TRAIN_JITTER_SCALES_RELATIVE)
    if area:
        aspect = tuple(data.TRAIN_JITTER_ASPECT_RELATIVE) or (3 / 4, 4 / 3)
        return RandomResizedCrop(data.TRAIN_CROP_SIZE, area, aspect, data.RANDOM_FLIP)
    return _jitter_crop(cfg)


def _jitter_crop(cfg: CfgNode) -> Crops:
    data = cfg.DATA
    kind = ScaledRandomCrop if data.CROPS in RANDOM_VALIDATION_CROPS else RandomCrop
    return kind(
        data.TRAIN_CROP_SIZE,
        tuple(data.TRAIN_JITTER_SCALES),
        inverse=data.INV_UNIFORM_SAMPLE,
        flip=data.RANDOM_FLIP,
    )


def _check_flip(cfg: CfgNode, entry: Entry) -> None:
    if cfg.DATA.RANDOM_FLIP and entry.directional:
        raise ValueError(
            f"DATA.RANDOM_FLIP mirrors videos of {cfg.TRAIN.DATASET!r}, whose classes have a "
            f"direction; set DATA.RANDOM_FLIP False"
        )


def build_shapes(
    cfg: CfgNode, entry: Entry, shapes: Iterable[Shape]
) -> list[tuple[Sampling, Crops]]:
    """Frames and crops of training clips of `shapes`; fewer frames lie at random distances."""
    most, found = frame_counts(cfg)[-1], []
    for shape in shapes:
        gaps = strides(most, shape.num_frames, cfg.DATA.SAMPLING_RATE)
        cfgs = [of_shape(cfg, shape, stride) for stride in gaps]
        # A rule without distances is always the same.
        samplings = tuple(dict.fromkeys(build_sampling(each, "train", entry) for each in cfgs))
        sampling = AnyOf(samplings) if len(samplings) > 1 else samplings[0]
        found.append((sampling, build_crops(cfgs[0], "train", entry)))
    return found


def build_augment(cfg: CfgNode) -> RandAugment | ColorJitter | None:
    """What AUG does to the colours and shapes of training pixels, or None."""
    aug = cfg.AUG
    if not aug.ENABLE:
        return None
    if aug.AA_TYPE:
        return RandAugment.from_spec(aug.AA_TYPE, aug.INTERPOLATION)
    if aug.COLOR_JITTER or aug.COLOR_HUE:
        return ColorJitter(aug.COLOR_JITTER, aug.COLOR_JITTER, aug.COLOR_JITTER, aug.COLOR_HUE)
    return None


def build_erasing(cfg: CfgNode) -> RandomErasing | None:
    """What AUG erases from training clips, or None."""
    aug = cfg.AUG
    if not aug.ENABLE or aug.RE_PROB == 0:
        return None
    return RandomErasing(aug.RE_PROB, aug.RE_MODE, aug.RE_COUNT)
