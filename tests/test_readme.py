"""The README's Python runs as it stands, from top to bottom."""

import re
import runpy
from pathlib import Path

import torch

from helpers.runs import tiny_cfg
from helpers.videos import write_grey_video
from slowfast.models import build_model
from slowfast.weights import save

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
PREDICT, NETWORK, TRAINING, WEIGHTS = BLOCKS


def test_the_python_of_the_readme_runs_and_trains(tmp_path):
    remember = "before = [p.detach().clone() for p in model.parameters()]\n"
    script = tmp_path / "readme.py"
    script.write_text(NETWORK + remember + TRAINING)
    scope = runpy.run_path(str(script))
    assert scope["logits"].shape == (2, 10)
    pairs = zip(scope["before"], scope["model"].parameters(), strict=True)
    assert all(not torch.equal(before, after) for before, after in pairs)


@torch.inference_mode()
def test_the_readme_saves_loads_and_specialises_a_network(tmp_path, monkeypatch):
    (tmp_path / "projects").symlink_to(ROOT / "projects")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "readme.py"
    script.write_text(WEIGHTS)
    scope = runpy.run_path(str(script))
    clip = torch.randn(1, 3, 8, 64, 64)
    torch.testing.assert_close(scope["fast"](clip), scope["model"](clip), atol=1e-4, rtol=1e-4)


def test_the_readme_predicts_at_any_frame_count_and_within_a_budget(tmp_path, monkeypatch):
    cfg = tiny_cfg(tmp_path, tmp_path)
    for path in re.findall(r'"([^"]+/[^"]+)"', PREDICT):
        (tmp_path / path).parent.mkdir(parents=True)
        if path.endswith(".mp4"):
            write_grey_video(tmp_path / path, 12)
        else:
            save(build_model(cfg), cfg, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "readme.py"
    budget = 'clip = "data/mine/opening a door/01.mp4"\n' + PREDICT.replace("=20", "=20_000")
    script.write_text(budget)
    assert runpy.run_path(str(script))["found"].num_frames == 4


def test_files_the_readme_names_are_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named = re.findall(r"(?:configs|projects|tools)/[\w/]+\.(?:py|yaml)", README)
    missing = [path for path in {*links, *named} if not (ROOT / path).exists()]
    assert not missing
