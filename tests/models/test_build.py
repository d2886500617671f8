"""What every registered network must do."""

import copy
from unittest.mock import patch

import pytest
import torch

from slowfast.config import get_cfg
from slowfast.datasets.batch import Batch
from slowfast.layers.alter import Gain
from slowfast.models import (
    BRIDGES,
    MODELS,
    Exits,
    FrameFlexible,
    build_model,
    final_logits,
    to_scores,
)
from slowfast.models.backbone import Backbone
from slowfast.models.tsn import BLOCKS_PER_STAGE
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
            *("VIDEO_SWIN.EMBED_DIM", 8, "VIDEO_SWIN.DEPTHS", [2, 1, 1, 1]),
            *("VIDEO_SWIN.NUM_HEADS", [1, 2, 2, 2], "VIDEO_SWIN.WINDOW_SIZE", [2, 3, 3]),
            *("VIDEO_SWIN.DROP_PATH_RATE", 0.0),
            *("R2PLUS1D.WIDTHS", [4, 8], "R2PLUS1D.BLOCKS", [1, 1]),
            *("X3D.DEPTH_FACTOR", 0.5, "X3D.WIDTH_FACTOR", 0.5, "X3D.DIM_C5", 16),
            *("MVIT.DEPTH", 3, "MVIT.EMBED_DIM", 8, "MVIT.DROPPATH_RATE", 0.0),
            *("MVIT.PATCH_PADDING", [1, 3, 3], "MVIT.POOL_KVQ_KERNEL", [3, 3, 3]),
            *("MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]], "MVIT.POOL_KV_STRIDE_ADAPTIVE", [1, 4, 4]),
            *("MVIT.DIM_MUL", [[1, 2]], "MVIT.HEAD_MUL", [[1, 2]], "MVIT.SEP_POS_EMBED", True),
            *("MVIT.REL_POS_SPATIAL", True, "MVIT.REL_POS_TEMPORAL", True),
            *("FRAME_EXIT.HIDDEN_DIM", 8, "FRAME_EXIT.GATE_DIMS", [8, 4]),
            *("FRAME_EXIT.STAGE", "joint"),
            *overrides,
        ]
    )
    return cfg


def plain_net(name: str, *overrides: object):
    torch.manual_seed(0)
    with patch.dict(BLOCKS_PER_STAGE, {50: (2, 1, 1, 1)}):  # TEA has no depth below
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


def said(output: torch.Tensor | Exits) -> torch.Tensor:
    """All that a network says of each video, (B, N): of one with exits, all exits and gates."""
    parts = output if isinstance(output, Exits) else [output]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


# Networks of other libraries are tested where these are installed, in test_bridges*.py.
OWN = [name for name in MODELS.names if MODELS.get(name) not in BRIDGES]
every_network = pytest.mark.parametrize("name", OWN)
# A network of exits is made of one of these, and has no frame-flexible form.
BACKBONES = [name for name in OWN if issubclass(MODELS.get(name), Backbone)]
every_backbone = pytest.mark.parametrize("name", BACKBONES)


@every_network
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 13])
@torch.no_grad()
def test_a_clip_of_any_length_gives_logits(name, num_frames):
    logits = final_logits(plain_net(name).eval()(clip_of(num_frames)))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@every_network
@torch.no_grad()
def test_one_videos_logits_do_not_depend_on_the_other(name):
    net, clip = plain_net(name).eval(), clip_of(4)
    other = torch.cat([clip[:1], clip_of(5)[:1, :, :4]])
    found, changed = said(net(clip)), said(net(other))
    torch.testing.assert_close(found[0], changed[0])
    assert not torch.equal(found[1], changed[1])


@pytest.mark.parametrize("name", [name for name in OWN if name != "TSN"])  # a mean over frames
@torch.no_grad()
def test_the_order_of_frames_matters(name):
    net, clip = plain_net(name).eval(), clip_of(8)
    assert not torch.allclose(said(net(clip)), said(net(clip.flip(2))), atol=1e-6)


@every_network
def test_every_parameter_learns(name):
    net = plain_net(name)
    said(net(clip_of(8, batch=4))).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every_backbone
def test_every_trained_count_runs_its_own_private_layers(name):
    model = flexible_net(name).train()
    model(clip_of(4)).square().sum().backward()
    private = {n: p for n, p in model.named_parameters() if ".copies." in n}
    used = {n for n, p in private.items() if p.grad is not None}
    assert used == {n for n in private if ".copies.4." in n}


@every_backbone
def test_a_flexible_network_equals_the_plain_one_at_the_start_but_for_its_gains(name):
    plain = plain_net(name).eval()
    model = FrameFlexible(copy.deepcopy(plain), COUNTS, alter=False).eval()
    for count in (*COUNTS, 3, 11):
        assert torch.equal(model(clip_of(count)), plain(clip_of(count)))


@every_backbone
def test_gains_start_small(name):
    model = plain_net(name, "FFN.ENABLE", True)
    gains = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, Gain)])
    assert 0.5e-3 < gains.std() < 1.5e-3


@every_backbone
def test_gains_are_left_out_when_the_configuration_says_so(name):
    model = plain_net(name, "FFN.ENABLE", True, "FFN.ALTER", False)
    assert not any(isinstance(m, Gain) for m in model.modules())


@every_backbone
@torch.no_grad()
def test_a_checkpoint_brings_back_the_logits_of_every_rate(name):
    model = flexible_net(name).eval()
    again = plain_net(name, "FFN.ENABLE", True).eval()
    again.load_state_dict(model.state_dict())
    for count in COUNTS:
        assert torch.equal(again(clip_of(count)), model(clip_of(count)))


@every_backbone
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
@pytest.mark.parametrize(
    "name", ["SlowFast", "UniFormer", "VideoSwin", "X3D", "MViT", "TSM", "TEA"]
)
def test_recomputed_activations_give_the_same_gradient(name):
    found = []
    for recompute in (False, True):
        model = flexible_net(name, "MODEL.ACT_CHECKPOINT", recompute).double().train()
        outputs = model(tuple(clip_of(count).double() for count in COUNTS))
        sum(y.square().sum() for y in outputs).backward()
        found.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*found)


@pytest.mark.slow
@every_backbone
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
    torch.testing.assert_close(said(exported(clip)), said(net(clip)))


@every_backbone
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


# ---------------------------------------------------------------------------- maps


@every_backbone
@torch.no_grad()
def test_a_map_has_a_feature_per_channel_and_place(name):
    net = plain_net(name).eval()
    features = net.feature_map(clip_of(5))
    assert features.ndim == 5 and features.shape[:2] == (2, net.map_dim)
    assert features.isfinite().all() and features.std() > 0


@every_backbone
@torch.no_grad()
def test_map_and_logits_come_out_of_one_pass(name):
    net, clip = plain_net(name).eval(), clip_of(5)
    logits, features = net(clip, "map")
    assert torch.equal(logits, net(clip)) and torch.equal(features, net.feature_map(clip))
    logits, places = net(clip, "places")
    assert torch.equal(logits, net(clip)) and torch.equal(places, net.classify_map(features))


# X3D has a layer that is not linear behind the pooling, MViT classifies a token of its own.
@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in ("X3D", "MViT")])
@pytest.mark.parametrize("num_frames", [1, 5, 8])
@torch.no_grad()
def test_the_mean_over_the_places_is_the_logits_of_the_whole(name, num_frames):
    net, clip = plain_net(name).eval(), clip_of(num_frames)
    logits, places = net(clip, "places")
    assert places.shape[:2] == (2, 5)
    torch.testing.assert_close(places.mean((2, 3, 4)), logits)


@every_backbone
@torch.no_grad()
def test_a_map_of_one_place_is_classified_like_the_whole(name):
    net = plain_net(name, "MVIT.CLS_EMBED_ON", False).eval()
    logits, features = net(clip_of(1), "map")
    assert features.shape[2:] == (1, 1, 1) or name in ("MViT", "R2Plus1D")
    if features.shape[2:] == (1, 1, 1):
        torch.testing.assert_close(net.classify_map(features).flatten(1), logits)


@every_backbone
@torch.no_grad()
def test_a_flexible_network_shows_the_map_of_the_clips_rate(name):
    model = flexible_net(name).eval()
    clips = tuple(clip_of(count) for count in COUNTS)
    for clip, (logits, features) in zip(clips, model(clips, "map"), strict=True):
        with model.rates.at(str(clip.shape[2])):
            expected = model.net.feature_map(clip)
        assert torch.equal(features, expected) and torch.equal(logits, model(clip))


def test_another_wish_than_map_or_places_is_refused():
    with pytest.raises(ValueError, match="also='maps' must be map, places or empty"):
        plain_net("R2Plus1D")(clip_of(2), "maps")


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
