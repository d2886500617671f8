"""Position tables of MViT in networks for other clips than they were trained on."""

from functools import partial

import pytest
import torch

from helpers.foreign_net import perturb
from slowfast.models import FrameFlexible, MViT
from slowfast.weights import load_weights

SMALL = dict(
    num_classes=5,
    depth=3,
    dim=16,
    pool_kernel=(3, 3, 3),
    pool_q_stride=[[1, 1, 2, 2]],
    pool_kv_stride_adaptive=[1, 4, 4],
    dim_mul=[[1, 2]],
    head_mul=[[1, 2]],
    head_dropout=0.0,
    drop_path=0.0,
)
TRAINED = dict(num_frames=8, crop_size=64)
NETS = {
    "v1": partial(MViT, **SMALL, sep_pos_embed=True),
    "v2": partial(
        MViT,
        **SMALL,
        use_abs_pos=False,
        rel_pos_spatial=True,
        rel_pos_temporal=True,
        residual_pooling=True,
        dim_mul_in_att=True,
    ),
    "joint positions": partial(MViT, **SMALL),
    "joint positions, no class token": partial(MViT, **SMALL, class_token=False),
    "fixed positions": partial(MViT, **SMALL, fixed_sincos_pos=True),
}
OTHER = {
    "longer": dict(num_frames=16, crop_size=64),
    "larger": dict(num_frames=8, crop_size=96),
    "both": dict(num_frames=12, crop_size=96),
    "smaller": dict(num_frames=4, crop_size=32),
}
# A joint table says how many positions there are, not of how many frames.
AMBIGUOUS = {("joint", "both"), ("fixed", "both"), ("joint", "smaller"), ("fixed", "smaller")}
CASES = [(n, o) for n in NETS for o in OTHER if (n.split()[0], o) not in AMBIGUOUS]


@pytest.mark.parametrize(("name", "other"), CASES)
@torch.no_grad()
def test_a_network_for_other_clips_computes_what_the_trained_one_does_on_them(name, other):
    net = perturb(NETS[name](**TRAINED), 0.1).eval()
    target = NETS[name](**OTHER[other]).eval()
    report = load_weights(target, {"model_state": net.state_dict()})
    assert report.resized and not report.missing
    assert all("pos" in table for table in report.resized)
    t, size = OTHER[other]["num_frames"], OTHER[other]["crop_size"]
    clip = torch.randn(2, 3, t, size, size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(target(clip), net(clip), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_tables_that_fit_are_loaded_as_they_are(name):
    net, target = perturb(NETS[name](**TRAINED)), NETS[name](**TRAINED)
    report = load_weights(target, net.state_dict())
    assert not report.resized
    assert all(torch.equal(t, net.state_dict()[n]) for n, t in target.state_dict().items())


def test_the_report_names_each_table_with_both_shapes():
    target = NETS["v1"](**OTHER["larger"])
    report = load_weights(target, NETS["v1"](**TRAINED).state_dict())
    assert report.resized == {"pos_embed_spatial": ((1, 256, 16), (1, 576, 16))}
    assert "1 resized" in report.table()
    assert "pos_embed_spatial  ((1, 256, 16), (1, 576, 16))" in report.table(full=True)


def test_a_plain_checkpoint_of_another_size_fills_a_frame_flexible_network():
    net = perturb(NETS["v2"](**TRAINED))
    target = FrameFlexible(NETS["v2"](**OTHER["larger"]), (4, 8))
    report = load_weights(target, net.state_dict())
    assert report.resized and all("adaconv" in name for name in report.missing)


def test_tables_of_another_width_are_refused():
    wider = dict(SMALL, dim=32)
    with pytest.raises(ValueError, match="(?s)pos_embed_spatial.*widths and depths"):
        load_weights(MViT(**wider, sep_pos_embed=True), NETS["v1"](**TRAINED).state_dict())


def test_a_joint_table_of_neither_the_same_length_nor_size_is_refused():
    target = NETS["joint positions"](**OTHER["both"])
    with pytest.raises(ValueError, match="pos_embed"):
        load_weights(target, NETS["joint positions"](**TRAINED).state_dict())
