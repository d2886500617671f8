"""Networks of every family of checkpoints, small, and what a loaded one has to be."""

from functools import partial

import torch
from torch import nn

from helpers.foreign_net import clip_of, perturb
from slowfast.models import TSM, TSN, X3D, FrameExit, ResNet, SlowFast, UniFormer
from slowfast.models.resnet3d import NonLocals
from slowfast.weights import load_weights

SMALL = dict(num_classes=5, width=8, dropout=0.0)
BEHIND_BLOCKS = NonLocals([[[], []], [[1], []], [[0], []], [[], []]])  # of the slow pathway
slowfast_net = partial(SlowFast, depth=50, alpha=4, **SMALL)
resnet = partial(ResNet, **SMALL)
uniformer = partial(
    UniFormer,
    num_classes=5,
    depth=(1, 1, 1, 1),
    dims=(8, 8, 16, 16),
    head_dim=8,
    drop_path=0.0,
)
x3d = partial(X3D, num_classes=5, width_factor=0.5, depth_factor=0.5, dim_c5=16, dropout=0.0)
TSM_NETS = {"ResNet-18": partial(TSM, 18, **SMALL), "ResNet-50": partial(TSM, 50, **SMALL)}


def source(net: nn.Module) -> nn.Module:
    return perturb(net, 0.1).eval()


@torch.no_grad()
def assert_computes(target: nn.Module, net: nn.Module, num_frames: int = 8) -> None:
    clip = clip_of(num_frames, size=32)
    expected = net(clip)
    torch.testing.assert_close(target.eval()(clip), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


def loads(make, state, *, format, new_head=False, **kwargs) -> nn.Module:
    """A network with the checkpoint, of which nothing is left over."""
    target = make(**kwargs)
    report = load_weights(target, state, new_head=new_head)
    assert report.format == format
    assert not report.unexpected and not report.mismatched
    assert all(name.endswith("num_batches_tracked") for name in report.missing)
    return target


def pyth(net: nn.Module) -> dict:
    return {"epoch": 9, "model_state": net.state_dict(), "optimizer_state": {}, "cfg": "MODEL: x"}


def frame_exit(backbone: nn.Module | None = None) -> FrameExit:
    backbone = TSN(18, **SMALL) if backbone is None else backbone
    return FrameExit(backbone, num_classes=5, num_exits=4, hidden_dim=8, gate_dims=(8, 4))


def released_frame_exit(net: FrameExit) -> dict:
    """As the authors wrote theirs: numbered layers, convolutions in gates that say "go on"."""
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    state = {}
    for name, tensor in net.state_dict().items():
        part, *path = name.split(".")
        if part == "backbone":
            path = [str(numbers[path[1]]), *path[2:]]
        if part == "gates":
            part = "exit_selector"
            if path[1].startswith("fc"):
                path[1] = path[1].replace("fc", "conv")
                tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
            if path[1] == "linear":
                tensor = -tensor
        state[".".join([part, *path])] = tensor
    return state
