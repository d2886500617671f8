"""The model zoo page says what the configurations build, and cites the authors' numbers only."""

from functools import cache

import pytest
import torch
from torch import nn

from helpers.source import ROOT, files
from slowfast.config import load_cfg
from slowfast.models import build_model
from slowfast.report import gflops
from slowfast.weights import FORMATS
from tools import model_zoo

PAGE = model_zoo.PAGE.read_text(encoding="utf-8")
CONFIGURATIONS = model_zoo.configurations()
KNOWN = model_zoo.published()


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def test_every_configuration_has_a_row():
    shipped = [p for p in files("configs", "projects", suffixes=(".yaml",)) if p.name[0] != "_"]
    assert sorted(CONFIGURATIONS) == sorted(shipped)
    for path in shipped:
        assert f"| [{path.stem}]({path.relative_to(ROOT).as_posix()}) |" in PAGE


@pytest.mark.parametrize("path", CONFIGURATIONS[::12], ids=lambda path: path.stem)
def test_a_row_is_what_its_configuration_says(path):
    assert line(model_zoo.row(path, KNOWN.get(path, ()))) in PAGE


@pytest.mark.slow
def test_the_page_is_what_all_configurations_say():
    assert model_zoo.main(["--check"]) == 0


def test_the_page_has_no_other_rows():
    links = [text for text in PAGE.splitlines() if text.startswith("| [")]
    assert len(links) == len(set(links)) == len(CONFIGURATIONS)


def test_the_head_and_the_networks_are_up_to_date():
    assert PAGE.startswith(model_zoo.HEAD)
    for cells in model_zoo.networks():
        assert line(cells) in PAGE


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: path.stem)
def test_published_weights_are_in_their_row_with_a_format_that_loads(path):
    (row,) = [
        text for text in PAGE.splitlines() if f"({path.relative_to(ROOT).as_posix()})" in text
    ]
    for entry in KNOWN[path]:
        assert f"{entry.top1} ({entry.views}) [{entry.source}]" in row or not entry.views
        assert f"\n[{entry.source}]: https://" in PAGE
        assert not entry.checkpoint or f"({entry.format})" in row and entry.format in FORMATS


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ('[["A"]]\ntop1 = "1"\nsource = "X"', "'X' is none of P"),
        ('[["B"]]\ntop1 = "1"\nsource = "P"', "there is no"),
    ],
)
def test_an_entry_without_a_source_or_a_configuration_is_an_error(tmp_path, entry, error):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/A.yaml").touch()
    text = f'[sources]\nP = "https://example.org"\n{entry}\n'
    (tmp_path / "configs/published.toml").write_text(text)
    with pytest.raises(ValueError, match=error):
        model_zoo.published(tmp_path)


def test_a_page_that_is_out_of_date_makes_the_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model_zoo, "page", lambda: "new")
    monkeypatch.setattr(model_zoo, "PAGE", tmp_path / "MODEL_ZOO.md")
    for text in ("", "old"):
        model_zoo.PAGE.write_text(text)
        assert model_zoo.main(["--check"]) == 1
        assert "not what the configurations say" in capsys.readouterr().err
        assert model_zoo.PAGE.read_text() == text
    assert model_zoo.main([]) == model_zoo.main(["--check"]) == 0


# ---------------------------------------------------------------------------- multiply-adds

# What fvcore counted on the original networks, norms included, in 1e9: YAML, frames, crop.
# Not here are two that compute otherwise: dot-product non-local blocks skip the matrix of all pairs
# (0.87 of the original), MViTv2 looks its relative positions up inside attention (1.07).
FVCORE = {
    ("Kinetics/C2D_8x8_R50", 8, 224): 19.623849984,
    ("Kinetics/I3D_8x8_R50", 8, 224): 28.538318848,
    ("Kinetics/I3D_NLN_8x8_R50", 8, 224): 36.677267456,
    ("Kinetics/SLOW_8x8_R50", 8, 224): 41.918652416,
    ("Kinetics/SLOWFAST_4x16_R50", 32, 224): 27.819700224,
    ("Kinetics/SLOWFAST_4x16_R50", 32, 256): 36.338417664,
    ("Kinetics/SLOWFAST_8x8_R50", 32, 224): 50.581741568,
    ("SSv2/SLOWFAST_16x8_R50", 64, 224): 101.16,
    ("Kinetics/X3D_XS", 4, 160): 0.626453312,
    ("Kinetics/X3D_S", 13, 160): 2.031781712,
    ("Kinetics/X3D_M", 16, 224): 4.90,
    ("Kinetics/MVIT_B_16x4_CONV", 16, 224): 70.803884928,
}
PAPERS = {  # as the papers print them, without norms
    ("Kinetics/SLOWFAST_8x8_R50", 32, 256): 65.7,
    ("Kinetics/SLOWFAST_4x16_R50", 32, 256): 36.1,
    ("Kinetics/X3D_M", 16, 224): 4.73,
    ("SSv1/UNIFORMER_S16", 16, 224): 41.8,
}


@cache
def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(load_cfg(ROOT / f"configs/{name}.yaml")).eval()


def gflops_and_norms(model: nn.Module, clip_shape: tuple[int, ...]) -> float:
    """As fvcore counts them: 2 per value of a BatchNorm, 5 of a LayerNorm."""
    counts, hooks = [], []
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm3d, nn.BatchNorm2d, nn.LayerNorm)):
            cost = 5 if isinstance(module, nn.LayerNorm) else 2
            hook = lambda _, __, output, cost=cost: counts.append(cost * output.numel())  # noqa: E731
            hooks.append(module.register_forward_hook(hook))
    counted = gflops(model, clip_shape)
    for hook in hooks:
        hook.remove()
    return counted + sum(counts) / 1e9


@pytest.mark.parametrize("case", FVCORE, ids=lambda case: f"{case[0]}-{case[2]}")
def test_multiply_adds_and_norms_are_those_of_the_original_networks(case):
    name, num_frames, size = case
    counted = gflops_and_norms(on_meta(name), (1, 3, num_frames, size, size))
    assert counted == pytest.approx(FVCORE[case], rel=2e-3)


@pytest.mark.parametrize("case", PAPERS, ids=lambda case: f"{case[0]}-{case[2]}")
def test_multiply_adds_are_those_of_the_papers(case):
    name, num_frames, size = case
    counted = gflops(on_meta(name), (1, 3, num_frames, size, size))
    assert counted == pytest.approx(PAPERS[case], rel=5e-3)
