"""Networks of other libraries; most of this needs these installed: `make oracles`."""

import copy
import json
import subprocess
import sys
import textwrap

import pytest
import torch

from helpers.oracles import oracle
from helpers.source import ROOT
from slowfast.config import get_cfg
from slowfast.engine.optimization.layer_decay import layer_scales
from slowfast.engine.prepare import classifier
from slowfast.models import BRIDGES, MODELS, TSM, FrameFlexible, build_model
from slowfast.models.bridges import PTVMViT, PTVResNet, PTVSlowFast, TimmFrames, TorchvisionVideo
from slowfast.models.bridges.positions import separate_positions
from slowfast.models.flexible import specialize
from slowfast.models.slowfast import slow_indices
from slowfast.weights import load_weights

COUNTS, SIZE = (2, 4, 8), 32
MVIT = (
    *("MVIT.DEPTH", 3, "MVIT.EMBED_DIM", 16, "MVIT.PATCH_PADDING", [1, 3, 3]),
    *("MVIT.DIM_MUL", [[1, 2.0]], "MVIT.HEAD_MUL", [[1, 2.0]], "MVIT.POOL_KVQ_KERNEL", [3, 3, 3]),
    *("MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]], "MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 4, 4]),
)
X3D = ("X3D.DEPTH_FACTOR", 0.5, "X3D.WIDTH_FACTOR", 0.5, "X3D.DIM_C5", 16)
SHIFTED = ("TIMM.NAME", "resnet10t", "TIMM.SHIFT", r"layer.*\.conv1")
# Network, the package it needs and what makes it small.
CASES = {
    "PTVCSN": ("PTVCSN", "pytorchvideo", ()),
    "PTVR2plus1D": ("PTVR2plus1D", "pytorchvideo", ()),
    "PTVResNet-slow": ("PTVResNet", "pytorchvideo", ()),
    "PTVResNet-i3d": ("PTVResNet", "pytorchvideo", ("MODEL.ARCH", "i3d")),
    "PTVSlowFast": ("PTVSlowFast", "pytorchvideo", ("SLOWFAST.ALPHA", 4)),
    "PTVX3D": ("PTVX3D", "pytorchvideo", X3D),
    "PTVMViT": ("PTVMViT", "pytorchvideo", MVIT),
    "PTVMViT-split": ("PTVMViT", "pytorchvideo", (*MVIT, "MVIT.SEP_POS_EMBED", True)),
    "PTVMViT-mean": ("PTVMViT", "pytorchvideo", (*MVIT, "MVIT.CLS_EMBED_ON", False)),
    "TimmFrames": ("TimmFrames", "timm", SHIFTED),
    "TorchvisionVideo": ("TorchvisionVideo", "torchvision", ("MODEL.ARCH", "s3d")),
}
DENSE = ("PTVCSN", "PTVR2plus1D", "PTVResNet-slow", "PTVResNet-i3d", "PTVSlowFast", "PTVX3D")


def cfg_of(name: str, *overrides: object):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.MODEL_NAME", name, "MODEL.NUM_CLASSES", 5, "MODEL.DROPOUT_RATE", 0.0),
            *("DATA.TRAIN_CROP_SIZE", SIZE, "DATA.NUM_FRAMES", 8, "RESNET.WIDTH_PER_GROUP", 8),
            *("FFN.NUM_FRAMES", list(COUNTS)),
            *overrides,
        ]
    )
    return cfg


def net_of(case: str, *overrides: object) -> torch.nn.Module:
    """With weights that differ, also where a library starts its norms at zero."""
    name, package, own = CASES[case]
    oracle(package)
    torch.manual_seed(0)
    net = build_model(cfg_of(name, *own, *overrides))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def clip_of(num_frames: int, batch: int = 2, size: int = SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randn(batch, 3, num_frames, size, size, generator=generator)


every_bridge = pytest.mark.parametrize("case", CASES)


# ---------------------------------------------------------------------------- what is not there


PACKAGES = ("torchvision", "timm", "pytorchvideo")
FRESH = """
    import importlib, json, sys
    sys.path.insert(0, {root!r})
    from slowfast.config import get_cfg
    from slowfast.models import BRIDGES, MODELS, build_model

    def errors():
        found = []
        for bridge in BRIDGES:
            cfg = get_cfg()
            cfg.merge_from_list(["MODEL.MODEL_NAME", bridge.__name__])
            try:
                build_model(cfg)
            except ValueError as error:
                found.append(str(error).replace(chr(10), " "))
        return found

    answer = {{"known": "TimmFrames" in MODELS}}
    answer["loaded"] = [package for package in {packages} if package in sys.modules]
    sys.modules |= dict.fromkeys({packages})  # none can be imported
    answer["missing"] = errors()
    for package in {packages}:
        del sys.modules[package]
    sys.path.insert(0, {broken!r})
    importlib.invalidate_caches()
    answer["broken"] = errors()
    print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> dict:
    """What a fresh interpreter knows; its errors without the libraries, and with broken ones."""
    broken = tmp_path_factory.mktemp("broken")
    error = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    for package in PACKAGES:  # the other two import torchvision first of all
        code = error if package == "torchvision" else "import torchvision\n"
        (broken / package).mkdir()
        (broken / package / "__init__.py").write_text(code)
    script = FRESH.format(root=str(ROOT), broken=str(broken), packages=PACKAGES)
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_bridge_has_its_small_case():
    assert {bridge.__name__ for bridge in BRIDGES} == {name for name, _, _ in CASES.values()}
    assert all(MODELS.get(bridge.__name__) is bridge for bridge in BRIDGES)


def test_the_names_are_known_without_importing_any_library(fresh):
    assert fresh["known"] and fresh["loaded"] == []


def test_a_library_that_is_missing_is_an_error_that_says_how_to_install_it(fresh):
    for bridge, error in zip(BRIDGES, fresh["missing"], strict=True):
        assert error.startswith(f"{bridge.__name__} needs ") and "pip install -U torch==" in error


def test_a_torchvision_of_another_build_is_an_error_that_says_how_to_replace_it(fresh):
    for bridge, error in zip(BRIDGES, fresh["broken"], strict=True):
        assert error.startswith(f"{bridge.__name__} needs "), error
        assert "(RuntimeError: operator torchvision::nms does not exist)" in error
        assert "pip install -U torch==" in error and "torchvision==" in error


# ---------------------------------------------------------------------------- the contract


@every_bridge
@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "size"), [(1, 32), (2, 32), (5, 40), (8, 32)])
def test_a_clip_of_any_length_and_size_gives_logits(case, num_frames, size):
    net = net_of(case, "FFN.ENABLE", True).eval()
    logits = net(clip_of(num_frames, size=size))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@every_bridge
@torch.no_grad()
def test_one_videos_logits_do_not_depend_on_the_other(case):
    net, clip = net_of(case).eval(), clip_of(4)
    other = torch.cat([clip[:1], clip_of(5)[:1, :, :4]])
    torch.testing.assert_close(net(clip)[0], net(other)[0])
    assert not torch.equal(net(clip)[1], net(other)[1])


@every_bridge
@torch.no_grad()
def test_the_order_of_frames_matters(case):
    net, clip = net_of(case).eval(), clip_of(8)
    assert not torch.allclose(net(clip), net(clip.flip(2)), atol=1e-6)


@pytest.mark.parametrize("case", DENSE)
@torch.no_grad()
def test_a_larger_crop_gives_the_logits_of_each_position_of_the_window(case):
    net = net_of(case).eval()
    assert net(clip_of(4)).shape == (2, 5)
    assert net(clip_of(4, size=64)).shape == (2, 4, 5)


@every_bridge
def test_the_names_of_the_library_follow_a_prefix(case):
    assert all(name.startswith("model.") for name in net_of(case).state_dict())


# ---------------------------------------------------------------------------- frame-flexible


@every_bridge
def test_every_trained_count_trains_its_own_norms_and_all_else(case):
    model = net_of(case, "FFN.ENABLE", True).train()
    for count in COUNTS:
        model.zero_grad()
        model(clip_of(count)).square().sum().backward()
        used = {n for n, p in model.named_parameters() if p.grad is not None}
        others = [f".copies.{c}." for c in COUNTS if c != count]
        missing = [n for n, _ in model.named_parameters() if n not in used]
        assert any(f".copies.{count}." in n for n in used)
        assert all(any(o in n for o in others) for n in missing)
        assert not any(o in n for n in used for o in others)


@every_bridge
@torch.no_grad()
def test_a_flexible_network_equals_the_plain_one_at_the_start(case):
    plain = net_of(case).eval()
    model = FrameFlexible(copy.deepcopy(plain), COUNTS).eval()
    for count in (*COUNTS, 3):
        assert torch.equal(model(clip_of(count)), plain(clip_of(count)))


@every_bridge
@torch.no_grad()
def test_a_checkpoint_brings_back_the_logits_of_every_rate(case):
    model = net_of(case, "FFN.ENABLE", True).eval()
    name, _, own = CASES[case]
    again = build_model(cfg_of(name, *own, "FFN.ENABLE", True)).eval()
    again.load_state_dict(model.state_dict())
    for count in COUNTS:
        assert torch.equal(again(clip_of(count)), model(clip_of(count)))


@every_bridge
@torch.no_grad()
def test_a_specialised_network_gives_the_same_logits(case):
    model = net_of(case, "FFN.ENABLE", True).eval()
    for count in COUNTS:
        clip = clip_of(count)
        torch.testing.assert_close(specialize(model, count)(clip), model(clip))


@every_bridge
@torch.no_grad()
def test_an_exported_network_gives_the_same_logits(case):
    net, clip = net_of(case).eval(), clip_of(4)
    exported = torch.export.export(net, (clip,)).module()
    torch.testing.assert_close(exported(clip), net(clip))


@pytest.mark.slow
@every_bridge
@torch.no_grad()
def test_a_compiled_network_gives_the_same_logits_at_every_rate(case):
    torch.compiler.reset()
    model = net_of(case, "FFN.ENABLE", True).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    for count in COUNTS:
        torch.testing.assert_close(compiled(clip_of(count)), model(clip_of(count)))


# ---------------------------------------------------------------------------- pytorchvideo


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


# ---------------------------------------------------------------------------- timm


@torch.no_grad()
def test_logits_are_the_mean_of_those_of_the_frames():
    oracle("timm")
    net, clip = TimmFrames("resnet10t", 5).eval(), clip_of(3)
    frames = [net.model(clip[:, :, t]) for t in range(3)]
    torch.testing.assert_close(net(clip), torch.stack(frames).mean(0))


@torch.no_grad()
@pytest.mark.parametrize(("depth", "name"), [(18, "resnet18"), (50, "resnet50")])
def test_shifted_residual_branches_make_tsm(depth, name):
    oracle("timm")
    net = TimmFrames(name, 5, shift=r"layer\d\.\d+\.conv1").eval()
    tsm = TSM(depth, 5, dropout=0.0).eval()
    names = {k: k.replace("model.fc", "new_fc") for k in net.state_dict()}
    names = {k: v.replace("model.", "base_model.") for k, v in names.items()}
    tsm.load_state_dict({names[k]: v for k, v in net.state_dict().items()})
    clip = clip_of(5)
    torch.testing.assert_close(net(clip), tsm(clip), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_copy_of_a_shifted_network_knows_its_own_clip():
    net = net_of("TimmFrames").eval()
    twin = copy.deepcopy(net)
    with net.clip.of(3):  # as if the original were running
        assert twin(clip_of(4)).shape == (2, 5)


def test_efficientnet_b3_becomes_flexible_and_trains():
    oracle("timm")
    model = FrameFlexible(TimmFrames("efficientnet_b3", 5, shift=r"blocks.*\.conv_pw"), (2, 4))
    low, high = model((clip_of(2), clip_of(4)))
    (low.sum() + high.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    private = {n.split(".copies")[0] for n, _ in model.named_parameters() if ".copies." in n}
    assert len(private) == 78  # all its norms, which are timm's own with an activation inside


@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_b3", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_an_image_network_of_timm_is_the_backbone_of_frame_exit_with_its_own_weights(name):
    timm = oracle("timm")
    parts = ("FRAME_EXIT.BACKBONE", "TimmFrames", "TIMM.NAME", name)
    sizes = ("FRAME_EXIT.HIDDEN_DIM", 8, "FRAME_EXIT.GATE_DIMS", [8, 4])
    net = build_model(cfg_of("FrameExit", *parts, *sizes)).eval()
    size = {"img_size": SIZE} if name.startswith("vit") else {}
    image_net = timm.create_model(name, num_classes=9, **size).eval()
    report = load_weights(net, image_net.state_dict())
    assert len(report.ignored) == 2 and not report.unexpected
    clip = clip_of(3)
    expected = image_net.forward_head(image_net.forward_features(clip[:, :, 1]), pre_logits=True)
    torch.testing.assert_close(net.backbone(clip[:, :, 1:2]), expected)
    assert net(clip).logits.shape == (2, 3, 5)


@torch.no_grad()
def test_a_network_made_for_one_size_is_built_for_the_crop():
    oracle("timm")
    assert TimmFrames("vit_tiny_patch16_224", 5, size=64).eval()(clip_of(2, size=64)).shape == (
        2,
        5,
    )


def test_a_network_timm_does_not_know_is_refused_with_its_neighbours():
    oracle("timm")
    with pytest.raises(ValueError, match="TIMM.NAME='efficientnet_b33' .* 'efficientnet_b3'"):
        TimmFrames("efficientnet_b33", 5)


@pytest.mark.parametrize(
    ("shift", "message"), [("conv7", "names none; .* begin with conv1"), ("layer1", "is none")]
)
def test_a_shift_of_anything_but_convolutions_is_refused(shift, message):
    oracle("timm")
    with pytest.raises(ValueError, match=message):
        TimmFrames("resnet18", 5, shift=shift)


# ---------------------------------------------------------------------------- torchvision


@pytest.mark.parametrize("name", ["mc3_18", "r2plus1d_18", "mvit_v1_b", "mvit_v2_s", "swin3d_t"])
def test_a_torchvision_network_trains_and_runs_at_any_frame_count(name):
    oracle("torchvision")
    model = FrameFlexible(TorchvisionVideo(name, num_classes=3), num_frames=(2, 4))
    low, high = model((clip_of(2), clip_of(4)))
    (low.sum() + high.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.inference_mode():
        for count in (1, 3, 5):
            assert model.eval()(clip_of(count)).shape == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize("relative", [False, True])
def test_at_the_size_it_was_built_for_mvit_is_torchvisions(relative):
    mvit = oracle("torchvision.models.video.mvit")
    blocks = [
        mvit.MSBlockConfig(1, 16, 32, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
        mvit.MSBlockConfig(2, 32, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
    ]
    net = TorchvisionVideo("mvit_v2_s" if relative else "mvit_v1_b", 5)
    size = {"spatial_size": (SIZE, SIZE), "temporal_size": 4, "num_classes": 5}
    net.model = mvit.MViT(
        block_setting=blocks,
        residual_pool=relative,
        residual_with_cls_embed=relative,
        rel_pos_embed=relative,
        proj_after_attn=relative,
        **size,
    ).eval()
    clip = clip_of(4)
    torch.testing.assert_close(net.eval()(clip), net.model(clip))
    assert net(clip_of(7, size=48)).shape == (2, 5)


@torch.no_grad()
def test_s3d_is_torchvisions_wherever_that_runs():
    video = oracle("torchvision.models.video")
    net = TorchvisionVideo("s3d", 5).eval()
    own = video.s3d(num_classes=5).eval()
    own.load_state_dict({k.removeprefix("model."): v for k, v in net.state_dict().items()})
    clip = clip_of(14, batch=1, size=240)
    torch.testing.assert_close(net(clip), own(clip))


def test_a_torchvision_network_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no video network 'r3d_34'; torchvision has r3d_18"):
        TorchvisionVideo("r3d_34")


# ---------------------------------------------------------------------------- fine-tuning


@every_bridge
def test_the_classifier_is_found_and_lies_in_the_top_layer(case):
    net = net_of(case, "FFN.ENABLE", False)
    head, scales = classifier(net, 5), layer_scales(net, 0.5)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert {scales[names[id(parameter)]] for parameter in head.parameters()} == {1.0}
    depth = len(set(scales.values()))
    assert depth >= 5 and min(scales.values()) == 0.5 ** (depth - 1)
