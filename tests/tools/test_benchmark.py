import json
from functools import partial

import pytest
import torch

from slowfast.models import FrameFlexible, R2Plus1D, SlowFast, UniFormer
from tools import benchmark


@pytest.fixture
def tiny(monkeypatch):
    make = partial(R2Plus1D, num_classes=174, widths=(4,), blocks=(1,))
    monkeypatch.setattr(benchmark, "NETWORKS", {"tiny": (make, (1, 2))})
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_way_to_train_is_timed_against_the_others(tiny, tmp_path, capsys):
    path = tmp_path / "rows.json"
    benchmark.main(["step", "--size", "16", "--repeats", "1", "--json", str(path)])
    rows = {row["way"]: row for row in json.loads(path.read_text())["rows"]}
    assert tuple(rows) == benchmark.WAYS
    assert rows["high"]["over_high"] == rows["baseline"]["over_baseline"] == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == list(rows["high"])
    assert len({len(line) for line in printed[1:]}) == 1


def test_memory_is_that_above_the_level_before_the_step(tiny):
    args = benchmark.parse_args(["memory", "--size", "64", "--batch", "16"])
    assert 0 < benchmark.measure_peak("tiny", "joint", args) < 4096


@pytest.mark.parametrize("way", benchmark.WAYS)
def test_every_way_gives_a_gradient_to_the_shared_layers(tiny, way):
    trainer = benchmark.Trainer("tiny", batch=2, size=16, device="cpu")
    trainer.step(way)
    assert trainer.model.net.projection.weight.grad.norm() > 0


@pytest.mark.parametrize(
    "net", [SlowFast(depth=18, width=16, num_classes=3), UniFormer(3, depth=[1, 1, 1, 1])]
)
def test_the_baseline_computes_the_same_logits(net):
    model = FrameFlexible(net, num_frames=(2, 4)).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        expected = model(clip)
        with benchmark.as_the_originals():
            assert torch.allclose(model(clip), expected, atol=1e-5)
