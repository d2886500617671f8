"""Every shipped YAML."""

import pytest
import torch

from helpers.oracles import oracle
from helpers.source import ROOT, files
from slowfast.config import frame_counts, get_cfg, load_cfg
from slowfast.datasets.batch import Batch
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.step import Stepper
from slowfast.models import build_model
from slowfast.models.bridges import bridge_of
from slowfast.objectives import build_objective
from slowfast.objectives.distill import teacher_yaml

# What makes every network small; its depth and all that its YAML says of its shape stays.
NARROW = {
    "RESNET.WIDTH_PER_GROUP": 16,
    "RESNET.ZERO_INIT_FINAL_BN": False,  # or blocks start as identity and little learns
    "X3D.WIDTH_FACTOR": 0.5,
    "X3D.DIM_C5": 16,
    "MVIT.EMBED_DIM": 8,
    "MVIT.DROPPATH_RATE": 0.0,
    "VIDEO_SWIN.EMBED_DIM": 24,
    "VIDEO_SWIN.DROP_PATH_RATE": 0.0,
    "DISTILL.STUDENT_SIZE": 16,
    "UNIFORMER.DEPTH": [1, 1, 1, 1],
    "UNIFORMER.EMBED_DIM": [16, 16, 32, 32],
    "UNIFORMER.HEAD_DIM": 16,
    "FRAME_EXIT.HIDDEN_DIM": 16,
    "FRAME_EXIT.CLIP_LENGTH": 1,
    "DATA.TRAIN_CROP_SIZE": 32,
    "DATA.TRAIN_JITTER_SCALES": [32, 40],
    "DATA.TEST_CROP_SIZE": 32,
    "TRAIN.CHECKPOINT_FILE_PATH": "",
}
LONGEST = 8  # frames

ALL = [path for path in files("configs", "projects", suffixes=(".yaml", ".yml"))]
RUNNABLE = [path for path in ALL if not path.name.startswith("_")]


LIBRARIES = {"TimmFrames": "timm"}


def needs_its_library(cfg):
    """Skips the test where the library of the network is not installed."""
    if bridge := bridge_of(cfg):
        oracle(LIBRARIES[bridge.__name__])


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_loads_without_an_old_name(path, caplog):
    load_cfg(path)
    assert not caplog.records


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_fits_40_lines(path):
    assert len(path.read_text().splitlines()) <= 40


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_shipped_yaml_survives_dump_and_load(path, tmp_path):
    cfg = load_cfg(path)
    (tmp_path / "dump.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(tmp_path / "dump.yaml")
    assert again == cfg


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_a_shipped_yaml_builds_its_model(path):
    cfg = load_cfg(path)
    needs_its_library(cfg)
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    if cfg.FFN.ENABLE:
        assert tuple(model.rates.num_frames) == frame_counts(cfg)


def reduced(path):
    """The YAML's training on a narrow network and short clips."""
    cfg = load_cfg(path)
    cfg.defrost()
    shrink = -(-frame_counts(cfg)[-1] // LONGEST)
    counts = [max(count // shrink, 1) for count in frame_counts(cfg)]
    key = "FFN.NUM_FRAMES" if cfg.FFN.ENABLE else "DATA.NUM_FRAMES"
    pairs = NARROW | {key: counts if cfg.FFN.ENABLE else counts[0]}
    cfg.merge_from_list([value for pair in pairs.items() for value in pair])
    return cfg


def give_teacher(cfg, folder):
    """Makes the YAML's teacher one as narrow, with some weights."""
    teacher = reduced(teacher_yaml(cfg.DISTILL.TEACHER_CFG))
    (folder / "teacher.yaml").write_text(teacher.dump())
    torch.save({"model_state": build_model(teacher).state_dict()}, folder / "teacher.pyth")
    cfg.DISTILL.TEACHER_CFG = str(folder / "teacher.yaml")
    cfg.DISTILL.TEACHER_WEIGHTS = str(folder / "teacher.pyth")


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_a_shipped_yaml_trains_a_step(path, tmp_path):
    cfg = reduced(path)
    needs_its_library(cfg)
    torch.manual_seed(0)
    if cfg.OBJECTIVE.NAME == "distill":
        give_teacher(cfg, tmp_path)
    model = build_model(cfg).train()
    optimizer = build_optimizer(model, cfg)
    step = Stepper(model, build_objective(cfg), optimizer, torch.device("cpu"))
    clips = tuple(torch.randn(2, 3, count, 32, 32) for count in frame_counts(cfg))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.clone() for parameter in trained]
    several = cfg.MODEL.LOSS_FUNC == "bce_logit"  # labels per video
    labels = torch.eye(2, cfg.MODEL.NUM_CLASSES) if several else torch.tensor([0, 1])
    record = step(Batch(clips, labels, torch.arange(2)))
    assert record["grad_norm"] > 0
    changed = [not torch.equal(a, b) for a, b in zip(before, trained, strict=True)]
    assert sum(changed) > 0.9 * len(changed)
