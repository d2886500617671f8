"""Gates and rates through the same eyes: what they say of all exits is what inference does."""

import pytest
import torch

from slowfast.engine.exits.calibrate import ExitTable
from slowfast.engine.exits.networks import Gates, RateExits
from slowfast.models import TSN, FrameExit, FrameFlexible, R2Plus1D
from slowfast.models.exits import NEVER
from slowfast.report import gflops
from slowfast.report.exit_cost import frame_exit_costs

NUM_FRAMES, CROP, CLASSES = 8, 16, 5


def backbone(classes=CLASSES):
    return R2Plus1D(classes, (4,), (1,), dropout=0.0)


def spread(net):
    """`net` in evaluation mode with statistics and predictions that differ between videos."""
    with torch.no_grad():
        for name, module in net.named_modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=1 if "gates" in name else 2)
    return net.eval()


@pytest.fixture
def gates():
    torch.manual_seed(0)
    net = FrameExit(backbone(), CLASSES, 4, clip_length=2, hidden_dim=6, gate_dims=(5, 4))
    return Gates(spread(net), NUM_FRAMES, CROP)


@pytest.fixture
def rates():
    torch.manual_seed(0)
    counts = (2, 4, NUM_FRAMES)
    return RateExits(spread(FrameFlexible(backbone(), counts)), counts, CROP)


@pytest.fixture(params=["gates", "rates"])
def network(request):
    return request.getfixturevalue(request.param)


def clips_of(network, videos=12):
    counts = network.frames if isinstance(network, RateExits) else (NUM_FRAMES,)
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(videos, 3, t, CROP, CROP, generator=generator) for t in counts]


def thresholds_of(network, clips):
    """Between the middle two of those who come to an exit, so that all are taken."""
    _, sure = network.look(clips)
    here, found = torch.ones(len(sure), dtype=torch.bool), []
    for exit in range(sure.shape[1] - 1):
        values = sure[here, exit].sort().values
        found.append(values[len(values) // 2 - 1 :][:2].mean().item())
        here &= sure[:, exit] <= found[-1]
    return found


def test_exits_and_scores_of_all_at_once_are_those_of_inference(network):
    clips = clips_of(network)
    thresholds = thresholds_of(network, clips)
    scores, sure = network.look(clips)
    table = ExitTable(scores, sure, torch.zeros(12, dtype=torch.int64), network.costs)
    found = network.infer(clips, thresholds)
    exits = table.exits(thresholds)
    assert found.exits.tolist() == exits.tolist() and len(set(exits.tolist())) > 2
    torch.testing.assert_close(found.logits.softmax(1), table.taken(exits))


def test_one_by_one_is_the_batch(network):
    clips = clips_of(network)
    thresholds = thresholds_of(network, clips)
    batch = network.infer(clips, thresholds)
    for i in range(12):
        alone = network.infer([clip[i : i + 1] for clip in clips], thresholds)
        assert alone.exits.item() == batch.exits[i]
        torch.testing.assert_close(alone.logits[0], batch.logits[i], atol=1e-5, rtol=0)


def test_each_exit_costs_what_runs_for_it(network):
    """Counted again from the operators of conditional inference itself, video by video."""
    clips = clips_of(network)
    for thresholds in (thresholds_of(network, clips), [NEVER] * (len(network.frames) - 1)):
        exits = network.infer(clips, thresholds).exits
        costs = network.costs.of_exits(thresholds)
        for i, exit in enumerate(exits.tolist()):
            alone = [clip[i : i + 1] for clip in clips]
            counted = counted_gflops(lambda a=alone, t=thresholds: network.infer(a, t))
            assert counted == pytest.approx(costs[exit], rel=1e-9)


def counted_gflops(run):
    with (counter := torch.utils.flop_counter.FlopCounterMode(display=False)):
        run()
    return counter.get_total_flops() / 2e9


def test_a_rate_costs_its_network_and_those_before(rates):
    shapes = [(1, 3, t, CROP, CROP) for t in rates.frames]
    each = [gflops(rates.model, shape) for shape in shapes]
    assert rates.costs.of_exits([0.5, 0.5]) == pytest.approx([sum(each[: i + 1]) for i in range(3)])
    assert rates.costs.of_exits([NEVER, NEVER])[2] == pytest.approx(each[2])
    assert rates.published.most == pytest.approx(each[2])


def test_papers_count_the_backbone_of_each_step_and_nothing_else(gates):
    # The network was changed by FrameExit, which took its classifier.
    step = gflops(backbone(1), (1, 3, 2, CROP, CROP)) - 4e-9
    expected = [step * (t + 1) for t in range(4)]
    assert gates.published.of_exits([0.5] * 3) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "frames"), [("gates", (2, 4, 6, 8)), ("rates", (2, 4, 8))])
def test_frames_are_those_shown_until_an_exit(request, name, frames):
    assert request.getfixturevalue(name).frames == frames


def test_a_fixed_count_costs_that_many_steps_and_a_classifier(gates):
    step, classifier = gates.costs.step[0], 6 * CLASSES / 1e9
    found = [gates.fixed_gflops(t) for t in (2, 4, 8)]
    assert found == pytest.approx([n * step + classifier for n in (1, 2, 4)])


def test_a_gate_that_nothing_passes_does_not_run(gates):
    calls = []
    for gate in gates.net.gates:
        gate.register_forward_hook(lambda module, *_: calls.append(module))
    gates.infer(clips_of(gates), [NEVER, NEVER, 0.0])
    # Thresholds of exits 0, 1 and 2; the gate of exit 2 is the second.
    assert calls == [gates.net.gates[1]]


def test_the_published_network_costs_what_its_layers_multiply():
    with torch.device("meta"):
        net = FrameExit(TSN(50, num_classes=1000), num_classes=200).eval()
    published, true = frame_exit_costs(net, 224, 10)
    assert published.step == pytest.approx((4.087,) * 10, abs=1e-3)
    mlp, classifier = 2048 * 4096 / 1e9, 4096 * 200 / 1e9
    gate = (2 * (4096 * 128 + 128 * 64) + 128) / 1e9
    assert true.step[0] - published.step[0] == pytest.approx(mlp)
    assert true.ask == pytest.approx((classifier, *[gate] * 9))
    # Exit 3 by the confidence of the first classifier and three gates.
    assert true.of_exits([0.95] + [0.5] * 8)[3] == pytest.approx(
        4 * true.step[0] + 2 * classifier + 3 * gate
    )
