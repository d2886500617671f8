import copy

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet
from slowfast.models import TSN, X3D, FrameExit, build_model, to_scores
from slowfast.models.exits import Exits, exit_thresholds, first_exit
from slowfast.models.flexible import specialize
from slowfast.models.frame_order import visit_order
from tests.models.test_build import BACKBONES, cfg_of, said

EXITS, CLASSES = 5, 7


def small(backbone: nn.Module | None = None, **options) -> FrameExit:
    """In evaluation mode, with statistics of its clips."""
    torch.manual_seed(0)
    backbone = TSN(18, num_classes=3, width=8) if backbone is None else backbone
    sizes = dict(num_classes=CLASSES, num_exits=EXITS, hidden_dim=16, gate_dims=(8, 4))
    net = FrameExit(backbone, **(sizes | {"fc_init_std": 0.3} | options))
    return with_statistics(net, EXITS * net.clip_length)


def with_statistics(net: FrameExit, num_frames: int) -> FrameExit:
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        for seed in range(4):
            net(clip_of(num_frames, batch=8, seed=10 + seed))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def clip_of(num_frames: int = EXITS, batch: int = 3, size: int = 32, seed: int = 0):
    """Videos of different contrast, so that they differ in what is easy."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(batch, 3, num_frames, size, size, generator=generator)
    return clip * torch.linspace(0.2, 3, batch).view(-1, 1, 1, 1, 1)


@torch.no_grad()
def splitting(net: FrameExit, clip: torch.Tensor) -> tuple[float, list[float]]:
    """Thresholds that about a third of the videos pass at each exit, and none closely."""
    exits = net(clip)
    first = exits.logits[:, 0].softmax(-1).amax(-1)
    limits = []
    for column in [first, *exits.gates.unbind(1)]:
        ranked = column.sort().values
        at = 2 * len(ranked) // 3
        limits.append(((ranked[at] + ranked[at - 1]) / 2).item())
    return limits[0], limits[1:]


def visits(net: FrameExit, num_frames: int) -> tuple[int, ...]:
    return visit_order(num_frames // net.clip_length)[: net.num_exits]


# ---------------------------------------------------------------------------- inference


def test_a_batch_decides_as_its_videos_do_one_by_one():
    net, clip = small(), clip_of(batch=12)
    thresholds = splitting(net, clip)
    together = net.infer(clip, *thresholds)
    alone = [net.infer(video[None], *thresholds) for video in clip]
    assert together.exits.tolist() == [decision.exits.item() for decision in alone]
    assert len(set(together.exits.tolist())) >= 4
    logits = torch.cat([decision.logits for decision in alone])
    torch.testing.assert_close(together.logits, logits, atol=1e-5, rtol=0)


def test_the_order_of_the_videos_does_not_matter():
    net, clip = small(), clip_of(batch=12)
    thresholds, order = splitting(net, clip), torch.randperm(12)
    found, shuffled = net.infer(clip, *thresholds), net.infer(clip[order], *thresholds)
    assert torch.equal(shuffled.exits, found.exits[order])
    torch.testing.assert_close(shuffled.logits, found.logits[order])


def test_inference_takes_the_exits_that_all_logits_and_gates_say():
    net, clip = small(), clip_of(batch=12)
    first, gates = splitting(net, clip)
    exits = net(clip)
    for row, decided in enumerate(net.infer(clip, first, gates).exits.tolist()):
        expected = EXITS - 1
        if exits.logits[row, 0].softmax(-1).max() > first:
            expected = 0
        else:
            for t, (gate, limit) in enumerate(zip(exits.gates[row], gates, strict=True), start=1):
                if gate > limit:
                    expected = t
                    break
        assert decided == expected
    decision = net.decide(exits, first, gates)
    assert torch.equal(decision.exits, net.infer(clip, first, gates).exits)
    torch.testing.assert_close(decision.logits, net.infer(clip, first, gates).logits)


def test_only_frames_that_are_looked_at_are_computed():
    net, clip = small(), clip_of(batch=12)
    seen = []
    net.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    exits = net.infer(clip, *splitting(net, clip)).exits
    seen = seen[1:]  # the first is that of `splitting`
    assert sum(seen) == int((exits + 1).sum()) and seen[0] == 12 and seen == sorted(seen)[::-1]


def test_inference_needs_evaluation_mode():
    with pytest.raises(ValueError, match="call eval"):
        small().train().infer(clip_of())


def test_a_network_that_only_eval_may_change_is_left_as_it_is():
    net, clip = small(), clip_of()
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    with torch.no_grad():
        net(clip)
        net.infer(clip, 0.2, 0.5)
        net.step(clip[:, :, 0])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert modes == [module.training for module in net.modules()]


# ---------------------------------------------------------------------------- thresholds


def test_a_threshold_of_one_never_exits_before_the_last():
    net, clip = small(), clip_of()
    found = net.infer(clip, 1.0, 1.0)
    assert found.exits.tolist() == [EXITS - 1] * 3
    torch.testing.assert_close(found.logits, net(clip).logits[:, -1].detach())


def test_a_threshold_of_zero_exits_at_once():
    net, clip = small(), clip_of()
    assert net.infer(clip, 0.0, 1.0).exits.tolist() == [0, 0, 0]
    assert net.infer(clip, 1.0, 0.0).exits.tolist() == [1, 1, 1]


def test_a_higher_threshold_never_exits_earlier():
    net, clip = small(), clip_of(batch=8)
    exits = net(clip)
    found = [net.decide(exits, level, level).exits for level in (0.0, 0.3, 0.5, 0.7, 1.0)]
    assert all((low <= high).all() for low, high in zip(found, found[1:], strict=False))


def test_each_gate_may_have_a_threshold_of_its_own():
    net, clip = small(), clip_of()
    assert net.infer(clip, 1.0, [1.0, 0.0, 1.0, 1.0]).exits.tolist() == [2, 2, 2]


def test_thresholds_that_are_not_given_are_the_networks():
    net = small(first_threshold=1.0, gate_threshold=0.0)
    assert net.infer(clip_of()).exits.tolist() == [1, 1, 1]


def test_too_few_thresholds_are_refused():
    with pytest.raises(ValueError, match=r"gate=\[0.5\] must hold one threshold for each of 3"):
        exit_thresholds(4, 0.9, [0.5])


def test_an_exit_needs_more_than_its_threshold():
    confidences = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.51, 0.0], [0.6, 0.0, 0.0]])
    assert first_exit(confidences, exit_thresholds(3, 0.5, 0.5)).tolist() == [2, 1, 0]


def test_a_confidence_that_is_no_number_exits_last():
    confidences = torch.full((1, 3), float("nan"))
    assert first_exit(confidences, exit_thresholds(3, 0.5, 0.5)).tolist() == [2]


def test_the_confidence_of_several_labels_is_a_sigmoid():
    net, clip = small(first_confidence="sigmoid"), clip_of()
    sure = net(clip).logits[:, 0].sigmoid().amax(-1)
    assert net.infer(clip, sure.max().item(), 0.0).exits.tolist() == [1, 1, 1]
    assert net.infer(clip, sure.min().item() - 1e-4, 0.0).exits.tolist() == [0, 0, 0]


# ---------------------------------------------------------------------------- streaming


@torch.no_grad()
def test_a_stream_of_frames_says_what_the_whole_clip_says():
    net, clip = small(), clip_of()
    exits, seen = net(clip), None
    for t, frame in enumerate(visits(net, EXITS)):
        step, seen = net.step(clip[:, :, frame], seen)
        torch.testing.assert_close(step.logits, exits.logits[:, t])
        sure = exits.gates[:, t - 1] if t else exits.logits[:, 0].softmax(-1).amax(-1)
        torch.testing.assert_close(step.confidence, sure)
    with pytest.raises(ValueError, match="all 5 exits are passed"):
        net.step(clip[:, :, 0], seen)


@torch.no_grad()
def test_a_stream_of_short_clips_says_what_the_whole_clip_says():
    net, clip = small(clip_length=3), clip_of(3 * EXITS)
    exits, seen = net(clip), None
    for t, part in enumerate(visits(net, 3 * EXITS)):
        step, seen = net.step(clip[:, :, 3 * part : 3 * part + 3], seen)
        torch.testing.assert_close(step.logits, exits.logits[:, t])


def assert_first_step(frames: list[int], **options) -> None:
    """The frames of the first step, of six that show their numbers."""
    net = small(clip_length=3, num_exits=2, **options)
    clip = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(1, 3, 6, 32, 32)
    seen = []
    net.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.infer(clip, 0.0)
    assert seen[0][0, 0, :, 0, 0].tolist() == frames


def test_a_step_takes_neighbours():
    assert visit_order(2) == (0, 1)
    assert_first_step([0, 1, 2])


def test_a_spread_step_sees_all_of_the_video():
    assert_first_step([0, 2, 4], spread=True)


# ---------------------------------------------------------------------------- frames


@torch.no_grad()
def test_a_later_frame_does_not_change_an_earlier_exit():
    net, clip = small(), clip_of()
    before = net(clip)
    for t, frame in enumerate(visits(net, EXITS)):
        changed = clip.clone()
        changed[:, :, frame] = 5 * clip_of(1, seed=1)[:, :, 0]
        after = net(changed)
        assert torch.equal(after.logits[:, :t], before.logits[:, :t])
        assert torch.equal(after.gates[:, : max(t - 1, 0)], before.gates[:, : max(t - 1, 0)])
        assert not torch.allclose(after.logits[:, t], before.logits[:, t])


@torch.no_grad()
def test_the_last_exit_knows_which_frames_there_were_and_not_their_order():
    net, clip = small(), clip_of()
    shuffled = net(clip[:, :, [4, 2, 0, 1, 3]])
    torch.testing.assert_close(shuffled.logits[:, -1], net(clip).logits[:, -1])
    assert not torch.allclose(shuffled.logits[:, 0], net(clip).logits[:, 0])


@torch.no_grad()
def test_a_shorter_clip_has_fewer_exits():
    net = small()
    for num_frames in (1, 2, 4):
        exits = net(clip_of(num_frames))
        assert exits.logits.shape == (3, num_frames, CLASSES)
        assert exits.gates.shape == (3, num_frames - 1)
        found = net.infer(clip_of(num_frames), 1.0, 1.0)
        assert found.exits.tolist() == [num_frames - 1] * 3
        torch.testing.assert_close(found.logits, exits.logits[:, -1])


@torch.no_grad()
def test_of_a_longer_clip_the_first_frames_of_its_order_are_visited():
    net, clip = small(), clip_of(12)
    other = clip.clone()
    left_out = sorted(set(range(12)) - set(visits(net, 12)))
    other[:, :, left_out] = 9.0
    assert len(left_out) == 12 - EXITS
    assert torch.equal(said(net(clip)), said(net(other)))
    assert net.infer(clip, 1.0, 1.0).exits.tolist() == [EXITS - 1] * 3


def test_a_clip_that_is_no_whole_number_of_steps_is_refused():
    with pytest.raises(ValueError, match=r"a clip of 7 frames .* steps of 3.*CLIP_LENGTH"):
        small(clip_length=3)(clip_of(7))


# ---------------------------------------------------------------------------- backbones


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_every_network_of_the_project_can_be_the_backbone(name):
    overrides = ("FRAME_EXIT.BACKBONE", name, "DATA.NUM_FRAMES", 8, "FRAME_EXIT.CLIP_LENGTH", 4)
    depth = ("RESNET.DEPTH", 50) if name == "TEA" else ()
    torch.manual_seed(0)
    net = with_statistics(build_model(cfg_of("FrameExit", *overrides, *depth)), 8)
    clip = clip_of(8, batch=6)
    exits = net(clip)
    assert exits.logits.shape == (6, 2, 5) and exits.logits.isfinite().all()
    first, gates = splitting(net, clip)
    found = net.infer(clip, first, gates)
    expected = net.decide(exits, first, gates)
    assert torch.equal(found.exits, expected.exits)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert 0 < (found.exits == 0).sum() < 6


def test_the_features_of_the_backbone_may_be_pooled_themselves():
    net = small(hidden_dim=0)
    assert net.classifiers[0].in_features == 64  # ResNet-18 of width 8
    assert net(clip_of()).logits.shape == (3, EXITS, CLASSES)


def test_on_larger_crops_a_dense_head_has_the_mean_of_its_positions():
    x3d = X3D(3, width_factor=0.5, depth_factor=0.5, dim_c5=16, head_window=(1, 1))
    net = small(x3d, hidden_dim=0, clip_length=2)
    clip = clip_of(2, size=64)
    assert x3d(clip).shape == (3, 4, 16)
    torch.testing.assert_close(net.features(clip), x3d(clip).mean(1))


def test_a_backbone_that_does_not_name_its_classifier_is_refused():
    with pytest.raises(ValueError, match="ForeignNet cannot be a FRAME_EXIT.BACKBONE"):
        FrameExit(ForeignNet())


def test_a_network_of_exits_is_no_backbone_of_another():
    with pytest.raises(ValueError, match="'FrameExit' has exits already"):
        build_model(cfg_of("FrameExit", "FRAME_EXIT.BACKBONE", "FrameExit"))


# ---------------------------------------------------------------------------- training


TRAINED = {
    "classifiers": {"backbone", "mlp", "classifiers"},
    "gates": {"gates"},
    "joint": {"backbone", "mlp", "classifiers", "gates"},
}


@pytest.mark.parametrize("stage", TRAINED)
def test_a_stage_trains_its_parts_alone(stage):
    net = small(stage=stage)
    net.train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1, 0.9)
    for _ in range(2):
        optimizer.zero_grad()
        said(net(clip_of())).square().sum().backward()
        optimizer.step()
        net.train()
    changed = {n for n, tensor in net.state_dict().items() if not torch.equal(tensor, before[n])}
    assert {name.partition(".")[0] for name in changed} == TRAINED[stage]
    trainable = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert trainable == TRAINED[stage]


def test_gates_do_not_change_what_they_look_at():
    net = small().train()
    net(clip_of()).gate_logits.square().sum().backward()
    learnt = {n.partition(".")[0] for n, p in net.named_parameters() if p.grad is not None}
    assert learnt == {"gates"}


def test_frozen_features_are_in_training_what_they_are_in_testing():
    net = small(stage="gates", dropout=0.5)
    expected = net(clip_of()).logits
    assert torch.equal(net.train()(clip_of()).logits, expected)
    assert not torch.equal(small(dropout=0.5).train()(clip_of()).logits, expected)


def test_mixed_precision_trains():
    net = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        exits = net(clip_of())
    assert exits.gates.dtype == torch.float32
    said(exits).float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="stage='all' must be one of classifiers, gates, joint"):
        small(stage="all")


# ---------------------------------------------------------------------------- around it


def test_the_scores_of_a_network_are_those_of_its_last_exit():
    exits = Exits(torch.tensor([[[0.0, 9.0], [2.0, 0.0]]]), torch.zeros(1, 1))
    torch.testing.assert_close(to_scores(exits), torch.tensor([[2.0, 0.0]]).softmax(-1))


@torch.no_grad()
def test_the_specialised_network_says_the_same_without_norms():
    net, clip = small(), clip_of()
    folded = specialize(net, EXITS)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    torch.testing.assert_close(said(folded(clip)), said(net(clip)), atol=1e-5, rtol=1e-4)
    assert torch.equal(folded.infer(clip, 0.2).exits, net.infer(clip, 0.2).exits)


@torch.no_grad()
def test_a_checkpoint_brings_back_exits_and_gates():
    net, again = small(), small(TSN(18, num_classes=3, width=8))
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    again.load_state_dict(net.state_dict())
    assert torch.equal(said(again(clip_of())), said(net(clip_of())))
