"""The README's Python runs as it stands, from top to bottom."""

import re
import runpy
from pathlib import Path

import torch

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_of_the_readme_runs_and_trains(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    remember = "before = [p.detach().clone() for p in model.parameters()]\n"
    script = tmp_path / "readme.py"
    script.write_text(blocks[0] + remember + blocks[1])
    scope = runpy.run_path(str(script))
    assert scope["logits"].shape == (2, 10)
    pairs = zip(scope["before"], scope["model"].parameters(), strict=True)
    assert all(not torch.equal(before, after) for before, after in pairs)


def test_files_the_readme_names_are_there():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named = re.findall(r"(?:configs|projects|tools)/[\w/]+\.(?:py|yaml)", README)
    missing = [path for path in {*links, *named} if not (root / path).exists()]
    assert not missing
