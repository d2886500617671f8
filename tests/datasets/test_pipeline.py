"""What a configuration makes of frames, crops and augmentations."""

import pytest

from helpers.source import ROOT
from slowfast.config import get_cfg, load_cfg
from slowfast.config.validate import _CHOICES, check
from slowfast.datasets.catalogue import DATASETS
from slowfast.datasets.pipeline import (
    build_augment,
    build_crops,
    build_erasing,
    build_sampling,
)
from slowfast.datasets.published import EachRate, PySlowFastSpan, Strided
from slowfast.datasets.sampling import DenseSampling, FixedViews, SegmentSampling
from slowfast.datasets.transforms import (
    ColorJitter,
    MultiScaleCrop,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    ScaledCrops,
    ScaledRandomCrop,
    UniformCrops,
)


def cfg_with(**values):
    """The defaults with `values`: `AUG_ENABLE=True` sets AUG.ENABLE."""
    cfg = get_cfg()
    for name, value in values.items():
        node, _, key = name.partition("_")
        cfg[node][key] = value
    return cfg


def sampling_of(split: str, dataset: str = "kinetics", **values):
    return build_sampling(cfg_with(**values), split, DATASETS.get(dataset))


def crops_of(split: str, dataset: str = "kinetics", **values):
    return build_crops(cfg_with(**values), split, DATASETS.get(dataset))


def test_auto_samples_as_the_data_set_needs():
    assert isinstance(sampling_of("train"), DenseSampling)
    assert isinstance(sampling_of("train", "ssv2"), SegmentSampling)
    assert isinstance(sampling_of("train", "ssv2", DATA_SAMPLING="dense"), DenseSampling)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tsn", EachRate), ("charades", Strided), ("pyslowfast", PySlowFastSpan)],
)
def test_published_rules_are_chosen_by_name(name, kind):
    sampling = sampling_of("test", DATA_SAMPLING=name, TEST_NUM_FRAMES=[4, 16])
    assert isinstance(sampling, kind)
    assert (sampling.num_frames, sampling.num_clips) == ((4, 16), 10)


def test_published_spans_are_those_of_the_highest_trained_rate():
    how = {"DATA_NUM_FRAMES": 32, "DATA_SAMPLING_RATE": 2, "TEST_NUM_FRAMES": [4]}
    sampling = sampling_of("test", DATA_SAMPLING="pyslowfast", **how)
    assert (sampling.span, sampling.target_fps, sampling.trimmed) == (64, 30, False)
    assert sampling_of("test", DATA_SAMPLING="pyslowfast_trimmed", **how).trimmed
    sampling = sampling_of("test", DATA_SAMPLING="charades", **how)
    assert (sampling.most, sampling.stride) == (32, 2)


def test_offset_sampling_belongs_to_the_published_rule():
    assert sampling_of("test", DATA_SAMPLING="pyslowfast", DATA_USE_OFFSET_SAMPLING=True).offset


def test_validation_has_one_fixed_view_of_rules_that_have_it():
    assert isinstance(sampling_of("val", DATA_SAMPLING="tsn"), FixedViews)
    assert isinstance(sampling_of("val"), FixedViews)
    assert isinstance(sampling_of("val", DATA_SAMPLING="charades"), Strided)
    assert sampling_of("val").num_clips == 1


def test_recalibration_takes_the_counts_that_are_tested_but_not_trained():
    sampling = sampling_of("recalibrate", DATA_NUM_FRAMES=8, TEST_NUM_FRAMES=[12, 8, 4])
    assert sampling.num_frames == (4, 12)


def test_published_rules_cannot_be_nested():
    with pytest.raises(ValueError, match="'tsn' draws rates as published.*SAMPLING independent"):
        sampling_of("train", DATA_SAMPLING="tsn", FFN_SAMPLING="nested")


def test_an_unknown_rule_names_the_published_ones():
    with pytest.raises(ValueError, match="no sampling 'sparse'; choose one of .*tsn"):
        sampling_of("train", DATA_SAMPLING="sparse")


# ---------------------------------------------------------------------------- crops


def test_crops_of_the_defaults():
    assert crops_of("train") == RandomCrop(224, (256, 320), flip=True)
    assert crops_of("val") == UniformCrops(256, 1)
    assert crops_of("test") == UniformCrops(256, 3)


def test_relative_scales_make_resized_crops_of_training_only():
    how = {
        "DATA_TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
        "DATA_TRAIN_JITTER_ASPECT_RELATIVE": [0.5, 2.0],
    }
    assert crops_of("train", **how) == RandomResizedCrop(224, (0.08, 1.0), (0.5, 2.0), flip=True)
    assert crops_of("val", **how) == UniformCrops(256, 1)
    del how["DATA_TRAIN_JITTER_ASPECT_RELATIVE"]
    assert crops_of("train", **how).aspect == (3 / 4, 4 / 3)


@pytest.mark.parametrize(
    ("name", "train", "val", "one", "three"),
    [
        (
            "pyslowfast",
            ScaledRandomCrop(224, (256, 320), flip=True),
            ScaledRandomCrop(224, (256, 320), flip=True),
            ScaledCrops(224, 1, 256),
            ScaledCrops(224, 3, 224),
        ),
        (
            "sth_ffn",
            ScaledRandomCrop(224, (256, 320), flip=True),
            ScaledRandomCrop(224, (256, 320), flip=True),
            ScaledCrops(224, 1, 224, at_start=True),
            ScaledCrops(224, 3, 224, at_start=True),
        ),
        (
            "tsn",
            MultiScaleCrop(224, flip=True),
            ScaledCrops(224, 1, 256, even=True, antialias=True),
            ScaledCrops(224, 1, 256, even=True, antialias=True),
            ScaledCrops(224, 3, 224, even=True, antialias=True),
        ),
        (
            "frameexit",
            RandomCrop(224, (256, 320), flip=True),
            ScaledCrops(224, 1, 224, even=True),
            ScaledCrops(224, 1, 224, even=True),
            ScaledCrops(224, 3, 224, even=True),
        ),
    ],
)
def test_published_crops_are_chosen_by_name(name, train, val, one, three):
    how = {"DATA_CROPS": name, "DATA_TEST_CROP_SIZE": 224}
    assert crops_of("train", **how) == train
    assert crops_of("val", **how) == val
    assert crops_of("test", TEST_NUM_SPATIAL_CROPS=1, **how) == one
    assert crops_of("test", TEST_NUM_SPATIAL_CROPS=3, **how) == three


@pytest.mark.parametrize("name", _CHOICES["DATA.CROPS"])
def test_classes_with_a_direction_are_never_mirrored(name):
    with pytest.raises(ValueError, match="RANDOM_FLIP mirrors .* set DATA.RANDOM_FLIP False"):
        crops_of("train", "ssv2", DATA_CROPS=name)
    assert not crops_of("train", "ssv2", DATA_CROPS=name, DATA_RANDOM_FLIP=False).flip


# ---------------------------------------------------------------------------- augmentation


def test_nothing_is_augmented_without_the_switch():
    assert build_augment(get_cfg()) is None
    assert build_erasing(get_cfg()) is None


def test_the_switch_turns_on_the_defaults_of_pyslowfast():
    cfg = cfg_with(AUG_ENABLE=True)
    assert build_augment(cfg) == RandAugment(9, 2, 0.5, "bicubic")
    assert build_erasing(cfg) == RandomErasing(0.25, "pixel", 1)


def test_colours_are_jittered_only_without_randaugment():
    cfg = cfg_with(AUG_ENABLE=True, AUG_AA_TYPE="", AUG_COLOR_HUE=0.1, AUG_RE_PROB=0.0)
    assert build_augment(cfg) == ColorJitter(0.4, 0.4, 0.4, 0.1)
    assert build_erasing(cfg) is None
    cfg.AUG.COLOR_JITTER = cfg.AUG.COLOR_HUE = 0.0
    assert build_augment(cfg) is None


def test_labels_cannot_be_smoothed_twice():
    cfg = cfg_with(MIXUP_ENABLE=True, OBJECTIVE_LABEL_SMOOTHING=0.1)
    with pytest.raises(ValueError, match="LABEL_SMOOTHING = 0.1 would smooth labels again"):
        check(cfg, "here")
    cfg.OBJECTIVE.LABEL_SMOOTHING = 0.0
    check(cfg, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"AUG_RE_PROB": 1.5}, "AUG.RE_PROB = 1.5 must be 0 to 1"),
        ({"AUG_NUM_SAMPLE": 0}, "AUG.NUM_SAMPLE = 0 must be positive"),
        ({"MIXUP_SWITCH_PROB": -0.1}, "MIXUP.SWITCH_PROB = -0.1 must be 0 to 1"),
        ({"DATA_CROPS": "pyslofast"}, "did you mean 'pyslowfast'"),
        ({"DATA_SAMPLING": "mmaction"}, "DATA.SAMPLING = 'mmaction' must be"),
        ({"MIXUP_ENABLE": True, "MIXUP_ALPHA": 0.0, "MIXUP_CUTMIX_ALPHA": 0.0}, "are both 0"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        check(cfg_with(**values), "here")


@pytest.mark.parametrize("name", ["MVIT_B_16x4_CONV", "MVITv2_B_32x3", "UNIFORMER_B32x4"])
def test_transformers_are_tested_on_the_published_crop_of_kinetics(name):
    cfg = load_cfg(ROOT / f"configs/Kinetics/{name}.yaml")
    assert build_crops(cfg, "test", DATASETS.get("kinetics")) == ScaledCrops(224, 1, 256)
