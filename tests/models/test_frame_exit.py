"""Which exit FrameExit takes, and which frames it looks at."""

import copy

import pytest
import torch

from helpers.frame_exits import CLASSES, EXITS, clip_of, small, splitting, visits
from slowfast.models.exits import exit_thresholds, first_exit
from slowfast.models.frame_order import visit_order
from tests.models.test_build import said

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
