import pytest
import torch

from slowfast.config import get_cfg
from slowfast.layers.nonlocal_block import NonLocalBlock
from slowfast.models import FrameFlexible, ResNet, SlowFast, build_model
from slowfast.models.flexible import specialize
from slowfast.models.resnet3d import NonLocals, of_pathway, temporal_kernels

COUNTS = (2, 4, 8)
IN_S3_AND_S4 = NonLocals(locations=[[[]], [[0, 1]], [[1]], [[]]])


def small(arch: str = "slow", kind: type = ResNet, **kwargs):
    torch.manual_seed(0)
    arguments = {"depth": 18, "num_classes": 5, "width": 8, "dropout": 0.0} | kwargs
    return kind(**arguments, **({"arch": arch} if kind is ResNet else {}))


def perturbed(net, scale: float = 0.1):
    """`net` with private copies and non-local blocks that do something."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return net


def clip_of(num_frames: int, size: int = 32, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randn(batch, 3, num_frames, size, size, generator=generator)


def kernels_of(net: ResNet) -> list[list[int]]:
    """The temporal kernels of the stem and of the blocks of each stage."""
    stages = [getattr(net, f"s{k}") for k in (2, 3, 4, 5)]
    blocks = [[stage.get_submodule(name) for name in stage.order[0]] for stage in stages]
    kernels = [[b.branch2.a.kernel_size[0] for b in stage] for stage in blocks]
    return [[net.s1.pathway0_stem.conv.kernel_size[0]], *kernels]


every_arch = pytest.mark.parametrize("arch", ResNet.archs)
every_other_arch = pytest.mark.parametrize("arch", [a for a in ResNet.archs if a != "slow"])


# ---------------------------------------------------------------------------- architectures


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("slow", [[1], [1] * 3, [1] * 4, [3] * 6, [3] * 3]),
        ("c2d", [[1], [1] * 3, [1] * 4, [1] * 6, [1] * 3]),
        ("i3d", [[5], [3] * 3, [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]),
        ("slow_i3d", [[5], [3] * 3, [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]),
    ],
)
def test_the_architecture_sets_the_temporal_kernels(arch, expected):
    assert kernels_of(small(arch, depth=50)) == expected


def test_only_the_first_blocks_of_a_stage_keep_its_temporal_kernels():
    net = small("i3d", depth=50, temporal_blocks=(1, 4, 3, 0))
    assert kernels_of(net) == [[5], [3, 1, 1], [3, 1, 3, 1], [3, 1, 3, 1, 1, 1], [1] * 3]


@torch.no_grad()
@pytest.mark.parametrize(
    ("arch", "expected"), [("c2d", [1, 1, 1, 2, 6]), ("i3d", [1, 1, 1, 2, 6]), ("slow", None)]
)
def test_c2d_and_i3d_halve_the_frames_behind_the_first_stage(arch, expected):
    net, seen = small(arch).eval(), []
    net.s3.register_forward_pre_hook(lambda _, xs: seen.append(xs[0][0].shape[2]))
    lengths = [1, 2, 3, 4, 13]
    for num_frames in lengths:
        net(clip_of(num_frames))
    assert seen == (expected or lengths)


@torch.no_grad()
def test_pooling_in_time_keeps_the_larger_of_two_frames():
    x = torch.randn(1, 2, 4, 3, 3)
    expected = torch.stack([x[:, :, :2].amax(2), x[:, :, 2:].amax(2)], dim=2)
    assert torch.equal(small("c2d").pathway0_pool(x), expected)


@torch.no_grad()
def test_an_image_network_averages_the_features_of_the_frames():
    net, clip = small("2d").eval(), clip_of(5)
    images = torch.stack([net(frame.unsqueeze(2)) for frame in clip.unbind(2)])
    torch.testing.assert_close(net(clip), images.mean(0))


@pytest.mark.parametrize(("classes", "expected"), [(1000, 25_557_032), (400, 24_327_632)])
def test_image_networks_have_the_published_size(classes, expected):
    with torch.device("meta"):
        net = ResNet(arch="2d", num_classes=classes)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert len(net.state_dict()) == 320


@torch.no_grad()
@every_other_arch
def test_every_architecture_takes_any_length(arch):
    net = small(arch).eval()
    for num_frames in (1, 2, 3, 5, 8):
        assert net(clip_of(num_frames)).isfinite().all()


@every_other_arch
def test_every_architecture_is_frame_flexible(arch):
    model = perturbed(FrameFlexible(small(arch), COUNTS))
    sum(logits.square().sum() for logits in model(tuple(map(clip_of, COUNTS)))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    again = FrameFlexible(small(arch), COUNTS).eval()
    again.load_state_dict(model.state_dict())
    for count in COUNTS:
        assert torch.equal(again(clip_of(count)), model.eval()(clip_of(count)))


@torch.no_grad()
@every_arch
def test_every_architecture_specialises(arch):
    net = small(arch, nonlocals=IN_S3_AND_S4)
    model = perturbed(FrameFlexible(net, COUNTS)).double().eval()
    for count in COUNTS:
        plain, clip = specialize(model, count), clip_of(count).double()
        assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in plain.modules())
        torch.testing.assert_close(plain(clip), model(clip))


@torch.no_grad()
def test_a_crop_larger_than_the_training_one_is_predicted_densely():
    net = small("i3d", head_window=(2, 2)).eval()
    assert net(clip_of(4, size=64)).shape == (2, 5)
    assert net(clip_of(4, size=96)).shape == (2, 4, 5)


# ---------------------------------------------------------------------------- non-local blocks


def test_non_local_blocks_stand_behind_the_listed_residual_blocks():
    net = small(nonlocals=IN_S3_AND_S4)
    found = {path for path, m in net.named_modules() if isinstance(m, NonLocalBlock)}
    assert found == {f"s{path}" for path in ("3.pathway0_nonlocal0", "3.pathway0_nonlocal1")} | {
        "s4.pathway0_nonlocal1"
    }
    assert net.s3.order[0] == [f"pathway0_{n}" for n in ("res0", "nonlocal0", "res1", "nonlocal1")]


def test_each_pathway_has_its_own_non_local_blocks():
    plan = NonLocals(
        locations=[[[], [1]], [[0], []], [[], []], [[], []]],
        groups=[[1, 2], [1], [1], [1]],
        pools=[[(1, 2, 2), (2, 1, 1)]] + [[(1, 2, 2)]] * 3,
    )
    net = small(kind=SlowFast, nonlocals=plan, width=16)
    found = {path: m for path, m in net.named_modules() if isinstance(m, NonLocalBlock)}
    assert found.keys() == {"s2.pathway1_nonlocal1", "s3.pathway0_nonlocal0"}
    fast, slow = found["s2.pathway1_nonlocal1"], found["s3.pathway0_nonlocal0"]
    assert (fast.groups, fast.pool, fast.conv_theta.in_channels) == (2, (2, 1, 1), 2)
    assert (slow.groups, slow.pool, slow.conv_theta.in_channels) == (1, (1, 2, 2), 32)


@torch.no_grad()
@pytest.mark.parametrize("kind", [ResNet, SlowFast])
@pytest.mark.parametrize("instantiation", ["softmax", "dot_product"])
def test_networks_with_non_local_blocks_take_any_length(kind, instantiation):
    plan = NonLocals(locations=[[[0]]] * 4, instantiation=instantiation)
    net = perturbed(small(kind=kind, nonlocals=plan, width=16), scale=1e-3).eval()
    for num_frames in (1, 2, 3, 8):
        assert net(clip_of(num_frames)).isfinite().all()


@torch.no_grad()
def test_non_local_blocks_change_nothing_at_the_start():
    plain, net = small().eval(), small(nonlocals=IN_S3_AND_S4).eval()
    net.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(net(clip_of(4)), plain(clip_of(4)))


@pytest.mark.parametrize("kind", [ResNet, SlowFast])
def test_recomputed_activations_give_the_same_gradient(kind):
    found = []
    for recompute in (False, True):
        net = small(kind=kind, nonlocals=IN_S3_AND_S4, act_checkpoint=recompute)
        model = perturbed(FrameFlexible(net, COUNTS)).double().train()
        outputs = model(tuple(clip_of(count).double() for count in COUNTS))
        sum(y.square().sum() for y in outputs).backward()
        found.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*found)


def test_a_non_local_block_behind_no_residual_block_is_refused():
    with pytest.raises(ValueError, match="cannot follow residual block 2 of s3, .* 0 to 1"):
        small(nonlocals=NonLocals(locations=[[[]], [[2]], [[]], [[]]]))


# ---------------------------------------------------------------------------- configuration


def cfg_of(*overrides: object):
    cfg = get_cfg()
    small = ["RESNET.WIDTH_PER_GROUP", 8, "MODEL.NUM_CLASSES", 5, "MODEL.MODEL_NAME", "ResNet"]
    cfg.merge_from_list([*small, *overrides])
    return cfg


def test_the_configuration_places_non_local_blocks():
    location = [[[], []], [[1, 3], []], [[], []], [[], [2]]]  # the second pathway is not here
    net = build_model(cfg_of("NONLOCAL.LOCATION", location, "MODEL.ARCH", "i3d"))
    found = [m for m in net.modules() if isinstance(m, NonLocalBlock)]
    assert [m.instantiation for m in found] == ["dot_product", "dot_product"]
    assert net.s3.pathway0_nonlocal3 is found[1]


def test_lists_per_pathway_serve_networks_of_one_and_of_two():
    for kernels in ([[3], [4], [6], [3]], [[3, 3], [4, 4], [6, 6], [3, 3]]):
        overrides = ("RESNET.DEPTH", 101, "RESNET.NUM_BLOCK_TEMP_KERNEL", kernels)
        assert kernels_of(build_model(cfg_of(*overrides)))[3] == [3] * 6 + [1] * 17
        net = build_model(cfg_of(*overrides, "MODEL.MODEL_NAME", "SlowFast"))
        for p in (0, 1):
            blocks = [net.s4.get_submodule(name) for name in net.s4.order[p]]
            assert [b.branch2.a.kernel_size[0] for b in blocks] == [3] * 6 + [1] * 17


def test_the_last_entry_serves_the_pathways_behind_it():
    assert [of_pathway([1, 2], p) for p in (0, 1, 2)] == [1, 2, 2]


def test_temporal_kernels_repeat_and_end():
    assert temporal_kernels((3, 1), num_temporal=4, num_blocks=5) == [3, 1, 3, 1, 1]
    assert temporal_kernels((3,), num_temporal=9, num_blocks=2) == [3, 3]


def test_the_configuration_pools_everything_only_for_frame_flexible_networks():
    assert build_model(cfg_of("DATA.TRAIN_CROP_SIZE", 224)).head.pool.window == (7, 7)
    assert build_model(cfg_of("FFN.ENABLE", True)).net.head.pool.window is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 34}, "depth=34; ResNet has 18, 50, 101"),
        ({"arch": "slowfast"}, "arch='slowfast' must be one of slow, c2d"),
    ],
)
def test_impossible_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)


def test_a_block_of_another_family_is_refused():
    with pytest.raises(ValueError, match="RESNET.TRANS_FUNC='x3d_transform' is no block of this"):
        build_model(cfg_of("RESNET.TRANS_FUNC", "x3d_transform"))
