"""TSN against mmaction."""

import pytest
import torch

from helpers.fixture_weights import fill_state_dict, input_tensor, read_fixture
from helpers.parity import close
from slowfast.models import TSN
from slowfast.weights import load_weights


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_logits_equal_those_of_mmaction(depth):
    record = read_fixture(f"tsn_r{depth}")
    net = TSN(depth, num_classes=200).eval()
    report = load_weights(net, fill_state_dict(record["layout"]))
    assert len(report.loaded) == len(record["layout"]) == len(net.state_dict())
    for case in record["cases"]:
        clip = input_tensor(case["input"], case["shape"]).transpose(1, 2)
        close(net(clip), case["logits"])
