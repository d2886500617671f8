"""What networks of other libraries have in common; most of this needs them: `make oracles`."""

import copy
import json
import subprocess
import sys
import textwrap

import pytest
import torch

from helpers.bridges import CASES, COUNTS, cfg_of, clip_of, net_of
from helpers.source import ROOT
from slowfast.engine.optimization.layer_decay import layer_scales
from slowfast.engine.prepare import classifier
from slowfast.models import BRIDGES, MODELS, FrameFlexible, build_model
from slowfast.models.flexible import specialize

DENSE = ("PTVCSN", "PTVR2plus1D", "PTVResNet-slow", "PTVResNet-i3d", "PTVSlowFast", "PTVX3D")
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


# ---------------------------------------------------------------------------- fine-tuning


@every_bridge
def test_the_classifier_is_found_and_lies_in_the_top_layer(case):
    net = net_of(case, "FFN.ENABLE", False)
    head, scales = classifier(net, 5), layer_scales(net, 0.5)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert {scales[names[id(parameter)]] for parameter in head.parameters()} == {1.0}
    depth = len(set(scales.values()))
    assert depth >= 5 and min(scales.values()) == 0.5 ** (depth - 1)
