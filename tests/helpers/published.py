"""Checkpoints as other projects write them, made from networks of ours."""

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
BATCH_COUNTER = "num_batches_tracked"


def caffe2_blob(name: str) -> str:
    """The blob of PySlowFast's Caffe2 models that `name` of ours comes from."""
    place, _, leaf = name.rpartition(".")
    is_norm = place.endswith("bn")
    of_norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    kind = of_norm[leaf] if is_norm else leaf[0]
    norm = "_bn" if is_norm else ""
    if place == "head.projection":
        return f"pred_{kind}"
    if head := re.fullmatch(r"head\.((conv|lin)_5)(_bn)?", place):
        return f"{head[1]}{norm}_{kind}"
    if fuse := re.fullmatch(r"s(\d)_fuse\.\w+", place):
        stage = int(fuse[1])
        source = "pool1" if stage == 1 else f"res{stage}_{(3, 4, 6)[stage - 2] - 1}_branch2c_bn"
        return f"t_{source}_subsample{norm}_{kind}"
    stage, pathway, rest = re.fullmatch(r"s(\d)\.pathway(\d)_(.*)", place).groups()
    fast = "t_" if pathway == "1" else ""
    if rest.startswith("stem"):
        return fast + (f"res_conv1_bn_{kind}" if is_norm else f"conv1{rest[9:]}_{kind}")
    if nonlocal_ := re.fullmatch(r"nonlocal(\d+)\.(?:conv_)?(\w+)", rest):
        return f"nonlocal_conv{stage}_{nonlocal_[1]}_{nonlocal_[2]}_{kind}"
    block, layer = re.fullmatch(r"res(\d+)\.(.*)", rest).groups()
    layer = layer.replace("branch2.se.", "branch2b_bn_").replace("branch2.", "branch2")
    return f"{fast}res{stage}_{block}_{layer}_{kind}"


def write_caffe2(net: nn.Module, path: Path, protocol: int = 2) -> None:
    """`net` as a Caffe2 model: no batch counters, no trailing axes of one, and solver blobs."""
    blobs = {}
    for name, tensor in net.state_dict().items():
        if name.endswith(BATCH_COUNTER):
            continue
        while tensor.ndim > 2 and tensor.shape[-1] == 1:
            tensor = tensor[..., 0]
        blobs[caffe2_blob(name)] = tensor.numpy()
    blobs |= {f"{blob}_momentum": array * 0 for blob, array in blobs.items()}
    blobs |= {"lr": torch.tensor(0.1).numpy(), "model_iter": torch.tensor(7).numpy()}
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "MODEL: x"}, protocol))


def without_counters(state: State) -> State:
    """As written by PyTorch before 0.4.1."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(BATCH_COUNTER)}


def torchvision_state(net: nn.Module) -> State:
    """The image network inside a TSN, TSM or TEA of ours, under torchvision's names."""
    state = net.state_dict().items()
    return {n.removeprefix("base_model.").replace("new_fc.", "fc."): t for n, t in state}


def mmaction_state(net: nn.Module, shift: bool = False) -> State:
    """A TSN or TSM of ours under MMAction2's names."""
    return {_mmaction_name(n, shift): t for n, t in torchvision_state(net).items()}


def _mmaction_name(name: str, shift: bool) -> str:
    if name.startswith("fc."):
        return f"cls_head.fc_cls.{name[3:]}"
    *path, layer, leaf = name.split(".")
    if path and path[-1] == "downsample":
        return ".".join(["backbone", *path, ("conv", "bn")[int(layer)], leaf])
    kind, number = layer[:-1], layer[-1]
    wrapped = ["net"] if shift and path and layer == "conv1" else []
    return ".".join(["backbone", *path, f"conv{number}", kind, *wrapped, leaf])
