"""Learning from a teacher that sees more."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, clip_of, perturb
from helpers.source import ROOT, files
from slowfast.config import get_cfg, input_size, load_cfg
from slowfast.models import TSN, FrameFlexible, R2Plus1D, SlowFast, build_model
from slowfast.objectives import Classify, Distillation, build_objective
from slowfast.objectives.distill import map_dim, teacher_yaml
from slowfast.report.cost import peak_mb

CLASSES = 5
PUBLISHED = [p for p in files("projects/res_kd", suffixes=(".yaml",)) if p.stem[:5] == "RESKD"]
TINY = {
    "MODEL.MODEL_NAME": "R2Plus1D",
    "MODEL.NUM_CLASSES": CLASSES,
    "MODEL.DROPOUT_RATE": 0.0,
    "R2PLUS1D.WIDTHS": [4, 8],
    "R2PLUS1D.BLOCKS": [1, 1],
}


def net(*widths: int, classes: int = CLASSES, seed: int = 0) -> R2Plus1D:
    torch.manual_seed(seed)
    blocks = [1] * len(widths or (4, 8))
    return perturb(R2Plus1D(classes, widths or (4, 8), blocks, dropout=0.0, fc_init_std=0.5), 0.05)


def batch_of(*num_frames: int, size: int = 32) -> SimpleNamespace:
    clips = tuple(clip_of(n, 4, size) for n in num_frames)
    return SimpleNamespace(clips=clips, labels=torch.tensor([0, 3, 1, 3]))


def the_term(objective, model, batch):
    (term,) = objective(model, batch)
    return term


def seen_by(model: nn.Module) -> list[tuple[int, ...]]:
    """Fills with the shapes of the clips that go through `model` from now on."""
    shapes = []
    model.register_forward_pre_hook(lambda _model, inputs: shapes.append(tuple(inputs[0].shape)))
    return shapes


# ---------------------------------------------------------------------------- the losses


@pytest.mark.parametrize("loss", ["feature_mse", "location_kl", "logit_kl"])
def test_a_network_equal_to_its_teacher_learns_from_the_labels_alone(loss):
    student, batch = net().eval(), batch_of(4)
    objective = Distillation(copy.deepcopy(student), loss, weight=7.0, mode="eval")
    term, plain = the_term(objective, student, batch), the_term(Classify(), student, batch)
    assert term.parts[f"{loss}_4"].item() == pytest.approx(0, abs=1e-6)
    assert term.loss.item() == pytest.approx(plain.loss.item(), abs=1e-5)


@pytest.mark.parametrize("loss", ["feature_mse", "location_kl", "logit_kl"])
def test_the_loss_is_that_of_the_labels_and_the_weighted_distance(loss):
    term = the_term(Distillation(net(seed=1), loss, weight=3.0), net(), batch_of(4))
    ce, distance = term.parts["ce_4"], term.parts[f"{loss}_4"]
    assert distance > 0
    assert term.loss.item() == pytest.approx((ce + 3 * distance).item(), rel=1e-5)


def test_logits_of_places_are_compared_place_by_place():
    student, teacher, batch = net().eval(), net(seed=1).eval(), batch_of(2)
    objective = Distillation(teacher, "location_kl", temperature=2.0, mode="eval")
    with torch.no_grad():
        q, p = ((m(batch.clips[0], "places")[1] / 2).softmax(1) for m in (student, teacher))
    expected = 4 * (p * (p.log() - q.log())).mean().item()
    found = the_term(objective, student, batch).parts["location_kl_2"].item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_choice_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="DISTILL.LOSS='mse' must be one of feature_mse"):
        Distillation(net(), "mse")
    with pytest.raises(ValueError, match="DISTILL.TEACHER_MODE='test' must be one of train, eval"):
        Distillation(net(), mode="test")


# ---------------------------------------------------------------------------- what each sees


def test_the_network_sees_fewer_pixels_of_the_same_frames():
    student, teacher = net(), net(seed=1)
    small, large = seen_by(student), seen_by(teacher)
    the_term(Distillation(teacher, size=16), student, batch_of(4))
    assert small == [(4, 3, 4, 16, 16)] and large == [(4, 3, 4, 32, 32)]


def test_half_the_size_is_the_mean_of_each_2x2_pixels():
    clip = clip_of(3, 2, 32)
    small = Distillation(net(), size=16).student_clip(clip)
    expected = sum(clip[..., row::2, column::2] for row in (0, 1) for column in (0, 1)) / 4
    torch.testing.assert_close(small, expected)


def test_less_than_half_the_size_leaves_no_pixel_out():
    clip = torch.zeros(1, 3, 2, 32, 32)
    objective = Distillation(net(), size=8)
    seen = torch.zeros(32, 32)
    for i in range(32):
        for j in range(32):
            clip[..., i, j] = 1
            seen[i, j] = objective.student_clip(clip).sum()
            clip[..., i, j] = 0
    assert seen.min() > 0
    torch.testing.assert_close(
        objective.student_clip(torch.ones_like(clip)).mean(), torch.tensor(1.0)
    )
    assert objective.student_clip(clip).shape == (1, 3, 2, 8, 8)


def test_without_a_size_both_see_the_very_same_clip():
    clip = clip_of(3, 2, 32)
    assert Distillation(net()).student_clip(clip) is clip


def test_a_teacher_with_other_times_and_places_is_met():
    torch.manual_seed(0)
    teacher = SlowFast(18, CLASSES, alpha=4, width=8)  # shows a quarter of the frames
    objective = Distillation(teacher, "location_kl", size=16)
    the_term(objective, net(), batch_of(8)).loss.backward()


# ---------------------------------------------------------------------------- the teacher


def test_the_teacher_is_no_part_of_the_objective():
    objective = Distillation(net())
    assert not list(objective.parameters()) and not objective.state_dict()
    assert not list(objective.children())


def test_the_teacher_moves_along_with_the_objective():
    assert next(Distillation(net()).double().teacher.parameters()).dtype == torch.float64


def test_nothing_of_the_teacher_is_kept_for_the_backward_pass():
    objective, kept = Distillation(net(seed=1)), []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        wanted = objective.ask_teacher(clip_of(4, 2, 32))
    assert not kept and not wanted.requires_grad
    term = the_term(objective, net(), batch_of(4))
    term.loss.backward()
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())


class Asked(nn.Module):
    """A teacher, asked in training as the objective asks it."""

    def __init__(self, objective: Distillation):
        super().__init__()
        self.teacher, self.ask = objective.teacher, objective.ask_teacher

    def forward(self, clip):
        return self.ask(clip)


def test_a_teacher_takes_the_memory_of_its_inference():
    torch.manual_seed(0)
    teacher = TSN(18, CLASSES, width=8)
    shape = (4, 3, 4, 64, 64)
    inference, asked = peak_mb(teacher, shape), peak_mb(Asked(Distillation(teacher)), shape)
    assert asked <= 1.05 * inference


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [t.clone() for name, t in model.named_buffers() if "running" in name]


@pytest.mark.parametrize("mode, changes", [("train", True), ("eval", False)])
def test_a_teacher_in_training_mode_tracks_statistics_and_one_in_evaluation_does_not(mode, changes):
    teacher = net(seed=1)
    before = statistics(teacher)
    the_term(Distillation(teacher, mode=mode), net(), batch_of(4))
    changed = [not torch.equal(a, b) for a, b in zip(before, statistics(teacher), strict=True)]
    assert set(changed) == {changes}


def test_what_a_teacher_in_evaluation_mode_says_of_a_video_ignores_the_others():
    objective, clip = Distillation(net(seed=1), mode="eval"), clip_of(4, 3, 32)
    torch.testing.assert_close(objective.ask_teacher(clip)[:1], objective.ask_teacher(clip[:1]))


# ---------------------------------------------------------------------------- other widths


def test_a_projection_learns_to_meet_a_wider_teacher():
    projection = nn.Conv3d(8, 6, 1)
    objective = Distillation(net(4, 6, seed=1), projection=projection)
    the_term(objective, net(), batch_of(4)).loss.backward()
    assert projection.weight.grad.abs().sum() > 0
    assert set(objective.state_dict()) == {"projection.weight", "projection.bias"}


def test_features_of_another_width_are_refused_without_a_projection():
    objective = Distillation(net(4, 6, seed=1))
    with pytest.raises(ValueError, match="shows 8 channels or classes and its teacher 6"):
        the_term(objective, net(), batch_of(4))


@pytest.mark.parametrize("loss", ["location_kl", "logit_kl"])
def test_other_widths_are_met_through_the_classes(loss):
    objective = Distillation(net(4, 6, seed=1), loss, size=16)
    assert the_term(objective, net(), batch_of(4)).parts[f"{loss}_4"] > 0


def test_other_classes_are_refused():
    with pytest.raises(ValueError, match="channels or classes and its teacher 7"):
        the_term(Distillation(net(classes=7), "logit_kl"), net(), batch_of(4))


def test_any_network_learns_from_logits():
    torch.manual_seed(0)
    objective = Distillation(ForeignNet(classes=CLASSES), "logit_kl")
    the_term(objective, ForeignNet(classes=CLASSES), batch_of(4)).loss.backward()


# ---------------------------------------------------------------------------- several clips


def test_a_flexible_network_learns_from_the_teacher_at_each_of_its_rates():
    model = FrameFlexible(net(), (2, 4))
    objective, batch = Distillation(net(seed=1), size=16), batch_of(2, 4)
    terms = list(objective(model, batch))
    assert objective.num_terms(batch) == len(terms) == 2
    assert [list(term.logits) for term in terms] == [[4], [2]]
    sum(term.loss for term in terms).backward()
    private = [p for n, p in model.named_parameters() if ".copies." in n]
    assert all(parameter.grad is not None for parameter in private)


def test_mixed_precision_compares_in_float32():
    objective = Distillation(
        net(4, 6, seed=1), projection=nn.Conv3d(8, 6, 1), amp_dtype=torch.bfloat16
    )
    student = net()

    def forward(*args):
        with torch.autocast("cpu", torch.bfloat16):
            return student(*args)

    term = the_term(objective, forward, batch_of(4))
    assert term.loss.dtype == torch.float32 and math.isfinite(term.loss.item())
    term.loss.backward()


# ---------------------------------------------------------------------------- by configuration


def cfg_with_teacher(folder, *overrides, widths=(4, 8)):
    """A configuration whose teacher is the same network with other `widths`."""
    teacher = get_cfg()
    words = [word for pair in (TINY | {"R2PLUS1D.WIDTHS": list(widths)}).items() for word in pair]
    teacher.merge_from_list(words)
    (folder / "teacher.yaml").write_text(teacher.dump())
    torch.manual_seed(1)
    torch.save({"model_state": build_model(teacher).state_dict()}, folder / "teacher.pyth")
    cfg = get_cfg()
    given = TINY | {
        "OBJECTIVE.NAME": "distill",
        "DISTILL.TEACHER_CFG": str(folder / "teacher.yaml"),
        "DISTILL.TEACHER_WEIGHTS": str(folder / "teacher.pyth"),
        "DISTILL.STUDENT_SIZE": 16,
    }
    cfg.merge_from_list([*(word for pair in given.items() for word in pair), *overrides])
    return cfg


def test_a_configuration_makes_the_teacher_with_its_weights(tmp_path):
    cfg = cfg_with_teacher(tmp_path, "DISTILL.WEIGHT", 50.0)
    objective = build_objective(cfg)
    weights = torch.load(tmp_path / "teacher.pyth", weights_only=True)["model_state"]
    found = objective.teacher.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    assert objective.weight == 50 and objective.size == 16 and objective.projection is None
    the_term(objective, build_model(cfg), batch_of(4)).loss.backward()


def test_a_configuration_bridges_other_widths(tmp_path):
    cfg = cfg_with_teacher(tmp_path, widths=(4, 6))
    objective = build_objective(cfg)
    assert objective.projection.weight.shape == (6, 8, 1, 1, 1)
    the_term(objective, build_model(cfg), batch_of(4)).loss.backward()


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_published_pairs_of_maps_have_one_width(path):
    cfg = load_cfg(path)
    with torch.device("meta"):
        dims = {map_dim(build_model(load_cfg(ROOT / cfg.DISTILL.TEACHER_CFG)))}
        dims.add(map_dim(build_model(cfg)))
    assert len(dims) == 1 or cfg.DISTILL.LOSS == "location_kl"


def test_precise_statistics_of_clips_that_the_network_does_not_see_are_refused(tmp_path):
    cfg = cfg_with_teacher(tmp_path, "BN.USE_PRECISE_STATS", True)
    (tmp_path / "run.yaml").write_text(cfg.dump())
    with pytest.raises(ValueError, match="BN.USE_PRECISE_STATS would take the statistics"):
        load_cfg(tmp_path / "run.yaml")


def test_no_projection_is_made_where_logits_are_compared(tmp_path):
    cfg = cfg_with_teacher(tmp_path, "DISTILL.LOSS", "logit_kl", widths=(4, 6))
    assert build_objective(cfg).projection is None


def test_a_teachers_yaml_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert teacher_yaml("configs/Kinetics/TSN_R50.yaml").samefile(
        ROOT / "configs/Kinetics/TSN_R50.yaml"
    )
    (tmp_path / "mine.yaml").touch()
    assert teacher_yaml("mine.yaml").samefile(tmp_path / "mine.yaml")


@pytest.mark.parametrize("key", ["DISTILL.TEACHER_CFG", "DISTILL.TEACHER_WEIGHTS"])
def test_a_missing_teacher_is_asked_for(key, tmp_path):
    with pytest.raises(ValueError, match=f"needs {key}"):
        build_objective(cfg_with_teacher(tmp_path, key, ""))


def test_networks_are_built_for_what_they_see(tmp_path):
    cfg = cfg_with_teacher(tmp_path, "DATA.TRAIN_CROP_SIZE", 64, "DISTILL.STUDENT_SIZE", 32)
    assert input_size(cfg) == 32
    words = ["MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "slow", "RESNET.DEPTH", 18]
    words += ["RESNET.WIDTH_PER_GROUP", 8, "RESNET.TRANS_FUNC", "basic_transform"]
    for size, window in ((32, (1, 1)), (48, None)):  # maps of 1 and 2 places a side
        cfg.merge_from_list([*words, "DISTILL.STUDENT_SIZE", size])
        model = build_model(cfg)
        assert model.head.pool.window == window
        assert model.train()(clip_of(2, 2, size)).shape == (2, CLASSES)


def test_a_network_without_a_map_is_sent_to_the_logits(tmp_path):
    cfg = cfg_with_teacher(tmp_path, "MODEL.MODEL_NAME", "FrameExit")
    cfg.merge_from_list(["FRAME_EXIT.BACKBONE", "TSN", "RESNET.DEPTH", 18])
    with pytest.raises(ValueError, match="FrameExit shows no map of features; set DISTILL.LOSS"):
        build_objective(cfg)


def test_a_2d_network_learns_from_a_3d_one():
    torch.manual_seed(0)
    student = TSN(18, CLASSES, width=8)
    objective = Distillation(net(), "location_kl", size=16)
    the_term(objective, student, batch_of(4)).loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
