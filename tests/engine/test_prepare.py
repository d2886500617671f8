import copy
import logging

import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet, clip_of, perturb
from slowfast.config import get_cfg
from slowfast.config.validate import check
from slowfast.engine.prepare import classifier, prepare_training, set_training
from slowfast.engine.processes.world import World
from slowfast.layers.norms import SubBatchNorm, SyncBatchNorm
from slowfast.models import TSM, X3D, FrameFlexible, MViT, R2Plus1D, SlowFast, UniFormer

COUNTS = (2, 4)


def cfg_of(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.NUM_CLASSES", 5, *overrides])
    return cfg


def prepared(*overrides) -> tuple[FrameFlexible, object]:
    cfg = cfg_of(*overrides)
    model = perturb(FrameFlexible(ForeignNet(dropout=0.5), COUNTS))
    prepare_training(model, cfg, World())
    return model, cfg


def step(model: nn.Module) -> None:
    sum(logits.square().sum() for logits in model([clip_of(t, 4) for t in COUNTS])).backward()


# ---------------------------------------------------------------------------- norms


@pytest.mark.parametrize(
    ("kind", "expected", "said"),
    [
        ("batchnorm", nn.BatchNorm3d, ""),
        ("sub_batchnorm", SubBatchNorm, "each of 2 parts of a process's batch"),
        ("sync_batchnorm", SyncBatchNorm, "the batch of 1 of 1 processes"),
    ],
)
def test_norms_are_of_the_wanted_kind_and_it_is_said(kind, expected, said, caplog):
    caplog.set_level(logging.INFO)
    model, _ = prepared("BN.NORM_TYPE", kind, "BN.NUM_SPLITS", 2)
    assert all(type(copy) is expected for copy in model.net.bn.copies.values())
    assert said in caplog.text


@pytest.mark.parametrize("key", ["MODEL.FROZEN_BN", "MODEL.DETACH_FINAL_FC"])
def test_statistics_are_not_both_kept_and_estimated(key):
    with pytest.raises(ValueError, match=f"the statistics that {key} keeps; set one"):
        check(cfg_of(key, True, "BN.USE_PRECISE_STATS", True), "here")


def test_frozen_norms_keep_their_statistics_and_train_their_weights():
    model, cfg = prepared("MODEL.FROZEN_BN", True)
    before = copy.deepcopy(dict(model.named_buffers()))
    for _ in range(2):  # a second epoch, after a validation
        set_training(model, cfg)
        assert model.net.drop.training and not model.net.bn.copies["4"].training
        step(model)
        model.eval()
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)
    assert all(p.grad is not None and p.grad.any() for p in model.net.bn.parameters())


def test_frozen_norms_compute_as_in_evaluation():
    model, cfg = prepared("MODEL.FROZEN_BN", True, "BN.NORM_TYPE", "sub_batchnorm")
    model.net.drop.p = 0.0
    clips = [clip_of(t, 4) for t in COUNTS]
    expected = model.eval()(clips)
    set_training(model, cfg)
    torch.testing.assert_close(model(clips), expected)


def test_otherwise_everything_trains():
    model, cfg = prepared()
    set_training(model.eval(), cfg)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


# ---------------------------------------------------------------------------- linear probe


def test_a_linear_probe_trains_the_classifier_alone(caplog):
    caplog.set_level(logging.INFO)
    model, cfg = prepared("MODEL.DETACH_FINAL_FC", True)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        set_training(model, cfg)
        step(model)
        optimizer.step()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"fc.weight", "fc.bias"}
    assert "the classifier alone is trained, 45 parameters" in caplog.text  # 5 classes of 8 + 1


def test_a_linear_probe_learns_on_the_features_of_testing():
    model, cfg = prepared("MODEL.DETACH_FINAL_FC", True)
    clip = clip_of(4)
    expected = model.eval()(clip)
    set_training(model, cfg)
    assert torch.equal(model(clip), expected)


def test_the_classifier_of_every_network_is_what_computes_its_logits():
    nets = [
        MViT(num_classes=7, depth=1, dim=16, num_frames=2, crop_size=8),
        R2Plus1D(num_classes=7, widths=(4,), blocks=(1,)),
        SlowFast(num_classes=7, depth=18, width=8),
        TSM(num_classes=7, depth=18, width=8),
        UniFormer(num_classes=7, depth=(1, 1, 1, 1), dims=(8, 8, 8, 8), head_dim=4),
        X3D(num_classes=7, width_factor=1, depth_factor=1),
    ]
    for net in nets:
        name = type(net).__name__
        found = classifier(net, 7)
        clip = torch.randn(2, 3, 4, 32, 32)
        outputs = []
        found.register_forward_hook(
            lambda _layer, _inputs, output, seen=outputs: seen.append(output)
        )
        logits = net.eval()(clip)
        assert torch.allclose(outputs[-1].reshape(2, -1, 7).mean(1), logits, atol=1e-6), name


def test_a_network_without_an_output_per_class_has_no_classifier():
    with pytest.raises(ValueError, match=r"MODEL.NUM_CLASSES=9 .* are fc with 5 outputs, block"):
        classifier(ForeignNet(), 9)
    with pytest.raises(ValueError, match="its last layers are without weights"):
        classifier(nn.ReLU(), 9)
