"""Our networks against those of other libraries, where these are installed: `make oracles`."""

import re

import pytest
import torch
from torch import Tensor, nn

from helpers.fixture_weights import fill_state_dict, input_tensor
from helpers.frame_exits import clip_of, splitting, with_statistics
from helpers.oracles import oracle
from helpers.source import ROOT
from slowfast.config import get_cfg, load_cfg
from slowfast.datasets import Batch
from slowfast.engine.optimization.optimizer import build_optimizer
from slowfast.engine.optimization.step import Stepper
from slowfast.models import TSN, FrameExit, build_model
from slowfast.objectives import build_objective
from slowfast.report.cost import gflops

BLOCKS = {
    r"pathway(\d)_stem\.bn": r"pathway\1_stem.norm",
    r"branch1\.": "branch1_conv.",
    r"branch1_bn": "branch1_norm",
    r"branch2\.(.)\.": r"branch2.conv_\1.",
    r"branch2\.(.)_bn": r"branch2.norm_\1",
}
ONE_PATHWAY = BLOCKS | {
    r"s1\.pathway0_stem": "blocks.0",
    r"s(\d)\.pathway0_res(\d+)": lambda m: f"blocks.{int(m[1]) - 1}.res_blocks.{m[2]}",
    r"head\.projection": "blocks.5.proj",
}
X3D = {
    r"stem\.conv\.": "stem.conv.conv_xy.",
    r"stem\.conv_xy\.": "stem.conv.conv_t.",
    r"b_bn": "b_bn.0",
    r"se\.fc1": "norm_b.1.block.0",
    r"se\.fc2": "norm_b.1.block.2",
    r"head\.conv_5\.": "blocks.5.pool.pre_conv.",
    r"head\.conv_5_bn": "blocks.5.pool.pre_norm",
    r"head\.lin_5": "blocks.5.pool.post_conv",
}
SLOWFAST = BLOCKS | {
    r"s1\.pathway(\d)_stem": r"blocks.0.multipathway_blocks.\1",
    r"s(\d)\.pathway(\d)_res(\d+)": lambda m: (
        f"blocks.{int(m[1]) - 1}.multipathway_blocks.{m[2]}.res_blocks.{m[3]}"
    ),
    r"s(\d)_fuse\.": lambda m: f"blocks.{int(m[1]) - 1}.multipathway_fusion.",
    r"conv_f2s": "conv_fast_to_slow",
    r"fusion\.bn": "fusion.norm",
    r"head\.projection": "blocks.6.proj",
}
MVIT = {
    r"patch_embed\.proj": "patch_embed.patch_model",
    r"^(cls_token|pos_embed)": r"cls_positional_encoding.\1",
    r"^norm\.": "norm_embed.",
    r"head\.projection": "head.proj",
}
RESNET = ("RESNET.WIDTH_PER_GROUP", 8, "RESNET.DEPTH", 50)
SMALL_X3D = ("X3D.DEPTH_FACTOR", 1.0, "X3D.WIDTH_FACTOR", 1.0, "X3D.BOTTLENECK_FACTOR", 2.25)
SMALL_MVIT = (
    *("MVIT.SEPARATE_QKV", True, "MVIT.DEPTH", 4, "MVIT.EMBED_DIM", 16),
    *("MVIT.PATCH_PADDING", [1, 3, 3], "MVIT.SEP_POS_EMBED", True),
    *("MVIT.DIM_MUL", [[1, 2.0], [3, 2.0]], "MVIT.HEAD_MUL", [[1, 2.0], [3, 2.0]]),
    *("MVIT.POOL_KVQ_KERNEL", [3, 3, 3], "MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2], [3, 1, 2, 2]]),
    *("MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 8, 8]),
)


def weights_for(state: dict) -> dict:
    layout = {k: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()}
    return fill_state_dict(layout)


def renamed(name: str, rules: dict) -> str:
    """pytorchvideo's name, behind the prefix of the bridge."""
    for pattern, replacement in rules.items():
        name = re.sub(pattern, replacement, name)
    return f"model.{name}"


def both(ours: str, theirs: str, rules: dict, *overrides: object) -> tuple[nn.Module, nn.Module]:
    """Our network and the bridge to the other library's, of one configuration, weights alike."""
    oracle("pytorchvideo")
    nets = []
    for name in (ours, theirs):
        cfg = get_cfg()
        size = ("MODEL.NUM_CLASSES", 7, "DATA.TRAIN_CROP_SIZE", 64, "DATA.NUM_FRAMES", 8)
        cfg.merge_from_list(["MODEL.MODEL_NAME", name, *size, *overrides])
        nets.append(build_model(cfg).eval())
    state = weights_for(nets[0].state_dict())
    nets[0].load_state_dict(state)
    nets[1].load_state_dict({renamed(name, rules): value for name, value in state.items()})
    return nets[0], nets[1]


def assert_same_logits(a: nn.Module, b: nn.Module, frames: int, size: int) -> None:
    clip = input_tensor(f"oracle_{frames}_{size}", (2, 3, frames, size, size))
    with torch.no_grad():
        found, expected = a(clip), b(clip)
    scale = expected.std().item()
    torch.testing.assert_close(found, expected, atol=1e-4 * scale, rtol=1e-4)


@pytest.mark.parametrize(
    ("yaml", "bridge", "missing"),
    [
        ("C2D_8x8_R50", "PTVResNet", 0),
        ("I3D_8x8_R50", "PTVResNet", 0),
        ("SLOW_8x8_R50", "PTVResNet", 0),
        ("SLOWFAST_8x8_R50", "PTVSlowFast", 0),
        ("X3D_M", "PTVX3D", 48),  # weight and bias of the first shortcut's norm
        ("MVIT_B_16x4_CONV", "PTVMViT", 0),
    ],
)
def test_a_published_yaml_makes_a_bridge_of_the_same_size(yaml, bridge, missing):
    oracle("pytorchvideo")
    path, sizes = ROOT / f"configs/Kinetics/{yaml}.yaml", []
    for overrides in ([], ["MODEL.MODEL_NAME", bridge]):
        net = build_model(load_cfg(path, overrides))
        sizes.append(sum(p.numel() for p in net.parameters()))
    assert sizes[0] - sizes[1] == missing


@pytest.mark.parametrize("arch", ["slow", "c2d", "i3d"])
def test_the_networks_of_one_pathway_are_pytorchvideos(arch):
    rules = ONE_PATHWAY
    if arch != "slow":  # the pooling behind the first stage is a block of its own
        rules = ONE_PATHWAY | {
            r"s(\d)\.pathway0_res(\d+)": lambda m: (
                f"blocks.{int(m[1]) - 1 + (int(m[1]) > 2)}.res_blocks.{m[2]}"
            ),
            r"head\.projection": "blocks.6.proj",
        }
    nets = both("ResNet", "PTVResNet", rules, "MODEL.ARCH", arch, *RESNET)
    for frames, size in ((8, 64), (8, 96), (5, 64)):
        assert_same_logits(*nets, frames, size)


def test_slowfast_is_pytorchvideos():
    nets = both("SlowFast", "PTVSlowFast", SLOWFAST, "SLOWFAST.ALPHA", 4, *RESNET)
    for frames, size in ((8, 64), (8, 96), (6, 64)):
        assert_same_logits(*nets, frames, size)


def test_x3d_is_pytorchvideos_but_for_the_norm_of_the_first_shortcut():
    def state_of(net):
        return {k: v for k, v in net.state_dict().items() if "s2.pathway0_res0.branch1_bn" not in k}

    oracle("pytorchvideo")
    cfg = get_cfg()
    size = ("MODEL.NUM_CLASSES", 7, "DATA.TRAIN_CROP_SIZE", 64, *SMALL_X3D)
    cfg.merge_from_list(["MODEL.MODEL_NAME", "X3D", *size])
    ours = build_model(cfg).eval()
    cfg.merge_from_list(["MODEL.MODEL_NAME", "PTVX3D"])
    theirs = build_model(cfg).eval()
    state = weights_for(state_of(ours))
    ours.load_state_dict(state, strict=False)
    norm = ours.s2.pathway0_res0.branch1_bn
    norm.running_var.fill_(1 - norm.eps)  # with this and its start the norm does nothing
    theirs.load_state_dict({renamed(k, X3D | ONE_PATHWAY): v for k, v in state.items()})
    for frames, crop in ((4, 64), (4, 96), (7, 70)):
        assert_same_logits(ours, theirs, frames, crop)


def test_mvit_is_pytorchvideos():
    ours, theirs = both("MViT", "PTVMViT", MVIT, *SMALL_MVIT)
    for layer in theirs.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-6  # pytorchvideo has 1e-5 behind its poolings
    for frames, size in ((8, 64), (5, 64), (8, 96)):
        assert_same_logits(ours, theirs, frames, size)


@pytest.mark.parametrize("depth", [18, 50])
def test_a_single_frame_of_tsn_is_torchvisions_image_network(depth):
    net = TSN(depth, num_classes=7).eval()
    image_net = getattr(oracle("torchvision.models"), f"resnet{depth}")(num_classes=7).eval()
    state = weights_for(net.state_dict())
    net.load_state_dict(state)
    names = {k: k.removeprefix("base_model.").replace("new_fc", "fc") for k in state}
    image_net.load_state_dict({names[k]: v for k, v in state.items()})
    clip = input_tensor("oracle_image", (2, 3, 1, 64, 64))
    with torch.no_grad():
        torch.testing.assert_close(net(clip), image_net(clip[:, :, 0]), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------- FrameExit

B3 = "projects/frame_exit/configs/{}/FRAMEEXIT_EFFICIENTNET_B3{}.yaml"
NARROW = ["FRAME_EXIT.HIDDEN_DIM", 64, "MODEL.NUM_CLASSES", 7, "MODEL.FC_INIT_STD", 0.3]


def efficientnet(stage: str = "", *overrides: object) -> tuple[FrameExit, object]:
    """The network of a shipped YAML, with a narrow layer behind its backbone, and the YAML."""
    oracle("timm")
    torch.manual_seed(0)
    cfg = load_cfg(ROOT / B3.format("MiniKinetics", stage), [*NARROW, *overrides])
    return build_model(cfg), cfg


@pytest.mark.parametrize("folder", ["ActivityNet", "MiniKinetics"])
def test_the_shipped_frame_exit_sees_ten_frames_by_timms_efficientnet_b3(folder):
    timm = oracle("timm")
    with torch.device("meta"):
        net = build_model(load_cfg(ROOT / B3.format(folder, "")))
        image_net = timm.create_model("efficientnet_b3", num_classes=0)
    assert type(net.backbone.model) is type(image_net)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (net.backbone, image_net)]
    assert sizes[0] == sizes[1]
    assert (net.num_exits, net.clip_length, net.mlp.layers[0].in_features) == (10, 1, 1536)


def test_the_papers_gflops_of_efficientnet_b3_are_those_of_a_frame_of_300_pixels():
    """1.8 a frame: at the 224 pixels of the released inference it is little more than half."""
    net, _ = efficientnet()
    assert gflops(net.backbone.eval(), (1, 3, 1, 300, 300)) == pytest.approx(1.8, rel=0.02)
    assert gflops(net.backbone, (1, 3, 1, 224, 224)) < 0.54 * 1.8


def test_an_efficientnet_decides_about_a_batch_as_about_its_videos_one_by_one():
    """In float64: at 32 pixels so deep a network makes 1e-3 of float32's rounding."""
    net, _ = efficientnet("", "DATA.NUM_FRAMES", 6)
    with_statistics(net, net.num_exits)
    net, clip = net.double(), clip_of(net.num_exits, batch=9).double()
    exits = net(clip)
    assert exits.logits.shape == (9, 6, 7) and exits.gates.shape == (9, 5)
    thresholds = splitting(net, clip)
    together = net.infer(clip, *thresholds)
    alone = [net.infer(video[None], *thresholds) for video in clip]
    assert together.exits.tolist() == [decision.exits.item() for decision in alone]
    assert torch.equal(net.decide(exits, *thresholds).exits, together.exits)
    assert len(set(together.exits.tolist())) >= 3
    logits = torch.cat([decision.logits for decision in alone])
    torch.testing.assert_close(together.logits, logits, atol=1e-5, rtol=0)


def changed_by_a_step(net: FrameExit, cfg: object) -> set[str]:
    """The parts of `net` of which a step of training changed parameters or statistics."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step = Stepper(net, build_objective(cfg), build_optimizer(net, cfg), torch.device("cpu"))
    record: dict[str, Tensor] = step(Batch((clip_of(10, 4),), torch.arange(4), torch.arange(4)))
    assert record["loss"].isfinite() and record["grad_norm"] > 0
    after = net.state_dict().items()
    return {n.partition(".")[0] for n, value in after if not torch.equal(value, before[n])}


def test_both_stages_train_their_part_of_frame_exit_on_an_efficientnet():
    net, cfg = efficientnet()
    assert changed_by_a_step(net.train(), cfg) == {"backbone", "mlp", "classifiers"}
    gates, cfg = efficientnet("_GATES")
    gates.load_state_dict(net.state_dict())
    assert changed_by_a_step(gates.train(), cfg) == {"gates"}
