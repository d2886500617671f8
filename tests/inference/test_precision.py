"""Networks in 16 bits say what those in 32 say, as far as their digits go."""

import pytest
import torch

import slowfast
from helpers.recognizers import write_network
from slowfast.inference import precision
from slowfast.inference.budget import place
from slowfast.models import final_logits
from slowfast.models.flexible import specialize
from tests.models.test_build import BACKBONES, clip_of
from tests.models.test_specialize import trained_net
from tools import measure, predict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.safetensors"
    write_network(path)
    return path


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_every_network_computes_in_bf16(name):
    model = trained_net(name)
    clip = clip_of(4, 2)
    expected = final_logits(model(clip))
    found = precision.ToLogits(specialize(model, 4), torch.bfloat16)(clip)
    assert found.dtype == torch.float32
    error = (found - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.05  # 8 binary digits, over up to 50 layers


@pytest.mark.parametrize("bits", ["bf16", "fp16"])
def test_a_recognizer_predicts_in_16_bits(path, motion, bits):
    video = motion / "val/00000.mp4"
    model, exact = slowfast.load(path, precision=bits), slowfast.load(path)
    parameters = {p.dtype for p in model.at(4).parameters()}
    assert parameters == {precision.PRECISIONS[bits]}
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    clip = model.read(video, 4)
    scores, expected = model.scores(clip), exact.scores(clip)
    assert scores.dtype == torch.float32 and not torch.equal(scores, expected)
    torch.testing.assert_close(scores, expected, rtol=0.05, atol=0.01)


def test_times_are_kept_per_precision(path):
    exact, rounded = slowfast.load(path), slowfast.load(path, precision="bf16")
    rounded.tables = [exact.measure(0.1)]
    assert rounded.costs is None
    table = rounded.measure(0.1)
    assert rounded.costs is table and len(rounded.tables) == 2
    assert table.place == place("cpu", "bf16") and str(table.place).endswith(", bf16")


def test_the_commands_take_a_precision(path, motion, capsys):
    assert measure.main([str(path), "--seconds", "0.1", "--device", "cpu"]) == 0
    options = ["--precision", "bf16", "--device", "cpu"]
    assert measure.main([str(path), "--seconds", "0.1", *options]) == 0
    assert "bf16" in capsys.readouterr().out
    assert [t.place.precision for t in slowfast.load(path).tables] == ["fp32", "bf16"]
    assert predict.main([str(path), str(motion / "val/00000.mp4"), *options]) == 0


def test_an_unknown_precision_is_refused(path):
    with pytest.raises(ValueError, match="no precision 'int4'; choose one of fp32, bf16, fp16"):
        slowfast.load(path, precision="int4")


@pytest.mark.parametrize(("has", "warned"), [({"avx512_bf16": True}, False), ({}, True)])
def test_a_format_that_the_processor_lacks_is_warned_of(path, monkeypatch, caplog, has, warned):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    slowfast.load(path, precision="bf16")
    assert ("does not compute in bf16 itself" in caplog.text) == warned
    assert precision.is_native("fp32", CPU)
