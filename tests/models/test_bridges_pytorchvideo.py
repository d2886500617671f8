"""Networks of pytorchvideo; most of this needs it installed: `make oracles`."""

import pytest
import torch

from helpers.bridges import cfg_of, clip_of, net_of
from helpers.oracles import oracle
from slowfast.models import build_model
from slowfast.models.bridges import PTVMViT, PTVResNet, PTVSlowFast
from slowfast.models.bridges.positions import separate_positions
from slowfast.models.slowfast import slow_indices


@torch.no_grad()
@pytest.mark.parametrize("case", ["PTVMViT", "PTVMViT-split", "PTVMViT-mean"])
def test_at_the_size_it_was_built_for_mvit_is_pytorchvideos(case):
    net, clip = net_of(case).eval(), clip_of(8)
    torch.testing.assert_close(net(clip), net.model(clip))


@torch.no_grad()
def test_slowfast_picks_the_slow_frames_itself():
    net, clip = net_of("PTVSlowFast").eval(), clip_of(8)
    slow = clip[:, :, slow_indices(8, 4)]
    assert torch.equal(net(clip), net.model([slow, clip]).flatten(1))


@torch.no_grad()
def test_a_builders_own_head_gives_the_same_logits():
    """Its pooling is made for one clip length and crop; only the norms start otherwise."""
    net = net_of("PTVResNet-slow", "MODEL.ARCH", "slow").eval()
    resnet = oracle("pytorchvideo.models.resnet")
    options = PTVResNet.options(cfg_of("PTVResNet"))
    options.pop("head_window")
    own = resnet.create_resnet(**options, head_pool_kernel_size=(8, 1, 1)).eval()
    own.load_state_dict({k.removeprefix("model."): v for k, v in net.state_dict().items()})
    clip = clip_of(8, size=64)
    torch.testing.assert_close(net(clip).mean(1), own(clip))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("PTVResNet", ("RESNET.STRIDE_1X1", True), "RESNET.STRIDE_1X1=True, but pytorchvideo's"),
        ("PTVSlowFast", ("RESNET.TRANS_FUNC", "basic_transform"), "RESNET.TRANS_FUNC='basic_"),
        ("PTVSlowFast", ("RESNET.DEPTH", 18), "RESNET.DEPTH=18; PTVSlowFast has 50 and 101"),
        ("PTVResNet", ("NONLOCAL.LOCATION", [[[]], [[1]], [[]], [[]]]), "no non-local blocks"),
        ("PTVX3D", ("X3D.SCALE_RES2", True), "X3D.SCALE_RES2=True"),
        ("PTVMViT", ("MVIT.REL_POS_SPATIAL", True), "MVIT.REL_POS_SPATIAL=True"),
    ],
)
def test_what_a_builder_cannot_make_is_refused_before_anything_is_imported(
    name, overrides, message
):
    with pytest.raises(ValueError, match=message):
        build_model(cfg_of(name, *overrides))


@pytest.mark.parametrize("bridge", [PTVMViT, PTVSlowFast])
def test_builders_may_be_called_with_their_own_arguments(bridge):
    oracle("pytorchvideo")
    small = {
        PTVMViT: {"spatial_size": 32, "temporal_size": 4, "depth": 1, "head_num_classes": 3},
        PTVSlowFast: {"model_num_class": 3, "stem_dim_outs": (8, 1)},
    }[bridge]
    assert bridge(**small)(clip_of(4)).shape == (2, 3)


def test_separate_positions_are_those_of_each_place_and_frame():
    space, time = torch.randn(1, 6, 4), torch.randn(1, 3, 4)
    table = separate_positions(space, time, (3, 2, 3), (3, 2, 3)).reshape(3, 2, 3, 4)
    for t in range(3):
        for place in range(6):
            expected = space[0, place] + time[0, t]
            torch.testing.assert_close(table[t, place // 3, place % 3], expected)
