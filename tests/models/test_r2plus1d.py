import pytest
import torch

from slowfast.models import FrameFlexible, R2Plus1D


def test_no_layer_mixes_places_and_times_at_once():
    net = R2Plus1D(5, widths=(4, 8), blocks=(1, 2))
    kernels = {m.kernel_size for m in net.modules() if isinstance(m, torch.nn.Conv3d)}
    assert kernels == {(1, 3, 3), (3, 1, 1), (1, 1, 1)}


def test_no_layer_shortens_the_clip():
    net = R2Plus1D(5, widths=(4, 8), blocks=(1, 1))
    assert net.stages(net.stem(torch.randn(1, 3, 7, 32, 32))).shape == (1, 8, 7, 4, 4)


def test_each_stage_has_its_width_and_number_of_blocks():
    net = R2Plus1D(5, widths=(4, 8), blocks=(1, 2))
    assert [block.bn2.num_features for block in net.stages] == [4, 8, 8]


def test_widths_and_blocks_of_different_length_are_refused():
    with pytest.raises(ValueError, match="must name the same stages"):
        R2Plus1D(5, widths=(4, 8), blocks=(1,))


@torch.no_grad()
def test_gains_act_before_the_branch_and_not_on_the_shortcut():
    model = FrameFlexible(R2Plus1D(5, widths=(4,), blocks=(2,)), (2, 4)).eval()
    block, x = model.net.stages[1], torch.rand(1, 4, 2, 3, 3)
    for copy in block.bn2.copies.values():
        copy.weight.zero_()  # the branch gives nothing
    block.adaconv.copies["4"].weight.fill_(3.0)
    torch.testing.assert_close(block(x), x)
