"""Our YAMLs under PySlowFast's names against PySlowFast's networks."""

import json

import pytest
import torch
from torch import Tensor, nn

from helpers.fixture_weights import FIXTURES, fill_state_dict, input_tensor
from helpers.source import ROOT
from slowfast.config import load_cfg
from slowfast.models import SlowFast, build_model, to_scores

NAMES = sorted(path.stem for path in (FIXTURES / "zoo").glob("*.json"))
SLOW_AT_NATIVE_SIZE = set(NAMES) - {"Kinetics_X3D_S", "Kinetics_X3D_XS"}  # over 3 s on a core

# Parameters and state-dict entries of PySlowFast's networks at the sizes of their YAMLs.
SIZES = {
    "Kinetics/C2D_8x8_R50": (24_327_632, 320),
    "Kinetics/I3D_8x8_R50": (28_043_472, 320),
    "Kinetics/I3D_NLN_8x8_R50": (35_401_936, 385),
    "Kinetics/SLOW_4x16_R50": (32_454_096, 320),
    "Kinetics/SLOW_8x8_R50": (32_454_096, 320),
    "Kinetics/SLOW_NLN_8x8_R50": (39_812_560, 385),
    "Kinetics/SLOWFAST_4x16_R50": (34_480_216, 662),
    "Kinetics/SLOWFAST_8x8_R50": (34_566_488, 662),
    "Kinetics/SLOWFAST_NLN_8x8_R50": (41_838_680, 727),
    "Kinetics/c2/SLOWFAST_16x8_R101_50_50": (53_774_808, 1274),
    "Kinetics/c2/SLOWFAST_NLN_16x8_R101_50_50": (60_080_088, 1313),
    "SSv2/SLOWFAST_16x8_R50": (34_045_558, 662),
    "Kinetics/X3D_XS": (3_794_322, 568),
    "Kinetics/X3D_S": (3_794_322, 568),
    "Kinetics/X3D_M": (3_794_322, 568),
    "Kinetics/X3D_L": (6_153_432, 1146),
    "Kinetics/MVIT_B_16x4_CONV": (36_610_672, 313),
    "Kinetics/MVITv2_S_16x4": (34_537_744, 397),
}


def record_of(name: str) -> dict:
    return json.loads((FIXTURES / "zoo" / f"{name}.json").read_text())


def network(record: dict, overrides: list, layout: dict) -> nn.Module:
    """The network of the record's YAML with the fixture's weights, under exactly its names."""
    net = build_model(load_cfg(ROOT / record["config"], overrides)).eval()
    state = fill_state_dict(layout)
    assert set(net.state_dict()) == set(state)
    net.load_state_dict(state)
    return net


@pytest.fixture(scope="module", params=NAMES)
def small(request):
    """A record and its network at the record's small crops."""
    record = record_of(request.param)
    return record, network(record, record["overrides"], record["layout"])


def at_native_size(overrides: list) -> list:
    """The overrides that leave the crops of the YAML."""
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return [word for pair in pairs if not pair[0].endswith("_CROP_SIZE") for word in pair]


def logits_of(net: nn.Module, run: dict) -> Tensor:
    clips = [input_tensor(i["name"], i["shape"]) for i in run["inputs"]]
    with torch.no_grad():
        return net.forward_pathways(*clips) if isinstance(net, SlowFast) else net(*clips)


def assert_published(logits: Tensor, run: dict) -> None:
    """The logits, of the first position if dense, to 1e-4 of their scale; and the scores."""
    scale = run["logits_std"]
    expected = torch.tensor(run["logits_first20"])
    first = logits[0].reshape(-1, logits.shape[-1])[0, :20]
    torch.testing.assert_close(first, expected, atol=1e-4 * scale, rtol=0)
    scores = to_scores(logits)
    expected = torch.tensor(run["output_first20"])
    torch.testing.assert_close(scores[0, :20], expected, atol=1e-9, rtol=5e-4 * scale)
    assert scores.double().sum().item() == pytest.approx(run["output_sum"], abs=1e-5)


def test_the_published_weights_have_a_place_each_and_no_other_parameter_exists(small):
    record, net = small
    assert sum(parameter.numel() for parameter in net.parameters()) == record["params"]


def test_logits_and_scores_of_a_small_crop_are_the_published(small):
    record, net = small
    assert_published(logits_of(net, record["small"]), record["small"])


def test_logits_and_scores_of_a_crop_larger_than_the_head_window_are_the_published(small):
    record, net = small
    if "fully_conv" in record:  # MViT has no window
        logits = logits_of(net, record["fully_conv"])
        assert logits.ndim == 3
        assert_published(logits, record["fully_conv"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_AT_NATIVE_SIZE else [])
        for name in NAMES
        if "native" in record_of(name)
    ],
)
def test_logits_and_scores_at_the_published_size_are_the_published(name):
    record = record_of(name)
    run = record["native"]
    layout = record["layout"] | run.get("layout_differs", {})
    net = network(record, at_native_size(record["overrides"]), layout)
    assert sum(parameter.numel() for parameter in net.parameters()) == run["params"]
    assert_published(logits_of(net, run), run)


@pytest.mark.parametrize("name", SIZES)
def test_a_yaml_of_the_published_name_makes_a_network_of_the_published_size(name):
    with torch.device("meta"):
        net = build_model(load_cfg(ROOT / f"configs/{name}.yaml"))
    found = sum(parameter.numel() for parameter in net.parameters()), len(net.state_dict())
    assert found == SIZES[name]
