"""Multigrid training: its schedule in the reference's numbers, and batches of changing clips."""

import json
from pathlib import Path

import pytest
import torch

from helpers.source import ROOT
from helpers.videos import write_grey_video
from slowfast.config import get_cfg, load_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.epochs import EpochBatches, Kind
from slowfast.datasets.multigrid import AnyOf, Multigrid, norm_type, strides
from slowfast.datasets.sampling import DenseSampling

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "lr.json").read_text())["multigrid"]
FOLDERS = ["Kinetics", "SSv2", "Charades"]
GPUS = 8  # of the reference


def published(name):
    """The fixture's case of that folder, and the shipped configuration of its name."""
    (case,) = (case for case in FIXTURE if case["config"].startswith(name))
    cfg = load_cfg(ROOT / "configs" / case["config"])
    cfg.defrost()
    return case, cfg


def grid_cfg(*overrides, long=True, short=True):
    cfg = get_cfg()
    cycles = ["MULTIGRID.LONG_CYCLE", long, "MULTIGRID.SHORT_CYCLE", short]
    cfg.merge_from_list([*cycles, "DATA.TRAIN_CROP_SIZE", 224, *overrides])
    return cfg


def changes(case, grid):
    """The fixture's shape changes beside the phases that they begin."""
    ends = [0, *(phase.end for phase in grid.phases)]
    for start, phase in zip(ends, grid.phases, strict=False):
        for change in case["shape_changes"]:
            if change["epoch"] == start < phase.end:
                yield change, phase


# ----------------------------------------------------------------------------------- the schedule


@pytest.mark.parametrize("name", FOLDERS)
def test_phases_have_the_references_shapes_and_epochs(name):
    case, cfg = published(name)
    grid = Multigrid.from_cfg(cfg)
    ours = [[phase.step, [phase.factor, *phase.shape], phase.end] for phase in grid.phases]
    assert ours == case["schedule"]
    assert grid.max_epoch == case["max_epoch"]


@pytest.mark.parametrize("name", FOLDERS)
def test_learning_rates_change_with_the_phases_as_in_the_reference(name):
    case, cfg = published(name)
    grid = Multigrid.from_cfg(cfg)
    assert list(grid.steps) == case["steps"]
    assert grid.lrs == pytest.approx(case["lrs"], rel=1e-9)


@pytest.mark.parametrize("name", FOLDERS)
def test_validations_fall_into_the_references_epochs(name):
    case, cfg = published(name)
    grid = Multigrid.from_cfg(cfg)
    ours = [epoch for epoch in range(grid.max_epoch) if grid.validates_after(epoch + 1)]
    assert ours == case["eval_epochs"]


@pytest.mark.parametrize("name", FOLDERS)
def test_batches_of_a_process_are_the_references(name):
    case, cfg = published(name)
    found = list(changes(case, Multigrid.from_cfg(cfg)))
    assert len(found) >= 6
    for change, phase in found:
        ours = [turn.factor * cfg.TRAIN.BATCH_SIZE // GPUS for turn in phase.turns]
        assert ours == change["short_cycle_batch_sizes"]
        assert (phase.factor * cfg.TRAIN.BATCH_SIZE, *phase.shape) == tuple(
            change[name] for name in "BTS"
        )


@pytest.mark.parametrize("name", FOLDERS)
def test_epochs_have_the_references_number_of_batches(name):
    """The reference divides by the mean batch, which may count one that is not full."""
    case, cfg = published(name)
    for change, _ in changes(case, Multigrid.from_cfg(cfg)):
        sizes = change["short_cycle_batch_sizes"]
        batches = EpochBatches(
            100_000, 1, seed=0, drop_last=True, kinds=lambda epoch, b=sizes: [*map(Kind, b)]
        )
        assert change["short_cycle_len_100k"] - len(batches) in (0, 1)


@pytest.mark.parametrize("name", FOLDERS)
def test_batchnorm_sees_as_many_videos_as_in_the_reference(name):
    case, cfg = published(name)
    for change, phase in changes(case, Multigrid.from_cfg(cfg)):
        kind, number = norm_type(phase.factor * cfg.TRAIN.BATCH_SIZE // GPUS, 8)
        assert kind == change["norm"]
        expected = {"sub_batchnorm": "splits", "sync_batchnorm": "sync"}
        assert number == (change[expected[kind]] if kind in expected else 1)


@pytest.mark.parametrize("name", FOLDERS)
def test_frames_of_short_clips_are_as_far_apart_as_in_the_reference(name):
    case, cfg = published(name)
    for change, phase in changes(case, Multigrid.from_cfg(cfg)):
        drawn = strides(cfg.DATA.NUM_FRAMES, phase.shape.num_frames, cfg.DATA.SAMPLING_RATE)
        assert (drawn[0], drawn[-1]) == (cfg.DATA.SAMPLING_RATE, change["sampling_rate"])


def test_the_long_cycle_alone_keeps_the_pixels_of_a_batch():
    _, cfg = published("Kinetics")
    cfg.MULTIGRID.SHORT_CYCLE = False
    grid = Multigrid.from_cfg(cfg)
    assert {len(phase.turns) for phase in grid.phases} == {1}
    for phase in grid.phases:
        pixels = phase.factor * phase.shape.num_frames * phase.shape.crop**2
        assert pixels == pytest.approx(32 * 224**2, rel=0.01)
    assert grid.max_epoch == round(1.5 * 239)


def test_phases_of_a_step_take_equally_many_batches():
    _, cfg = published("Kinetics")
    cfg.SOLVER.STEPS = [step * 100 for step in cfg.SOLVER.STEPS]  # rounding matters less
    cfg.SOLVER.MAX_EPOCH *= 100
    ends = [0]
    batches = []
    for phase in Multigrid.from_cfg(cfg).phases[:4]:
        mean = sum(turn.factor for turn in phase.turns) / 3
        batches.append((phase.end - ends[-1]) / mean)
        ends.append(phase.end)
    assert batches == pytest.approx([batches[0]] * 4, rel=1e-3)


def test_the_short_cycle_alone_stretches_the_plain_schedule():
    cfg = grid_cfg(
        "SOLVER.MAX_EPOCH", 11, "SOLVER.STEPS", [0, 5], "SOLVER.LRS", [1, 0.1], long=False
    )
    grid = Multigrid.from_cfg(cfg)
    assert (grid.max_epoch, grid.steps, grid.lrs) == (16, (0, 7), (1, 0.1))
    assert [(k, shape.crop) for k, shape in grid.phases[0].turns] == [(4, 112), (2, 158), (1, 224)]


def test_the_short_cycle_alone_validates_as_without():
    cfg = grid_cfg("SOLVER.MAX_EPOCH", 11, "TRAIN.EVAL_PERIOD", 5, long=False)
    grid = Multigrid.from_cfg(cfg)
    assert [epoch for epoch in range(1, 17) if grid.validates_after(epoch)] == [5, 10, 15, 16]


def test_frame_flexible_networks_keep_their_frame_counts():
    cfg = grid_cfg("SOLVER.STEPS", [0, 8], "SOLVER.LRS", [1, 0.1], "FFN.ENABLE", True)
    grid = Multigrid.from_cfg(cfg)
    assert {shape.num_frames for shape in grid.shapes} == {16}
    assert [phase.factor for phase in grid.phases] == [2, 2, 1, 1, 1]


def test_a_crop_of_the_short_cycle_is_never_larger_than_the_phases():
    cfg = grid_cfg("SOLVER.STEPS", [0, 8], "SOLVER.LRS", [1, 0.1], "DATA.NUM_FRAMES", 8)
    cfg.MULTIGRID.LONG_CYCLE_FACTORS = [[1.0, 0.5]]
    assert [(k, shape.crop) for k, shape in Multigrid.from_cfg(cfg).phases[0].turns] == [
        *((4, 112), (4, 112), (4, 112)),
    ]


@pytest.mark.parametrize("num_frames", [*range(1, 18), 32, 64])
@pytest.mark.parametrize("crop", [1, 2, 32, 33, 112, 224])
def test_every_batch_of_small_clips_has_a_frame_a_pixel_and_a_video(num_frames, crop):
    steps = ["SOLVER.STEPS", [0, 8], "SOLVER.LRS", [1, 0.1], "SOLVER.MAX_EPOCH", 12]
    cfg = grid_cfg(*steps, "DATA.NUM_FRAMES", num_frames, "DATA.TRAIN_CROP_SIZE", crop)
    grid = Multigrid.from_cfg(cfg)
    for phase in grid.phases:
        assert phase.factor >= 1
        for factor, shape in phase.turns:
            assert factor >= phase.factor and crop >= shape.crop >= 1
            assert num_frames >= shape.num_frames >= 1
    assert grid.shapes[-1] == (num_frames, crop)


@pytest.mark.parametrize(("num_frames", "counts"), [(1, [1, 1, 1, 1]), (2, [1, 1, 1, 2])])
def test_clips_of_few_frames_keep_one_in_the_long_cycle(num_frames, counts):
    steps = ["SOLVER.STEPS", [0, 8], "SOLVER.LRS", [1, 0.1]]
    grid = Multigrid.from_cfg(grid_cfg(*steps, "DATA.NUM_FRAMES", num_frames, short=False))
    assert [phase.shape.num_frames for phase in grid.phases[:4]] == counts
    pixels = [phase.factor * phase.shape.num_frames * phase.shape.crop**2 for phase in grid.phases]
    assert pixels == pytest.approx([num_frames * 224**2] * 5, rel=0.01)


def test_nothing_changes_when_both_cycles_are_off():
    assert Multigrid.from_cfg(get_cfg()) is None


# ----------------------------------------------------------------------------------- the batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """36 training videos of 40 frames; one for validation."""
    folder = tmp_path_factory.mktemp("videos")
    write_grey_video(folder / "one.mp4", 40)
    (folder / "train.csv").write_text("one.mp4 0\n" * 36)
    (folder / "val.csv").write_text("one.mp4 0\n")
    return folder


@pytest.fixture
def small(folder):
    """A phase of 4 frames, the others of 8; crops of 8 and 16 pixels by turns."""
    cfg = grid_cfg(
        *("DATA.PATH_TO_DATA_DIR", str(folder), "MODEL.NUM_CLASSES", 2, "DATA.SAMPLING", "dense"),
        *("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "DATA.TRAIN_CROP_SIZE", 16),
        *("DATA.TRAIN_JITTER_SCALES", [20, 24], "DATA_LOADER.NUM_WORKERS", 0),
        *(
            "DATA.TEST_CROP_SIZE",
            20,
            "TRAIN.BATCH_SIZE",
            4,
            "SOLVER.STEPS",
            [0, 8],
            "SOLVER.LRS",
            [1, 0.1],
        ),
        *("SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.MAX_EPOCH", 10),
    )
    cfg.MULTIGRID.LONG_CYCLE_FACTORS = [[0.5, 1.0], [1.0, 1.0]]
    cfg.MULTIGRID.SHORT_CYCLE_FACTORS = [0.5]
    return cfg


def shapes_of(loader):
    return [tuple(batch.clips[0].shape) for batch in loader]


def test_batches_take_the_shapes_of_their_phase(small):
    loader, grid = build_loader(small, "train"), Multigrid.from_cfg(small)
    assert [phase.factor for phase in grid.phases] == [2, 1, 1]
    assert shapes_of(loader) == [(32, 3, 4, 8, 8)]  # of 36 videos
    loader.set_epoch(grid.phases[0].end)
    assert shapes_of(loader) == [(16, 3, 8, 8, 8), (4, 3, 8, 16, 16), (16, 3, 8, 8, 8)]


def test_a_list_shorter_than_the_largest_batch_is_told(small):
    small.TRAIN.BATCH_SIZE = 5
    with pytest.raises(ValueError, match=r"36 videos, .* .of up to 40 with MULTIGRID.* at most 4"):
        build_loader(small, "train")


def test_validation_and_test_clips_are_whole(small):
    assert shapes_of(build_loader(small, "val")) == [(1, 3, 8, 20, 20)]


def test_an_epoch_of_whole_clips_has_plain_batches(small):
    loader, plain = build_loader(small, "train"), small.clone()
    plain.MULTIGRID.LONG_CYCLE = plain.MULTIGRID.SHORT_CYCLE = False
    loader.set_epoch(2, whole=True)
    plain = build_loader(plain, "train")
    plain.set_epoch(2)
    assert len(loader) == len(plain) == 9
    for ours, theirs in zip(loader, plain, strict=True):
        assert torch.equal(ours.clips[0], theirs.clips[0])
    loader.set_epoch(2)
    assert len(loader) == 1


def test_the_smallest_short_side_shrinks_with_the_crop(small):
    dataset = build_loader(small, "train").dataset
    assert {(crops.size, crops.jitter) for _, crops in dataset.shapes} == {
        (8, (10, 24)),
        (16, (20, 24)),
    }


def test_short_clips_draw_the_distance_of_their_frames(small):
    (four, _), *_ = build_loader(small, "train").dataset.shapes
    assert four == AnyOf(tuple(DenseSampling((4,), 4 * stride) for stride in (2, 3, 4)))
    gaps = set()
    for seed in range(40):
        ((indices,),) = four.clips(40, 30.0, torch.Generator().manual_seed(seed))
        gaps.add(int(indices[-1] - indices[0]))
    assert gaps == {7, 11, 15}  # from the first to the last of 4 x 2, 3 or 4 frames


def test_every_process_gets_its_part_of_each_batch(small):
    small.MULTIGRID.LONG_CYCLE = False
    alone = list(build_loader(small, "train"))
    shares = [list(build_loader(small, "train", rank, 2)) for rank in (0, 1)]
    assert [len(batch) for batch in alone] == [16, 4, 16]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert [len(part) for part in parts] == [len(whole) // 2] * 2
        index = torch.cat([part.index for part in parts])
        clips = torch.cat([part.clips[0] for part in parts])
        assert torch.equal(clips[index.argsort()], whole.clips[0][whole.index.argsort()])


@pytest.mark.parametrize("stop", [1, 2])
def test_an_epoch_goes_on_in_the_middle_of_a_short_cycle(small, stop):
    small.MULTIGRID.LONG_CYCLE = False
    expected = list(build_loader(small, "train"))
    first = build_loader(small, "train")
    iterator = iter(first)
    for _ in range(stop):
        next(iterator)
    small.DATA_LOADER.NUM_WORKERS = 1
    resumed = build_loader(small, "train")
    resumed.load_state_dict(first.state_dict())
    rest = list(resumed)
    assert len(rest) == len(expected) - stop
    for ours, theirs in zip(rest, expected[stop:], strict=True):
        assert torch.equal(ours.index, theirs.index)
        assert torch.equal(ours.clips[0], theirs.clips[0])


def test_all_rates_of_a_frame_flexible_network_change_their_crop(small):
    small.merge_from_list(["FFN.ENABLE", True, "FFN.NUM_FRAMES", [2, 4]])
    small.MULTIGRID.LONG_CYCLE_FACTORS = [[0.5, 0.5], [1.0, 1.0]]
    small.MULTIGRID.SHORT_CYCLE = False
    small.TRAIN.BATCH_SIZE = 2
    loader = build_loader(small, "train")
    batch = next(iter(loader))
    assert [tuple(clip.shape) for clip in batch.clips] == [(8, 3, 2, 8, 8), (8, 3, 4, 8, 8)]
    loader.set_epoch(Multigrid.from_cfg(small).phases[0].end)
    batch = next(iter(loader))
    assert [tuple(clip.shape) for clip in batch.clips] == [(2, 3, 2, 16, 16), (2, 3, 4, 16, 16)]
