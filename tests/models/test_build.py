"""What every registered network must do."""

import copy

import pytest
import torch

from slowfast.config import get_cfg
from slowfast.datasets.batch import Batch
from slowfast.layers.alter import Gain
from slowfast.models import BRIDGES, MODELS, FrameFlexible, build_model, to_scores
from slowfast.objectives import FrameFlexibleTraining

COUNTS = (2, 4, 8)
SIZE = 32


def cfg_of(name: str, *overrides: object):
    """A network of each family that is as small as the family allows."""
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.MODEL_NAME", name, "MODEL.NUM_CLASSES", 5, "MODEL.DROPOUT_RATE", 0.0),
            *("FFN.NUM_FRAMES", list(COUNTS), "DATA.TRAIN_CROP_SIZE", SIZE),
            *("RESNET.DEPTH", 50 if name == "TEA" else 18),
            *("RESNET.TRANS_FUNC", "basic_transform"),
            *("RESNET.WIDTH_PER_GROUP", 8, "SLOWFAST.ALPHA", 4),
            *("UNIFORMER.DEPTH", [1, 1, 1, 1], "UNIFORMER.EMBED_DIM", [8, 8, 16, 16]),
            *("UNIFORMER.HEAD_DIM", 8, "UNIFORMER.DROP_DEPTH_RATE", 0.0),
            *("R2PLUS1D.WIDTHS", [4, 8], "R2PLUS1D.BLOCKS", [1, 1]),
            *("X3D.DEPTH_FACTOR", 0.5, "X3D.WIDTH_FACTOR", 0.5, "X3D.DIM_C5", 16),
            *("MVIT.DEPTH", 3, "MVIT.EMBED_DIM", 8, "MVIT.DROPPATH_RATE", 0.0),
            *("MVIT.PATCH_PADDING", [1, 3, 3], "MVIT.POOL_KVQ_KERNEL", [3, 3, 3]),
            *("MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]], "MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 4, 4]),
            *("MVIT.DIM_MUL", [[1, 2]], "MVIT.HEAD_MUL", [[1, 2]], "MVIT.SEP_POS_EMBED", True),
            *("MVIT.REL_POS_SPATIAL", True, "MVIT.REL_POS_TEMPORAL", True),
            *overrides,
        ]
    )
    return cfg


def plain_net(name: str, *overrides: object):
    torch.manual_seed(0)
    return build_model(cfg_of(name, *overrides))


def flexible_net(name: str, *overrides: object) -> FrameFlexible:
    """With private layers that differ, as after training."""
    model = plain_net(name, "FFN.ENABLE", True, *overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def clip_of(num_frames: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randn(batch, 3, num_frames, SIZE, SIZE, generator=generator)


# Networks of other libraries are tested where these are installed, in test_bridges.py.
OWN = [name for name in MODELS.names if MODELS.get(name) not in BRIDGES]
every_network = pytest.mark.parametrize("name", OWN)


@every_network
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 13])
@torch.no_grad()
def test_a_clip_of_any_length_gives_logits(name, num_frames):
    logits = plain_net(name).eval()(clip_of(num_frames))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@every_network
@torch.no_grad()
def test_one_videos_logits_do_not_depend_on_the_other(name):
    net, clip = plain_net(name).eval(), clip_of(4)
    other = torch.cat([clip[:1], clip_of(5)[:1, :, :4]])
    torch.testing.assert_close(net(clip)[0], net(other)[0])
    assert not torch.equal(net(clip)[1], net(other)[1])


@pytest.mark.parametrize("name", [name for name in OWN if name != "TSN"])  # a mean over frames
@torch.no_grad()
def test_the_order_of_frames_matters(name):
    net, clip = plain_net(name).eval(), clip_of(8)
    assert not torch.allclose(net(clip), net(clip.flip(2)), atol=1e-6)


@every_network
def test_every_parameter_learns(name):
    net = plain_net(name)
    net(clip_of(4, batch=4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every_network
def test_every_trained_count_runs_its_own_private_layers(name):
    model = flexible_net(name).train()
    model(clip_of(4)).square().sum().backward()
    private = {n: p for n, p in model.named_parameters() if ".copies." in n}
    used = {n for n, p in private.items() if p.grad is not None}
    assert used == {n for n in private if ".copies.4." in n}


@every_network
def test_a_flexible_network_equals_the_plain_one_at_the_start_but_for_its_gains(name):
    plain = plain_net(name).eval()
    model = FrameFlexible(copy.deepcopy(plain), COUNTS, alter=False).eval()
    for count in (*COUNTS, 3, 11):
        assert torch.equal(model(clip_of(count)), plain(clip_of(count)))


@every_network
def test_gains_start_small(name):
    model = plain_net(name, "FFN.ENABLE", True)
    gains = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, Gain)])
    assert 0.5e-3 < gains.std() < 1.5e-3


@every_network
def test_gains_are_left_out_when_the_configuration_says_so(name):
    model = plain_net(name, "FFN.ENABLE", True, "FFN.ALTER", False)
    assert not any(isinstance(m, Gain) for m in model.modules())


@every_network
@torch.no_grad()
def test_a_checkpoint_brings_back_the_logits_of_every_rate(name):
    model = flexible_net(name).eval()
    again = plain_net(name, "FFN.ENABLE", True).eval()
    again.load_state_dict(model.state_dict())
    for count in COUNTS:
        assert torch.equal(again(clip_of(count)), model(clip_of(count)))


@every_network
def test_backward_per_rate_gives_the_joint_gradient(name):
    model = flexible_net(name).double().train()
    clips = tuple(clip_of(count).double() for count in COUNTS)
    batch = Batch(clips, torch.tensor([1, 3]), torch.arange(2))
    found = {}
    for backward in ("per_rate", "joint"):
        model.zero_grad()
        for term in FrameFlexibleTraining(backward=backward)(model, batch):
            term.loss.backward()
        found[backward] = [p.grad.clone() for p in model.parameters()]
    torch.testing.assert_close(found["per_rate"], found["joint"], rtol=1e-10, atol=1e-12)


# R2Plus1D has few activations.
@pytest.mark.parametrize("name", ["SlowFast", "UniFormer", "X3D", "MViT", "TSM", "TEA"])
def test_recomputed_activations_give_the_same_gradient(name):
    found = []
    for recompute in (False, True):
        model = flexible_net(name, "MODEL.ACT_CHECKPOINT", recompute).double().train()
        outputs = model(tuple(clip_of(count).double() for count in COUNTS))
        sum(y.square().sum() for y in outputs).backward()
        found.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*found)


@pytest.mark.slow
@every_network
@torch.no_grad()
def test_a_compiled_network_gives_the_same_logits_at_every_rate(name):
    torch.compiler.reset()  # or the limit of recompilations counts those of other tests
    model = flexible_net(name).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    for count in COUNTS:
        torch.testing.assert_close(compiled(clip_of(count)), model(clip_of(count)))


@every_network
@torch.no_grad()
def test_an_exported_network_gives_the_same_logits(name):
    net, clip = plain_net(name).eval(), clip_of(4)
    exported = torch.export.export(net, (clip,)).module()
    torch.testing.assert_close(exported(clip), net(clip))


@every_network
def test_mixed_precision_trains(name):
    model = flexible_net(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(tuple(clip_of(count) for count in COUNTS))
    sum(y.float().square().sum() for y in outputs).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@every_network
def test_every_name_of_the_family_is_accepted_and_no_other(name):
    for arch in MODELS.get(name).archs:
        build_model(cfg_of(name, "MODEL.ARCH", arch))
    with pytest.raises(ValueError, match="MODEL.ARCH='x4d' is none of"):
        build_model(cfg_of(name, "MODEL.ARCH", "x4d"))


def test_an_unknown_network_is_refused_with_its_neighbour():
    with pytest.raises(ValueError, match="no model 'Slowfast'; did you mean 'SlowFast'"):
        build_model(cfg_of("SlowFast", "MODEL.MODEL_NAME", "Slowfast"))


def test_tags_of_the_configuration_name_the_private_layers():
    model = plain_net("R2Plus1D", "FFN.ENABLE", True, "FFN.TAGS", ["a", "b", "c"])
    assert any("_b." in key for key in model.state_dict())


# ---------------------------------------------------------------------------- scores


def test_scores_are_the_activation_and_then_the_mean_over_positions():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    p = 1 / (1 + torch.tensor(-2.0).exp())
    mean = (p + 0.5) / 2
    torch.testing.assert_close(to_scores(logits, "softmax"), torch.tensor([[mean, 1 - mean]]))
    torch.testing.assert_close(to_scores(logits, "sigmoid"), torch.tensor([[mean, 0.5]]))
    torch.testing.assert_close(to_scores(logits, "none"), torch.tensor([[1.0, 0.0]]))


def test_scores_of_one_position_are_its_activation():
    torch.testing.assert_close(to_scores(torch.zeros(3, 4)), torch.full((3, 4), 0.25))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="MODEL.HEAD_ACT='relu' must be"):
        to_scores(torch.zeros(1, 2), "relu")
