"""Video Swin against the authors' network: names, stages, maps and logits."""

import pytest
import torch

from helpers.fixture_weights import fill_state_dict, input_tensor, read_fixture
from helpers.parity import assert_like
from slowfast.layers.window_attention import window_index
from slowfast.models.video_swin import SIZES, VideoSwin
from slowfast.report.cost import gflops, parameters

RECORD = read_fixture("video_swin")
PATCH = {"tiny": (2, 4, 4), "tiny_p444": (4, 4, 4)}
LARGE = 16 * 112 * 112  # pixels of a clip, from which on a case takes seconds
CASES = [
    pytest.param(
        name,
        case,
        id=f"{name}-{case['input']}",
        marks=[pytest.mark.slow] if torch.tensor(case["shape"][3:]).prod() > LARGE else [],
    )
    for name, record in RECORD.items()
    for case in record["cases"]
]


@pytest.fixture(scope="module")
def nets():
    """The networks of the record with its weights, under exactly its names."""
    made = {}
    for name, record in RECORD.items():
        made[name] = VideoSwin(**SIZES["T"], patch=PATCH[name]).eval()
        state = fill_state_dict(record["layout"])
        assert made[name].state_dict().keys() == state.keys()
        made[name].load_state_dict(state)
    return made


@pytest.mark.parametrize("name, case", CASES)
@torch.no_grad()
def test_stages_map_and_logits_are_the_authors(nets, name, case):
    net, stages = nets[name], []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, y: stages.append(y.movedim(-1, 1)))
        for layer in net.backbone.layers
    ]
    logits, features = net(input_tensor(case["input"], case["shape"]).flatten(0, 1), "map")
    for hook in hooks:
        hook.remove()
    for found, expected in zip(stages, case["stages"], strict=True):
        assert_like(found, expected)
    assert_like(features, case["feature"])
    expected = torch.tensor(case["logits"])
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", RECORD)
def test_the_table_of_positions_is_read_in_the_authors_order(name):
    expected, index = RECORD[name]["index"], window_index((8, 7, 7))
    assert list(index.shape) == expected["shape"] and index.sum().item() == expected["sum"]
    assert index.double().norm().item() == pytest.approx(expected["l2"])
    assert index.flatten()[-4:].tolist() == expected["last"]


# Millions of parameters with 400 classes, and billions of multiply-adds of 32 frames of 112 and 224
# pixels: numbers of the authors' network.
@pytest.mark.parametrize(
    "size, millions, small, large",
    [("T", 28.2, 22.7, 87.8), ("S", 49.8, 42.2, 165.7), ("B", 88.0, 71.8, 281.3)],
)
def test_parameters_and_cost_of_a_size_are_the_authors(size, millions, small, large):
    with torch.device("meta"):
        net = VideoSwin(**SIZES[size])
    assert parameters(net) / 1e6 == pytest.approx(millions, abs=0.051)
    for pixels, expected in ((112, small), (224, large)):
        assert gflops(net, (1, 3, 32, pixels, pixels)) == pytest.approx(expected, rel=0.005)
