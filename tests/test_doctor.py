"""`slowfast doctor` finds what is broken, and the command `slowfast` finds its scripts."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch

from helpers.source import ROOT
from slowfast import cli, doctor
from slowfast.datasets.video.pyav import PyAVVideo
from slowfast.doctor import machine, packages, video
from slowfast.doctor.findings import Finding


@pytest.fixture(scope="module")
def healthy():
    """What the doctor finds here; packages that are not needed are not imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "importable", lambda name: ("absent", "is not installed"))
        return list(doctor.examine())


@pytest.fixture
def quick(monkeypatch, healthy):
    monkeypatch.setattr(doctor, "examine", lambda: iter(healthy))


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def fields(check) -> dict[str, Finding]:
    return by_name(Finding("", *found) for found in check())


# ---------------------------------------------------------------------------- what it finds


def test_all_that_is_required_works_here(healthy):
    assert not [finding for finding in healthy if finding.state == "failed"]
    found = by_name(healthy)
    assert found["torch"].value == torch.__version__
    assert found["PyAV"].state == found["images"].state == "ok"
    assert "h264" in found["decodes"].value
    assert found["frame-flexible, folded"].state == "ok"
    sections = [finding.section for finding in healthy]
    assert list(dict.fromkeys(sections)) == [
        *("versions", "packages", "video", "devices", "network", "this folder", "optional")
    ]


def test_the_versions_of_the_last_tests_stand_beside(healthy):
    tested = by_name(healthy)["numpy"].tested
    assert f"numpy=={tested}\n" in (ROOT / "requirements.txt").read_text()


def test_a_missing_package_fails_with_the_command_for_it(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: _version(name, lacking="av"))
    found = fields(packages.of_packages)
    assert found["av"].state == "failed"
    assert re.fullmatch(r"pip install 'av>=\d+'", found["av"].advice)
    assert found["tqdm"].state != "failed"


def _version(name: str, lacking: str) -> str:
    if name == lacking:
        raise metadata.PackageNotFoundError(name)
    return metadata.distribution(name).version


@pytest.mark.parametrize(("version", "state"), [("1.20", "failed"), ("99.0", "note")])
def test_a_version_too_old_fails_and_an_untested_one_is_noted(monkeypatch, version, state):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert fields(packages.of_packages)["numpy"].state == state


def test_a_back_end_that_gives_other_frames_fails(monkeypatch):
    read = PyAVVideo._read
    monkeypatch.setattr(PyAVVideo, "_read", lambda self, ranks: read(self, np.maximum(ranks, 2)))
    found = fields(video.of_backends)
    assert found["PyAV"].state == "failed"
    assert found["PyAV"].value == "asked for [9, 0, 4, 11], got [9, 2, 4, 11]"
    assert found["images"].state == "ok"


def test_networks_whose_folded_logits_differ_fail(monkeypatch):
    import slowfast.models.flexible as flexible

    monkeypatch.setattr(flexible, "specialize", lambda model, frames: lambda clip: model(-clip))
    (finding,) = list(fields(machine.of_network).values())[:1]
    assert finding.state == "failed"


def test_a_check_that_breaks_hides_no_other(monkeypatch):
    def broken():
        raise RuntimeError("a library is gone\nand more")

    for name in ("of_backends", "of_network", "of_extras"):
        monkeypatch.setattr(doctor, name, broken)
    found = list(doctor.examine())
    assert [f.value for f in found if f.state == "failed"] == ["a library is gone"] * 3
    assert "this folder" in {f.section for f in found}


def test_a_folder_that_cannot_be_written_fails(monkeypatch, tmp_path):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine.tempfile, "NamedTemporaryFile", refuse)
    finding = fields(machine.of_folder)["write"]
    assert finding.state == "failed" and finding.value == f"{tmp_path}: Permission denied"


def test_a_package_is_imported_and_not_only_looked_up(monkeypatch):
    assert packages.importable("tqdm") == ("ok", metadata.version("tqdm"))
    assert packages.importable("no-such-package")[0] == "absent"
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    state, text = packages.importable("no-such-package")
    assert state == "note" and "No module named 'no_such_package'" in text


def test_an_extra_is_as_good_as_its_worst_package(monkeypatch):
    states = {"onnx": ("ok", "1.0"), "onnxruntime": ("note", "2.0 does not import (why)")}
    monkeypatch.setattr(packages, "importable", lambda name: states.get(name, ("ok", "1")))
    finding = fields(packages.of_extras)["onnx"]
    assert finding.state == "note"
    assert "onnxruntime 2.0 does not import (why)" in finding.value
    assert finding.advice == "pip install 'slowfast-ffn[onnx]'"


def test_every_extra_of_the_project_is_looked_at():
    extras = re.search(r"extras_require=(\{.*?\n    \})", (ROOT / "setup.py").read_text(), re.S)[1]
    # TorchCodec is among the back ends.
    assert set(ast.literal_eval(extras)) == {*packages.PURPOSES, "dev", "torchcodec"}


# ---------------------------------------------------------------------------- how it says it


def test_the_exit_code_is_1_only_if_something_required_fails(quick, healthy, monkeypatch, capsys):
    assert doctor.main([]) == 0
    assert capsys.readouterr().out.rstrip().endswith("all that is required works")
    bad = [*healthy, Finding("video", "PyAV", "failed", "no frames", "", "reinstall it")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(bad))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "✗ PyAV" in printed and printed.rstrip().endswith("not working: video: PyAV")


def test_json_holds_the_same_findings(quick, healthy, capsys):
    assert doctor.main(["--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert [Finding(**one) for one in said["findings"]] == healthy


# ---------------------------------------------------------------------------- the command slowfast


def test_every_command_of_the_help_has_its_script(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.text)}$", printed, re.M)
        assert cli.find_script(command.script) == ROOT / "tools" / command.script


def test_setup_installs_the_command():
    assert '"slowfast = slowfast.cli:main"' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("data check A.yaml", ["check", "A.yaml"]),
        ("train --cfg A.yaml", ["--cfg", "A.yaml", "TRAIN.ENABLE", "True"]),
        (
            "test --cfg=A.yaml NUM_GPUS 0",
            ["--cfg=A.yaml", "NUM_GPUS", "0", "TRAIN.ENABLE", "False", "TEST.ENABLE", "True"],
        ),
        ("train --help", ["--help"]),
    ],
)
def test_a_command_hands_its_words_to_its_script(words, expected, tmp_path, monkeypatch, capsys):
    for script in ("data.py", "run_net.py"):
        (tmp_path / script).write_text("import sys\nprint(sys.argv, __name__)\n")
    monkeypatch.setattr(cli, "FOLDERS", (tmp_path / "none", tmp_path))
    before = sys.argv
    cli.main(words.split())
    assert sys.argv is before
    script = tmp_path / cli.COMMANDS[words.split()[0]].script
    assert capsys.readouterr().out == f"{[str(script), *expected]} __main__\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predic"], "no command 'predic'; did you mean 'predict'? see `slowfast --help`"),
        (["data", "init"], "this installation has no tools/data.py: clone the project"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "FOLDERS", (tmp_path,))
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_commands_come_without_loading_torch():
    """In one process: the command `slowfast` and every script of tools/, imported."""
    scripts = {path.stem for path in (ROOT / "tools").glob("*.py")} - {"run_bundle"}
    code = "import importlib, sys\nimport slowfast.cli, slowfast.doctor\n"
    code += f"for name in {sorted(scripts)}:\n    importlib.import_module('tools.' + name)\n"
    code += "    heavy = {'torch', 'av', 'matplotlib', 'gradio', 'onnx'} & set(sys.modules)\n"
    code += "    assert not heavy, f'tools/{name}.py loads {heavy}: --help is slow'\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert importlib.util.find_spec("slowfast.__main__")
