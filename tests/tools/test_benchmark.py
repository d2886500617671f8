"""The rows of the benchmarks at tiny sizes; no test measures time."""

import json
from datetime import date

import pytest
import torch
from torch import nn

from slowfast.config import load_cfg
from slowfast.engine.benchmark import (
    LAYERS,
    WAYS,
    Setting,
    inference,
    layers,
    time_layer,
    training,
)
from slowfast.engine.benchmark.timing import check_equal, take_turns
from slowfast.layers.conv import Conv2d, Conv3d
from slowfast.models import FrameFlexible, SlowFast, UniFormer
from tools import benchmark

TINY = """
FFN: {ENABLE: True, NUM_FRAMES: [1, 2]}
MODEL: {MODEL_NAME: R2Plus1D, NUM_CLASSES: 5, DROPOUT_RATE: 0.0}
R2PLUS1D: {WIDTHS: [4, 8], BLOCKS: [1, 1]}
"""
SIZES = """
DATA: {TRAIN_CROP_SIZE: 64, TEST_CROP_SIZE: 64, TRAIN_JITTER_SCALES: [64, 64]}
TEST: {SIZES: [64]}
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "TINY_FFN.yaml"
    path.write_text(TINY)
    before = torch.get_num_threads()
    yield path
    torch.set_num_threads(before)


def rows_of(what: str, path, *options: str) -> list[dict]:
    """What the command line writes for a tiny network."""
    result = path.parent / "rows.json"
    benchmark.main([what, "--cfg", str(path), "--repeats", "1", "--json", str(result), *options])
    return json.loads(result.read_text())["rows"]


def cases(name: str) -> list[layers.Case]:
    """All cases of the shipped tables, without their data."""
    return list(LAYERS[name]("meta"))


# ---------------------------------------------------------------------------- command line


def test_every_way_to_train_is_timed_against_the_others(tiny, capsys):
    rows = rows_of("step", tiny, "--size", "16")
    by_way = {row["way"]: row for row in rows}
    assert tuple(by_way) == WAYS
    assert {row["network"] for row in rows} == {"TINY_FFN"}
    assert by_way["high"]["over_high"] == by_way["baseline"]["over_baseline"] == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "step: batch 2, 16 px, cpu, 1 threads"
    assert printed[1].split() == list(rows[0])
    assert len({len(line) for line in printed[1:]}) == 1


def test_settings_take_turns_and_are_compared_with_the_first(tiny):
    options = ["--size", "16", "--ways", "high", "joint", "--precision", "fp32", "bf16"]
    rows = rows_of("step", tiny, *options, "--channels-last", "off", "on")
    assert [(row["precision"], row["channels_last"], row["way"]) for row in rows] == [
        (precision, layout, way)
        for precision in ("fp32", "bf16")
        for layout in ("off", "on")
        for way in ("high", "joint")
    ]
    for row in rows:
        first = next(other for other in rows if other["way"] == row["way"])
        assert row["over_first"] == pytest.approx(row["cpu_s"] / first["cpu_s"])
        assert row["videos_per_s"] == pytest.approx(2 / row["wall_s"])
        assert "over_baseline" not in row


@pytest.mark.gpu
@pytest.mark.parametrize("what", ["step", "memory"])
def test_settings_are_measured_on_the_gpu(tiny, what):
    options = ["--device", "cuda", "--size", "32", "--precision", "bf16", "--compile", "off", "on"]
    rows = rows_of(what, tiny, *options, "--channels-last", "off", "on", "--ways", "per_rate")
    assert len(rows) == 4


@pytest.mark.slow
def test_memory_is_measured_in_every_setting(tiny):
    rows = rows_of("memory", tiny, "--size", "16", "--ways", "joint", "--precision", "fp32", "bf16")
    assert [row["precision"] for row in rows] == ["fp32", "bf16"]


def test_rows_without_a_file_name_go_to_one_with_date_and_device(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    benchmark.main(["step", "--cfg", str(tiny), "--size", "16", "--repeats", "1", "--json"])
    (path,) = (tmp_path / "benchmarks").iterdir()
    assert path.name == f"{date.today().isoformat()}_step_cpu.json"
    kept = json.loads(path.read_text())
    assert kept["rows"] and kept["device"].startswith("cpu (torch")


def test_a_file_is_named_after_the_device():
    path = benchmark.dated_path("step", "NVIDIA H100 80GB HBM3 (torch 2.13.0, cuDNN 92000)")
    assert path.name.endswith("_step_nvidia-h100-80gb-hbm3.json")


def test_a_network_is_timed_at_every_rate_in_every_way(tiny):
    rows = rows_of("inference", tiny, "--size", "16")
    times = {(row["frames"], row["way"]): row["ms"] for row in rows}
    assert {1, 2} == {frames for frames, _ in times}
    assert {"baseline", "flexible", "specialised"} <= {way for _, way in times}
    for row in rows:
        for other in ("baseline", "flexible"):
            ratio = times[row["frames"], other] / row["ms"]
            assert row[f"over_{other}"] == pytest.approx(ratio)


@pytest.fixture
def tiny_sizes(tiny):
    """The same network for pairs with sizes of 32 and 64 pixels."""
    tiny.write_text(TINY.replace("[1, 2]", "[1, 2], SIZES: [32, 64]") + SIZES)
    return tiny


def test_trained_sizes_stay_the_same_shares_of_the_size_that_is_measured(tiny_sizes):
    assert benchmark.config(tiny_sizes, size=32).FFN.SIZES == [16, 32]
    with pytest.raises(ValueError, match=r"FFN.SIZES = \[0, 1\]"):
        benchmark.config(tiny_sizes, size=1)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_trains_every_pair_of_frames_and_size_or_the_highest_alone(tiny_sizes, way):
    trainer = training.Trainer(benchmark.config(tiny_sizes, size=32), batch=2)
    trainer.step(way)
    gradients = [(n, p.grad) for n, p in trainer.model.named_parameters() if ".copies." in n]
    tags = {
        tag
        for tag in trainer.model.rates.tags
        for n, g in gradients
        if g is not None and f".copies.{tag}." in n
    }
    assert tags == ({"2x32"} if way == "high" else {"1x16", "1x32", "2x16", "2x32"})


def test_a_network_of_several_sizes_is_timed_at_every_pair(tiny_sizes):
    rows = rows_of("inference", tiny_sizes, "--size", "32")
    assert [r["frames"] for r in rows if r["way"] == "flexible"] == ["1x16", "2x16", "1x32", "2x32"]


def test_memory_is_that_above_the_level_before_the_step(tiny):
    cfg = benchmark.config(tiny, size=64)
    assert 0 < training.measure_peak(cfg, "joint", batch=16, threads=1) < 4096


def test_the_shipped_configurations_are_the_default():
    for what, (paths, batch, size) in benchmark.DEFAULTS.items():
        args = benchmark.parse_args([what])
        assert (args.batch, args.size) == (batch, size)
        assert args.cfg == [benchmark.FFN / path for path in paths]
        assert all(path.is_file() for path in args.cfg)


def test_the_choices_of_the_command_line_are_those_of_the_engine():
    assert benchmark.WAYS == WAYS
    assert benchmark.LAYERS == tuple(LAYERS)


def test_a_plain_configuration_is_refused(tiny):
    tiny.write_text(TINY.replace("True", "False"))
    with pytest.raises(ValueError, match="FFN.ENABLE"):
        benchmark.config(tiny, size=16)


# ---------------------------------------------------------------------------- training


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("setting", [Setting(), Setting("bf16", "off", "on"), Setting("fp16")])
def test_every_way_trains_the_shared_layers(tiny, way, setting):
    trainer = training.Trainer(benchmark.config(tiny, size=16), batch=2, setting=setting)
    before = trainer.model.net.projection.weight.clone()
    trainer.step(way)
    assert not torch.equal(trainer.model.net.projection.weight, before)


@pytest.mark.parametrize("compile", ["off", "on"])
def test_the_network_is_compiled_where_asked(tiny, monkeypatch, compile):
    seen = []
    monkeypatch.setattr(training, "compiled", seen.append)
    setting = Setting(compile=compile)
    trainer = training.Trainer(benchmark.config(tiny, size=16), batch=2, setting=setting)
    assert seen == ([trainer.model] if compile == "on" else [])


def test_only_the_highest_rate_trains_alone(tiny):
    trainer = training.Trainer(benchmark.config(tiny, size=16), batch=2)
    trainer.step("high")
    gradients = {name: p.grad for name, p in trainer.model.named_parameters() if ".copies." in name}
    assert all((g is None) == (".copies.1." in name) for name, g in gradients.items())


@pytest.mark.parametrize(
    "net", [SlowFast(depth=18, width=16, num_classes=3), UniFormer(3, depth=[1, 1, 1, 1])]
)
def test_the_baseline_computes_the_same_logits(net):
    model = FrameFlexible(net, num_frames=(2, 4)).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        expected = model(clip)
        with training.as_the_originals():
            assert torch.allclose(model(clip), expected, atol=1e-5)


# ---------------------------------------------------------------------------- layers


def small_cases() -> list[layers.Case]:
    convolutions = [
        Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0)),
        Conv3d(4, 8, (1, 3, 3), padding=(0, 1, 1)),
        Conv3d(4, 4, 3, padding=1, groups=4),
        Conv3d(4, 8, (5, 1, 1), (2, 1, 1), (2, 0, 0)),
    ]
    x = torch.randn(2, 4, 4, 5, 5)
    q, k = torch.randn(1, 2, 9, 4), torch.randn(1, 2, 5, 4)
    return [
        layers.shift_case(torch.randn(6, 16, 5, 5), num_frames=3),
        layers.gain_case(x),
        layers.attention_case(q, k, k.clone()),
        *(layers.conv_case("small", layer, x) for layer in convolutions),
        layers.conv_case("small", Conv2d(4, 8, 1), x[:, :, 0]),
    ]


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: f"{case.layer} {case.size}")
def test_a_layer_is_timed_in_all_its_forms(case):
    rows = time_layer(case, repeats=1)
    assert [row["form"] for row in rows] == list(case.forms)
    for column, ours in zip(layers.COLUMNS, case.ours, strict=True):
        assert rows[0][f"{column}_ratio"] == 1
        assert [row["form"] for row in rows if "ours" in row[f"{column}_mark"]] == [ours]
        fastest = min(rows, key=lambda row: row[f"{column}_ms"])
        assert [row for row in rows if "fastest" in row[f"{column}_mark"]] == [fastest]


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: f"{case.layer} {case.size}")
@pytest.mark.parametrize("wrong", ["output", "gradient"])
def test_a_form_that_is_wrong_is_not_timed(case, wrong):
    *_, last = case.forms
    run, inputs = case.forms[last]

    def broken(*tensors):
        y = run(*tensors)
        return (
            y + 0.01 * y.detach().abs().max() if wrong == "output" else y + 0.01 * (y - y.detach())
        )

    case.forms[last] = layers.Form(broken, inputs)
    with pytest.raises(ValueError, match=f"'{last}' differs"):
        time_layer(case, repeats=1)


@pytest.mark.parametrize("name", LAYERS)
def test_every_shipped_case_names_the_form_the_networks_take(name):
    assert cases(name)
    for case in cases(name):
        assert set(case.ours) <= set(case.forms)
        assert len(case.forms) > 1


# ---------------------------------------------------------------------------- inference and clocks


def test_a_specialised_network_with_other_logits_is_not_timed(tiny, monkeypatch):
    def wrong(model, num_frames, size):
        net = specialize(model, num_frames, size=size)
        net.projection.bias.data[0] += 1
        return net

    specialize = inference.specialize
    monkeypatch.setattr(inference, "specialize", wrong)
    with pytest.raises(ValueError, match="'specialised' differs"):
        inference.time_inference(benchmark.config(tiny, size=16), batch=1, repeats=1)


def test_rates_differ_in_a_network_as_if_trained():
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(1))
    model = inference.as_if_trained(FrameFlexible(net, (2, 4)))
    low, high = model((torch.ones(1, 3, 2, 4, 4), torch.ones(1, 3, 4, 4, 4)))
    assert not torch.allclose(low, high, atol=1e-3)


def test_runs_take_turns_after_one_to_warm_up():
    order = []
    times = take_turns({name: lambda name=name: order.append(name) for name in "ab"}, repeats=2)
    assert order == list("ababab")
    assert set(times) == {"a", "b"}


def test_no_median_of_no_turns():
    with pytest.raises(ValueError, match="repeats=0"):
        take_turns({}, repeats=0)


def test_results_may_differ_by_rounding_of_their_scale_only():
    a = torch.tensor([1000.0, 0.0])
    check_equal("x", {"a": [a], "b": [a + 0.05]}, tolerance=1e-4)
    for b in (a + 0.2, a * torch.nan):
        with pytest.raises(ValueError, match="tensor 0 of 'b' differs from that of 'a'"):
            check_equal("x", {"a": [a], "b": [b]}, tolerance=1e-4)


def test_measured_networks_run_in_32_bits(tiny):
    tiny.write_text(TINY + "TRAIN: {MIXED_PRECISION: True}\n")
    assert load_cfg(tiny).TRAIN.MIXED_PRECISION
    assert not benchmark.config(tiny, size=16).TRAIN.MIXED_PRECISION
