import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, clip_of, perturb
from slowfast.config import get_cfg
from slowfast.models.flexible import FrameFlexible
from slowfast.objectives import (
    binary_cross_entropy,
    build_objective,
    cross_entropy,
    distillation_kl,
    soft_cross_entropy,
)
from slowfast.objectives.classify import Classify
from slowfast.objectives.ffn import FrameFlexibleTraining

COUNTS = (2, 4, 8)
BATCH = 4


def flexible(**kwargs) -> FrameFlexible:
    torch.manual_seed(0)
    return perturb(FrameFlexible(ForeignNet(**kwargs), COUNTS)).double().train()


def batch_of(*num_frames: int) -> SimpleNamespace:
    clips = tuple(clip_of(n, BATCH).double() for n in num_frames)
    return SimpleNamespace(clips=clips, labels=torch.tensor([0, 3, 1, 3]))


def gradients(model: nn.Module, objective, batch) -> dict[str, torch.Tensor]:
    """The gradient of a training step, seeded so that dropout is too."""
    torch.manual_seed(1)
    model.zero_grad()
    for term in objective(model, batch):
        term.loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def the_term(objective, model, batch):
    (term,) = objective(model, batch)
    return term


def probabilities(logits: torch.Tensor) -> list[list[float]]:
    rows = [[math.exp(z) for z in row] for row in logits.tolist()]
    return [[e / sum(row) for e in row] for row in rows]


# ---------------------------------------------------------------------------- losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_mean_negative_log_probability(smoothing):
    logits, labels = torch.randn(3, 5, dtype=torch.float64), [4, 0, 2]
    expected = 0.0
    for row, label in zip(probabilities(logits), labels, strict=True):
        for k, p in enumerate(row):
            expected -= ((1 - smoothing) * (k == label) + smoothing / 5) * math.log(p) / 3
    loss = cross_entropy(logits, torch.tensor(labels), smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_soft_labels_weigh_the_classes():
    logits = torch.randn(2, 3)
    mixed = 0.3 * nn.functional.one_hot(torch.tensor([0, 1]), 3) + 0.7 * nn.functional.one_hot(
        torch.tensor([2, 2]), 3
    )
    expected = 0.3 * cross_entropy(logits, torch.tensor([0, 1])) + 0.7 * cross_entropy(
        logits, torch.tensor([2, 2])
    )
    torch.testing.assert_close(cross_entropy(logits, mixed), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_the_mean_over_videos_and_classes(smoothing):
    logits = torch.randn(3, 4, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.float64)
    expected = 0.0
    for row, targets in zip(logits.tolist(), labels.tolist(), strict=True):
        for z, y in zip(row, targets, strict=True):
            p, y = 1 / (1 + math.exp(-z)), (1 - smoothing) * y + smoothing / 2
            expected -= (y * math.log(p) + (1 - y) * math.log(1 - p)) / 12
    loss = binary_cross_entropy(logits, labels, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_soft_cross_entropy_shares_the_probability_among_a_videos_labels():
    logits = torch.randn(3, 4)
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    first = sum(cross_entropy(logits[:1], torch.tensor([c])) for c in (0, 2)) / 2
    expected = (first + cross_entropy(logits[2:], torch.tensor([1]))) / 3  # the second has none
    torch.testing.assert_close(soft_cross_entropy(logits, labels), expected)


def test_soft_cross_entropy_of_class_indices_is_the_plain_one():
    logits, labels = torch.randn(3, 4), torch.tensor([1, 0, 3])
    assert torch.equal(soft_cross_entropy(logits, labels, 0.1), cross_entropy(logits, labels, 0.1))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_distillation_is_the_divergence_from_the_teacher_averaged_over_videos(temperature):
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    rows = zip(
        probabilities(student / temperature), probabilities(teacher / temperature), strict=True
    )
    expected = sum(t * math.log(t / s) for p, q in rows for s, t in zip(p, q, strict=True)) / 4
    loss = distillation_kl(student, teacher, temperature)
    assert loss.item() == pytest.approx(temperature**2 * expected, rel=1e-10)


def test_the_teacher_gets_no_gradient():
    student, teacher = torch.randn(2, 4, 6).unbind()
    student.requires_grad_(), teacher.requires_grad_()
    distillation_kl(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_losses_of_half_precision_logits_are_float32():
    logits = torch.randn(2, 3, dtype=torch.bfloat16)
    assert cross_entropy(logits, torch.tensor([0, 1])).dtype == torch.float32
    assert distillation_kl(logits, logits).dtype == torch.float32


# ---------------------------------------------------------------------------- classify


def test_classify_yields_the_cross_entropy_of_its_clip_once():
    model, batch = ForeignNet().double().eval(), batch_of(4)
    term = the_term(Classify(smoothing=0.1), model, batch)
    logits = model(batch.clips[0])
    assert torch.equal(term.loss, cross_entropy(logits, batch.labels, 0.1))
    assert term.parts == {"ce_4": term.loss} and not term.parts["ce_4"].requires_grad
    assert torch.equal(term.logits[4], logits) and not term.logits[4].requires_grad


def test_classify_takes_the_loss_that_the_configuration_names():
    cfg = get_cfg()
    cfg.MODEL.LOSS_FUNC = "bce_logit"
    model, batch = ForeignNet().double().eval(), batch_of(4)
    batch.labels = torch.nn.functional.one_hot(batch.labels, 5).double()
    term = the_term(Classify.from_cfg(cfg), model, batch)
    assert torch.equal(term.loss, binary_cross_entropy(model(batch.clips[0]), batch.labels))
    assert list(term.parts) == ["bce_4"]


def test_classify_refuses_several_clips_per_video():
    with pytest.raises(ValueError, match="one clip per video; got 3.*OBJECTIVE.NAME"):
        the_term(Classify(), ForeignNet(), batch_of(*COUNTS))


# ---------------------------------------------------------------------------- ffn


def test_per_rate_yields_every_rate_once_highest_first():
    terms = list(FrameFlexibleTraining()(flexible(), batch_of(*COUNTS)))
    assert [list(term.logits) for term in terms] == [[8], [4], [2]]
    assert [list(term.parts) for term in terms] == [["ce_8"], ["kl_4"], ["kl_2"]]


@pytest.mark.parametrize(
    ("objective", "counts"),
    [
        (Classify(), (8,)),
        (FrameFlexibleTraining(), COUNTS),
        (FrameFlexibleTraining(), (2, 8)),
        (FrameFlexibleTraining(backward="joint"), COUNTS),
    ],
)
def test_an_objective_says_how_many_terms_it_yields(objective, counts):
    batch = batch_of(*counts)
    assert len(list(objective(flexible(), batch))) == objective.num_terms(batch)


def test_teacher_is_cross_entropy_of_the_highest_and_divergence_of_the_others_from_it():
    model, batch = flexible(), batch_of(*COUNTS)
    low, mid, high = copy.deepcopy(model)(batch.clips)
    objective = FrameFlexibleTraining(weight=0.5, temperature=2.0, backward="joint", smoothing=0.1)
    term = the_term(objective, model, batch)
    ce = cross_entropy(high, batch.labels, 0.1)
    kl = distillation_kl(low, high, 2.0) + distillation_kl(mid, high, 2.0)
    torch.testing.assert_close(term.loss, ce + 0.5 * kl)
    torch.testing.assert_close(
        term.parts["ce_8"] + 0.5 * (term.parts["kl_4"] + term.parts["kl_2"]), term.loss
    )


def test_mutual_is_cross_entropy_of_all_and_the_mean_divergence_from_the_others():
    model, batch = flexible(), batch_of(*COUNTS)
    outputs = copy.deepcopy(model)(batch.clips)
    term = the_term(FrameFlexibleTraining(0.5, distill="mutual", backward="joint"), model, batch)
    expected = 0.0
    for i, z in enumerate(outputs):
        divergences = [distillation_kl(z, other) for j, other in enumerate(outputs) if j != i]
        expected = expected + cross_entropy(z, batch.labels) + 0.5 * sum(divergences) / 2
    torch.testing.assert_close(term.loss, expected)


@pytest.mark.parametrize("backward", ["joint", "per_rate"])
def test_labels_is_the_cross_entropy_of_every_rate(backward):
    model, batch = flexible(), batch_of(*COUNTS)
    outputs = copy.deepcopy(model)(batch.clips)
    terms = list(FrameFlexibleTraining(distill="labels", backward=backward)(model, batch))
    expected = sum(cross_entropy(z, batch.labels) for z in outputs)
    torch.testing.assert_close(sum(term.loss for term in terms), expected)
    assert {name for term in terms for name in term.parts} == {"ce_8", "ce_4", "ce_2"}


@pytest.mark.parametrize("distill", ["teacher", "labels"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_per_rate_backward_gives_the_gradient_of_joint(distill, dropout):
    model, batch = flexible(dropout=dropout), batch_of(*COUNTS)
    options = {"weight": 0.7, "temperature": 3.0, "distill": distill}
    joint = gradients(model, FrameFlexibleTraining(backward="joint", **options), batch)
    per_rate = gradients(model, FrameFlexibleTraining(backward="per_rate", **options), batch)
    torch.testing.assert_close(per_rate, joint, rtol=1e-10, atol=1e-12)


def test_per_rate_and_joint_leave_the_same_statistics():
    first, second = flexible(), flexible()
    gradients(first, FrameFlexibleTraining(backward="joint"), batch_of(*COUNTS))
    gradients(second, FrameFlexibleTraining(backward="per_rate"), batch_of(*COUNTS))
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()))


def test_the_low_clip_does_not_change_the_private_gradient_of_the_highest_rate():
    model, batch, other = flexible(), batch_of(*COUNTS), batch_of(*COUNTS)
    other.clips = (other.clips[0] + 1, *other.clips[1:])
    a = gradients(model, FrameFlexibleTraining(), batch)
    b = gradients(model, FrameFlexibleTraining(), other)
    assert torch.equal(a["net.bn.copies.8.weight"], b["net.bn.copies.8.weight"])
    assert not torch.equal(a["net.bn.copies.2.weight"], b["net.bn.copies.2.weight"])


@pytest.mark.parametrize("backward_pass", [True, False])
def test_per_rate_keeps_one_rate_of_activations_alive(backward_pass):
    class Saved:
        alive = 0

        def __init__(self, tensor):
            self.tensor, Saved.alive = tensor.detach(), Saved.alive + 1

        def __del__(self):
            Saved.alive -= 1

    model, seen = flexible(), []
    model.register_forward_pre_hook(lambda *_: seen.append(Saved.alive))
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        for term in FrameFlexibleTraining()(model, batch_of(*COUNTS)):
            assert Saved.alive > 0
            if backward_pass:
                term.loss.backward()
            else:
                del term
    assert seen == [0, 0, 0]


@pytest.mark.parametrize("backward", ["joint", "per_rate"])
def test_the_model_is_called_through_its_wrapper_only(backward):
    model, calls = flexible(), []

    class Wrapper(nn.Module):
        def forward(self, clips):
            calls.append(clips)
            return model(clips)

    list(FrameFlexibleTraining(backward=backward)(Wrapper(), batch_of(*COUNTS)))
    assert len(calls) == {"joint": 1, "per_rate": 3}[backward]


@pytest.mark.parametrize("backward", ["joint", "per_rate"])
def test_gradients_under_distributed_data_parallel_are_the_same(backward, tmp_path):
    model, batch = flexible(), batch_of(*COUNTS)
    objective = FrameFlexibleTraining(backward=backward)
    expected = gradients(model, objective, batch)
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(
            model, find_unused_parameters=backward == "per_rate"
        )
        actual = gradients(wrapped, objective, batch)
    finally:
        torch.distributed.destroy_process_group()
    actual = {name.removeprefix("module."): gradient for name, gradient in actual.items()}
    torch.testing.assert_close(actual, expected)


def test_ffn_refuses_a_single_clip_per_video():
    with pytest.raises(ValueError, match="two or more; got 1.*FFN.ENABLE"):
        list(FrameFlexibleTraining()(flexible(), batch_of(8)))


def test_ffn_takes_labels_that_share_the_probability_and_refuses_a_sigmoid_for_each():
    model, batch = flexible(), batch_of(*COUNTS)
    _, _, high = copy.deepcopy(model)(batch.clips)
    batch.labels = torch.nn.functional.one_hot(batch.labels, 5).double() * 2
    objective = FrameFlexibleTraining(loss="soft_cross_entropy")
    first = next(iter(objective(model, batch)))
    torch.testing.assert_close(first.loss, soft_cross_entropy(high, batch.labels))
    with pytest.raises(ValueError, match="set MODEL.LOSS_FUNC to 'soft_cross_entropy'"):
        FrameFlexibleTraining(loss="bce_logit")


def test_mutual_refuses_per_rate_with_the_remedy():
    with pytest.raises(ValueError, match="FFN.BACKWARD to 'joint'"):
        FrameFlexibleTraining(distill="mutual", backward="per_rate")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distill": "student"}, "DISTILL='student'.*teacher, mutual, labels"),
        ({"backward": "both"}, "BACKWARD='both'.*per_rate, joint"),
        ({"temperature": 0.0}, "TEMPERATURE=0.0 must be above 0"),
    ],
)
def test_unknown_options_are_refused_with_the_valid_ones(options, message):
    with pytest.raises(ValueError, match=message):
        FrameFlexibleTraining(**options)


# ---------------------------------------------------------------------------- configuration


def test_auto_is_classify_for_a_plain_network_and_ffn_for_a_flexible_one():
    cfg = get_cfg()
    assert isinstance(build_objective(cfg), Classify)
    cfg.FFN.ENABLE = True
    assert isinstance(build_objective(cfg), FrameFlexibleTraining)


def test_the_objective_takes_its_options_from_the_configuration():
    cfg = get_cfg()
    cfg.OBJECTIVE.NAME, cfg.OBJECTIVE.LABEL_SMOOTHING = "ffn", 0.2
    cfg.FFN.LAMBDA, cfg.FFN.TEMPERATURE = 3.0, 4.0
    cfg.FFN.DISTILL, cfg.FFN.BACKWARD = "mutual", "joint"
    objective = build_objective(cfg)
    assert (objective.weight, objective.temperature, objective.smoothing) == (3.0, 4.0, 0.2)
    assert (objective.distill, objective.backward) == ("mutual", "joint")


def test_an_unknown_objective_names_the_registered_ones():
    cfg = get_cfg()
    cfg.OBJECTIVE.NAME = "clasify"
    with pytest.raises(ValueError, match="did you mean 'classify'"):
        build_objective(cfg)
