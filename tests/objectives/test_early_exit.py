import copy
from math import exp, log

import pytest
import torch
from torch import nn

from slowfast.config import get_cfg, load_cfg
from slowfast.datasets.batch import Batch
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.step import Stepper
from slowfast.models import TSN, Exits, FrameExit
from slowfast.objectives import (
    LABEL_LOSSES,
    Classify,
    EarlyExit,
    binary_cross_entropy,
    build_objective,
    cross_entropy,
    soft_cross_entropy,
)

EXITS, CLASSES = 4, 5
# exp(t / 2) / 10,000 after t = 2, 3, ... frames, as FrameExit's authors have it for ActivityNet.
PUBLISHED_BOUNDS = (2.72e-4, 4.48e-4, 7.39e-4, 1.22e-3, 2.01e-3, 3.31e-3, 5.46e-3, 9.00e-3, 1.48e-2)


def small(**options) -> FrameExit:
    torch.manual_seed(0)
    backbone = TSN(18, num_classes=3, width=8, dropout=0.0)
    net = FrameExit(backbone, CLASSES, EXITS, hidden_dim=16, gate_dims=(8, 4), **options)
    return net.train()


def batch_of(*counts: int, labels: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clips = tuple(torch.randn(3, 3, t, 32, 32, generator=generator) for t in counts)
    labels = torch.tensor([1, 4, 0]) if labels is None else labels
    return Batch(clips, labels, torch.arange(3))


class Says(nn.Module):
    """A network that says the same whatever it sees."""

    def __init__(self, logits: torch.Tensor, gate_logits: torch.Tensor):
        super().__init__()
        self.exits = Exits(logits.requires_grad_(), gate_logits.requires_grad_())

    def forward(self, clip):
        return self.exits


def says(exits: int = EXITS) -> Says:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, exits, CLASSES, generator=generator, dtype=torch.double)
    gates = torch.randn(3, exits - 1, generator=generator, dtype=torch.double)
    return Says(logits, gates)


def the_term(objective, model, batch):
    (term,) = objective(model, batch)
    assert objective.num_terms(batch) == 1
    return term


# ---------------------------------------------------------------------------- classifiers


@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_the_loss_of_the_classifiers_is_the_mean_over_exits(loss):
    model, labels = says(), torch.tensor([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0.0]])
    if loss == "cross_entropy":
        labels = torch.tensor([1, 4, 0])
    batch = batch_of(EXITS, labels=labels.double() if labels.ndim == 2 else labels)
    term = the_term(EarlyExit(stage="classifiers", smoothing=0.1, loss=loss), model, batch)
    function = {
        "cross_entropy": cross_entropy,
        "soft_cross_entropy": soft_cross_entropy,
        "bce_logit": binary_cross_entropy,
    }[loss]
    each = [function(model.exits.logits[:, t], batch.labels, 0.1) for t in range(EXITS)]
    torch.testing.assert_close(term.loss, sum(each) / EXITS)
    assert term.parts == {f"{'bce' if loss == 'bce_logit' else 'ce'}_{EXITS}": term.loss}


def test_the_prediction_of_a_step_is_that_of_the_last_exit():
    model = says()
    term = the_term(EarlyExit(), model, batch_of(EXITS))
    assert list(term.logits) == [EXITS] and not term.logits[EXITS].requires_grad
    assert torch.equal(term.logits[EXITS], model.exits.logits[:, -1])


@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_a_loss_of_each_video_has_the_mean_of_all(loss):
    function, _ = LABEL_LOSSES[loss]
    logits, labels = torch.randn(4, 5), torch.eye(5)[[0, 3, 3, 1]]
    each = function(logits, labels, 0.1, reduction="none")
    assert each.shape == (4,)
    torch.testing.assert_close(each.mean(), function(logits, labels, 0.1))


# ---------------------------------------------------------------------------- gates


def exits_of_losses(losses: list[float]) -> torch.Tensor:
    """Logits `(1, T, 2)` whose cross-entropies with class 0 are `losses`."""
    p = torch.tensor([exp(-loss) for loss in losses], dtype=torch.double)
    return torch.stack([p.log(), (1 - p).log()], dim=1)[None]


@pytest.mark.parametrize("side", [0.99, 1.01])
def test_a_gate_should_exit_where_the_loss_is_below_the_published_bounds(side):
    logits = exits_of_losses([1.0, *(side * bound for bound in PUBLISHED_BOUNDS)])
    wanted = EarlyExit(beta=1e-4).gate_labels(logits, torch.tensor([0]))
    assert wanted.tolist() == [[float(side < 1)] * 9]


def test_gates_have_the_loss_of_the_exit_that_they_open():
    logits = exits_of_losses([0.0, 0.0, 9.0, 0.0])
    assert EarlyExit(beta=1.0).gate_labels(logits, torch.tensor([0])).tolist() == [[1, 0, 1]]


def test_a_larger_beta_wants_no_exit_less():
    logits, labels = says().exits.logits, torch.tensor([1, 4, 0])
    found = [EarlyExit(beta=beta).gate_labels(logits, labels) for beta in (0, 0.1, 0.3, 1.0, 9.0)]
    assert all((less <= more).all() for less, more in zip(found, found[1:], strict=False))
    assert not found[0].any() and found[-1].all()


def test_labels_of_gates_know_no_smoothing():
    logits, labels = exits_of_losses([1e-6] * 3), torch.tensor([0])
    assert EarlyExit(beta=1e-3, smoothing=0.1).gate_labels(logits, labels).all()


def test_several_labels_of_a_video_make_one_loss_for_its_gates():
    logits = torch.tensor([[[9.0, 9.0], [9.0, -1.0], [9.0, 9.0]]])
    found = EarlyExit(beta=0.01, loss="bce_logit").gate_labels(logits, torch.ones(1, 2))
    assert found.tolist() == [[0, 1]]  # 0.66 and 0.0001; bounds 0.027 and 0.045


def test_the_loss_of_the_gates_is_their_binary_cross_entropy():
    model, batch = says(), batch_of(EXITS)
    objective = EarlyExit(beta=0.3, stage="gates")
    term = the_term(objective, model, batch)
    wanted = objective.gate_labels(model.exits.logits, batch.labels)
    assert 0 < wanted.sum() < wanted.numel()
    total = 0.0
    for gate, label in zip(model.exits.gate_logits.flatten(), wanted.flatten(), strict=True):
        p = 1 / (1 + exp(-gate.item()))
        total -= log(p if label else 1 - p)
    assert term.loss.item() == pytest.approx(total / wanted.numel())
    assert term.parts.keys() == {"gate_4", "gate_labels_4"}
    assert term.parts["gate_labels_4"] == wanted.mean()


def test_joint_is_the_sum_of_both():
    model, batch = says(), batch_of(EXITS)
    terms = {
        s: the_term(EarlyExit(0.3, s), model, batch) for s in ("classifiers", "gates", "joint")
    }
    expected = terms["classifiers"].loss + terms["gates"].loss
    torch.testing.assert_close(terms["joint"].loss, expected)
    assert terms["joint"].parts == terms["classifiers"].parts | terms["gates"].parts


def test_the_labels_of_gates_teach_no_classifier():
    model = says()
    the_term(EarlyExit(0.3, "gates"), model, batch_of(EXITS)).loss.backward()
    assert model.exits.logits.grad is None and model.exits.gate_logits.grad.abs().min() > 0


def test_a_network_of_one_exit_has_no_gates_to_train():
    term = the_term(EarlyExit(0.3, "joint"), says(1), batch_of(1))
    assert term.loss.isfinite() and term.parts["gate_1"] == 0


def test_gates_in_half_precision_are_judged_in_single():
    model, batch = says(), batch_of(EXITS)
    model.exits = Exits(*(part.detach().bfloat16() for part in model.exits))
    assert the_term(EarlyExit(0.3), model, batch).loss.dtype == torch.float32


# ---------------------------------------------------------------------------- a network


def gradients(model: nn.Module, stage: str, batch: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    the_term(EarlyExit(0.5, stage), model, batch).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_joint_training_gives_features_and_gates_the_gradients_of_their_own_stages():
    model, batch = small(), batch_of(EXITS)
    joint = gradients(model, "joint", batch)
    features, gates = gradients(model, "classifiers", batch), gradients(model, "gates", batch)
    assert joint.keys() == features.keys() | gates.keys()
    assert not features.keys() & gates.keys()
    for name, gradient in (features | gates).items():
        torch.testing.assert_close(joint[name], gradient, msg=name)


def test_the_stage_of_the_gates_changes_nothing_else():
    cfg = get_cfg()
    cfg.FRAME_EXIT.STAGE, cfg.FRAME_EXIT.BETA, cfg.MODEL.MODEL_NAME = "gates", 0.5, "FrameExit"
    model = small(stage="gates")
    before = copy.deepcopy(model.state_dict())
    device = torch.device("cpu")
    step = Stepper(model, build_objective(cfg), build_optimizer(model, cfg), device)
    for _ in range(2):
        model.train()
        assert step(batch_of(EXITS))["loss"] > 0
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert {name.partition(".")[0] for name in changed} == {"gates"}
    assert any("running_mean" in name for name in changed)


def test_gates_learn_what_they_are_told():
    model = small(stage="gates")
    optimizer = torch.optim.Adam(model.gates.parameters(), 0.02)
    objective, batch = EarlyExit(0.45, "gates"), batch_of(EXITS)
    for _ in range(60):
        loss = the_term(objective, model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exits = model(batch.clips[0])
    wanted = objective.gate_labels(exits.logits, batch.labels)
    assert 0 < wanted.sum() < wanted.numel()
    assert torch.equal(exits.gates > 0.5, wanted.bool())


@pytest.mark.parametrize("stage", ["classifiers", "gates", "joint"])
def test_gradients_under_distributed_data_parallel_are_the_same(stage, tmp_path):
    model, batch = small(stage=stage), batch_of(EXITS)
    expected = gradients(model, stage, batch)
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        actual = gradients(nn.parallel.DistributedDataParallel(model), stage, batch)
    finally:
        torch.distributed.destroy_process_group()
    actual = {name.removeprefix("module."): gradient for name, gradient in actual.items()}
    torch.testing.assert_close(actual, expected)


def test_classify_trains_the_last_exit():
    model = says()
    (term,) = Classify()(model, batch_of(EXITS))
    expected = cross_entropy(model.exits.logits[:, -1], batch_of(EXITS).labels)
    torch.testing.assert_close(term.loss, expected)


# ---------------------------------------------------------------------------- configuration


def test_auto_is_early_exit_for_a_network_with_exits():
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME, cfg.MODEL.LOSS_FUNC = "FrameExit", "bce_logit"
    cfg.FRAME_EXIT.BETA, cfg.FRAME_EXIT.STAGE = 1e-3, "gates"
    cfg.OBJECTIVE.LABEL_SMOOTHING = 0.2
    objective = build_objective(cfg)
    assert isinstance(objective, EarlyExit)
    assert (objective.beta, objective.stage, objective.smoothing) == (1e-3, "gates", 0.2)
    assert objective.loss is binary_cross_entropy


def test_several_clips_per_video_are_refused():
    with pytest.raises(ValueError, match="one clip per video; got 2.*FFN.ENABLE False"):
        the_term(EarlyExit(), says(), batch_of(2, 4))


def test_a_network_without_exits_is_refused():
    with pytest.raises(ValueError, match="needs a network with exits.*FrameExit"):
        the_term(EarlyExit(), TSN(18, CLASSES, width=8), batch_of(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stage": "all"}, "STAGE='all' must be one of"), ({"beta": -1.0}, "BETA=-1.0 must be 0")],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyExit(**options)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("FRAME_EXIT.STAGE", "gate"), "did you mean 'gates'"),
        (("FRAME_EXIT.BETA", -1), "FRAME_EXIT.BETA = -1.0 must be 0 or more"),
        (("FRAME_EXIT.GATE_THRESHOLD", 2), "FRAME_EXIT.GATE_THRESHOLD = 2.0 must be 0 to 1"),
        (("FRAME_EXIT.GATE_DIMS", [8]), r"FRAME_EXIT.GATE_DIMS = \[8\] must hold two widths"),
        (("FRAME_EXIT.CLIP_LENGTH", 3), "CLIP_LENGTH = 3 must divide DATA.NUM_FRAMES = 8"),
        (("FFN.ENABLE", True), "no frame-flexible form"),
        (("FRAME_EXIT.STAGE", "gates", "BN.USE_PRECISE_STATS", True), "BN.USE_PRECISE_STATS would"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(overrides, message, tmp_path):
    (tmp_path / "a.yaml").write_text("MODEL: {MODEL_NAME: FrameExit}\n")
    with pytest.raises(ValueError, match=message):
        load_cfg(tmp_path / "a.yaml", list(overrides))
