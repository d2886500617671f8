"""Augmented samples: one draw for all frames and rates, the same for any number of workers."""

import pytest
import torch

from helpers.videos import textured_frames, write_video
from slowfast.config import get_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.dataset import VideoDataset
from slowfast.datasets.records import Records
from slowfast.datasets.sampling import SegmentSampling
from slowfast.datasets.transforms import (
    ColorJitter,
    MultiScaleCrop,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    ScaledRandomCrop,
)

COUNTS = (2, 4, 8)
IDENTITY = Normalize([0.0] * 3, [1 / 255] * 3)  # leaves pixel values 0 .. 255
CROPS = [
    RandomCrop(32, (36, 44), flip=True),
    RandomResizedCrop(32, flip=True),
    MultiScaleCrop(32, flip=True),
    ScaledRandomCrop(32, (36, 44), flip=True),
]
RAND = RandAugment.from_spec("rand-m9-n4-mstd0.5-inc1")
JITTER = ColorJitter(0.4, 0.4, 0.4, 0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A still video and four that move, with lists."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "still.mp4", textured_frames(1, 48, 64) * 24, options={"qp": "0"})
    for i in range(4):
        write_video(folder / f"{i}.mp4", textured_frames(24, 48, 64, seed=i))
    lines = "".join(f"{i}.mp4 {i % 3}\n" for i in range(4))
    (folder / "train.csv").write_text(lines)
    (folder / "val.csv").write_text(lines)
    return folder


@pytest.fixture
def cfg(folder):
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 3
    cfg.FFN.ENABLE, cfg.FFN.NUM_FRAMES = True, list(COUNTS)
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.TRAIN_JITTER_SCALES = [36, 40]
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = 32
    cfg.DATA.RANDOM_FLIP = False
    cfg.DATA_LOADER.NUM_WORKERS = 0
    cfg.TRAIN.DATASET = cfg.TEST.DATASET = "ssv2"
    cfg.TRAIN.BATCH_SIZE = 2
    return cfg


def samples(folder, video: str, crops=CROPS[1], **how) -> VideoDataset:
    records = Records([video], [1], folder)
    return VideoDataset(records, SegmentSampling(COUNTS), crops, IDENTITY, random=True, **how)


@pytest.mark.parametrize("crops", CROPS, ids=lambda crops: type(crops).__name__)
@pytest.mark.parametrize("augment", [RAND, JITTER, None], ids=["rand", "jitter", "none"])
def test_a_still_video_stays_still_at_every_rate(folder, crops, augment):
    erasing = RandomErasing(0.5, "const")
    dataset = samples(folder, "still.mp4", crops, augment=augment, erasing=erasing)
    seen = []
    for epoch in range(6):
        low, *others = dataset[(epoch, 0)].clips
        first = low[:, :, :1]
        assert all(torch.equal(clip, first.expand_as(clip)) for clip in (low, *others))
        seen.append(first)
    assert not any(torch.equal(seen[0], other) for other in seen[1:])


def test_copies_are_views_of_one_clip_augmented_by_themselves(folder):
    plain = samples(folder, "0.mp4", crops=RandomCrop(48, (48, 48)), copies=2)
    for clip in plain[0].clips:  # crops of the whole height, here at two places of the same frames
        assert clip.shape[0] == 2
    wide = samples(folder, "0.mp4", RandomResizedCrop(32, (1.0, 1.0), (1.0, 1.0)), copies=3)
    for first, *others in wide[0].clips:  # only the centred square fits
        assert all(torch.equal(first, other) for other in others)
    changed = samples(folder, "0.mp4", copies=2, augment=RAND)
    assert not any(torch.equal(*clip) for clip in changed[0].clips)


def test_copies_are_decoded_once(folder, monkeypatch):
    dataset = samples(folder, "0.mp4", copies=4)
    opened, opener = [], dataset.opener
    dataset.opener = lambda path: opened.append(path) or opener(path)
    assert dataset[0].clips[0].shape[0] == 4
    assert len(opened) == 1


def test_noise_covers_the_same_place_at_all_rates(folder):
    dataset = samples(folder, "still.mp4", erasing=RandomErasing(1.0))
    clips = dataset[0].clips
    noisy = [(clip.diff(dim=2) != 0).any(dim=2).any(dim=1) for clip in clips]
    assert noisy[0].any() and not noisy[0].all()
    assert all(torch.equal(noisy[0], other) for other in noisy)


def augmented(cfg, workers: int = 0):
    cfg.AUG.ENABLE = True
    cfg.AUG.AA_TYPE = "rand-m7-n4-mstd0.5-inc1"
    cfg.AUG.NUM_SAMPLE = 2
    cfg.AUG.RE_PROB = 0.5
    cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE = [0.08, 1.0]
    cfg.DATA_LOADER.NUM_WORKERS = workers
    return build_loader(cfg, "train")


def test_any_number_of_workers_augments_alike(cfg):
    alone, parallel = list(augmented(cfg)), list(augmented(cfg, workers=2))
    for one, other in zip(alone, parallel, strict=True):
        assert torch.equal(one.index, other.index)
        for a, b in zip(one.clips, other.clips, strict=True):
            assert torch.equal(a, b)


def test_repeated_augmentation_makes_a_larger_batch_with_copies_side_by_side(cfg):
    batch = next(iter(augmented(cfg)))
    assert [tuple(clip.shape) for clip in batch.clips] == [(4, 3, t, 32, 32) for t in COUNTS]
    assert len(batch) == 4 and batch.num_views == 1
    assert batch.index.tolist() == batch.index[::2].repeat_interleave(2).tolist()
    assert batch.labels.tolist() == [i % 3 for i in batch.index.tolist()]
    assert batch.paths[0] == batch.paths[1] != batch.paths[2]


def test_only_training_is_augmented(cfg):
    augmented(cfg)
    for split in ("val", "test"):
        dataset = build_loader(cfg, split).dataset
        assert (dataset.augment, dataset.erasing, dataset.copies) == (None, None, 1)
        assert not dataset.random


@pytest.mark.parametrize(
    ("sampling", "crops", "clips_differ", "crops_differ"),
    [
        ("auto", "auto", False, False),
        ("auto", "tsn", False, False),
        ("sth_ffn", "sth_ffn", False, True),
        ("pyslowfast", "auto", True, False),
        ("pyslowfast", "pyslowfast", True, True),
    ],
)
def test_published_validation_is_random_where_it_was(
    cfg, sampling, crops, clips_differ, crops_differ
):
    cfg.DATA.SAMPLING, cfg.DATA.CROPS, cfg.DATA.SAMPLING_RATE = sampling, crops, 1
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 1, 1
    dataset = build_loader(cfg, "val").dataset
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    generators = generators if dataset.random else [None, None]
    clips = [dataset.sampling.clips(200, 20.0, g)[0][-1].tolist() for g in generators]
    boxes = [dataset.crops.boxes(240, 320, g) for g in generators]
    assert (clips[0] != clips[1]) == clips_differ
    assert (boxes[0] != boxes[1]) == crops_differ
