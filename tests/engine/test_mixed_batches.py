"""Mixup, CutMix and label smoothing: the same training for any number of processes and parts."""

import pytest
import torch

from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.mixing import build_mixing
from slowfast.engine.optimization.step import Stepper
from slowfast.engine.processes.parallel import parallel, unwrap
from slowfast.engine.processes.world import World
from slowfast.models import build_model
from slowfast.objectives import build_objective

MIXED = (
    *("MIXUP.ENABLE", True, "MIXUP.LABEL_SMOOTH_VALUE", 0.1, "AUG.NUM_SAMPLE", 2),
    *("MODEL.LOSS_FUNC", "soft_cross_entropy"),
)
SMOOTHED = ("OBJECTIVE.LABEL_SMOOTHING", 0.1)
STEPS = 3  # some mixed by mixup, some by CutMix


def mixed_batches(cfg, rank=0, world=1):
    mixing = build_mixing(cfg)
    batches = list(build_loader(cfg, "train", rank, world))[:STEPS]
    return [mixing(batch, 0, step) if mixing else batch for step, batch in enumerate(batches)]


def gradients(world, cfg, micro_batches):
    """The gradient and loss of each of the first batches, norms as in evaluation."""
    torch.manual_seed(cfg.RNG_SEED)
    net = parallel(build_model(cfg).double(), world).eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    device = torch.device("cpu")
    step = Stepper(
        net, build_objective(cfg), optimizer, device, world=world, micro_batches=micro_batches
    )
    found = []
    for batch in mixed_batches(cfg, world.rank, world.size):
        clips = tuple(clip.double() for clip in batch.clips)
        batch = type(batch)(clips, batch.labels, batch.index, paths=batch.paths)
        record = step.mean_record(step(batch), len(batch))
        grads = [p.grad.flatten().clone() for p in unwrap(net).parameters() if p.grad is not None]
        found.append((torch.cat(grads), float(record["loss"])))
    return found


def test_processes_mix_the_videos_that_one_process_would(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, *MIXED)
    alone = mixed_batches(cfg)
    shares = [mixed_batches(cfg, rank, 2) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shares, strict=True):
        # copies of a video are neighbours: their order is that of the batch
        order = torch.cat([part.index for part in parts]).argsort(stable=True)
        expected = whole.index.argsort(stable=True)
        assert torch.equal(torch.cat([p.labels for p in parts])[order], whole.labels[expected])
        for rate, clip in enumerate(whole.clips):
            ours = torch.cat([part.clips[rate] for part in parts])
            assert torch.equal(ours[order], clip[expected])


@pytest.mark.parametrize("overrides", [MIXED, SMOOTHED], ids=["mixed", "smoothed"])
@pytest.mark.parametrize("backward", ["per_rate", "joint"])
def test_soft_labels_have_one_gradient_for_any_processes_and_parts(
    motion, tmp_path, overrides, backward
):
    cfg = tiny_cfg(motion, tmp_path, *overrides, "FFN.BACKWARD", backward)
    expected = gradients(World(), cfg, 1)
    in_parts = gradients(World(), cfg, 4)
    both = run_processes(gradients, 2, cfg, 2)
    for others in (in_parts, *both):
        for (grad, loss), (wanted, wanted_loss) in zip(others, expected, strict=True):
            torch.testing.assert_close(grad, wanted, rtol=1e-6, atol=1e-8)
            assert loss == pytest.approx(wanted_loss, rel=1e-6)
