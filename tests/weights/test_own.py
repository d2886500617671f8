"""Files that hold a network whole."""

import json
import os
import stat
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.foreign_net import perturb
from helpers.source import ROOT
from slowfast.config import get_cfg
from slowfast.models import build_model
from slowfast.models.flexible import add_rates
from slowfast.weights import load, load_weights, own, read_header, save
from slowfast.weights.replacing import DiskFull
from tests.models.test_build import BACKBONES, OWN, cfg_of, clip_of, said

R2PLUS1D = ("R2Plus1D", "FFN.ENABLE", True, "FFN.TAGS", ["a", "b", "c"])


def saved(path, *overrides, labels=()):
    """A perturbed network and the file with it."""
    cfg = cfg_of(*overrides)
    model = perturb(build_model(cfg), 0.1).eval()
    save(model, cfg, path, labels)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("name", "flexible"), [*((name, False) for name in OWN), *((name, True) for name in BACKBONES)]
)
@torch.no_grad()
def test_every_network_is_rebuilt_from_its_file_alone(name, flexible, path):
    model = saved(path, name, "FFN.ENABLE", flexible)
    found = load(path)
    assert not any(module.training for module in found.modules())
    for num_frames in (2, 5, 8):
        clip = clip_of(num_frames)
        assert torch.equal(said(found(clip)), said(model(clip)))


def test_the_rates_and_their_tags_come_back(path):
    saved(path, *R2PLUS1D)
    assert load(path).rates.tags == ("a", "b", "c")


def test_rates_that_were_added_after_training_come_back(path):
    cfg = cfg_of("R2Plus1D", "FFN.ENABLE", True)
    model = perturb(build_model(cfg)).eval()
    add_rates(model, [6], "interpolated")
    save(model, cfg, path)
    again = load(path)
    assert again.rates.num_frames == (2, 4, 6, 8)
    assert torch.equal(again(clip_of(6)), model(clip_of(6)))


def test_the_header_is_json_of_architecture_configuration_and_labels(path):
    saved(path, *R2PLUS1D, labels=["one", "two", "three", "four", "five"])
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["slowfast"])
    assert header["version"] == 1 and header["architecture"] == "R2Plus1D"
    assert header["config"]["FFN"]["NUM_FRAMES"] == [2, 4, 8]
    assert header["labels"] == ["one", "two", "three", "four", "five"]
    found = read_header(path)
    assert found.cfg.R2PLUS1D.WIDTHS == [4, 8] and found.labels[1] == "two"


def test_places_on_the_machine_of_the_writer_stay_there(path):
    cfg = cfg_of(*R2PLUS1D, "OUTPUT_DIR", "secret", "DATA.PATH_TO_DATA_DIR", "secret")
    cfg.merge_from_list(["DATA.PATH_PREFIX", "secret", "TRAIN.CHECKPOINT_FILE_PATH", "secret"])
    cfg.merge_from_list(["DISTILL.TEACHER_CFG", "secret", "DISTILL.TEACHER_WEIGHTS", "secret"])
    save(build_model(cfg), cfg, path)
    assert b"secret" not in path.read_bytes()
    assert read_header(path).cfg.OUTPUT_DIR == get_cfg().OUTPUT_DIR


def test_weights_to_start_from_are_not_fetched_again(path):
    cfg = cfg_of(*R2PLUS1D, "TIMM.PRETRAINED", True)
    save(build_model(cfg), cfg, path)
    assert read_header(path).cfg.TIMM.PRETRAINED is False


def test_other_programs_read_the_tensors_under_the_published_names(path):
    model = saved(path, *R2PLUS1D)
    tensors = load_file(path)
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[n], t) for n, t in model.state_dict().items())


def test_the_file_serves_as_a_checkpoint_too(path):
    model = saved(path, *R2PLUS1D)
    target = build_model(cfg_of(*R2PLUS1D))
    load_weights(target, path)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in target.state_dict().items())


def test_tensors_of_one_memory_and_of_any_stride_are_saved(path):
    layer = nn.Linear(4, 4)
    layer.weight.data = layer.weight.data.T
    save(nn.Sequential(layer, layer), get_cfg(), path)
    tensors = load_file(path)
    assert torch.equal(tensors["0.weight"], layer.weight)
    assert torch.equal(tensors["1.weight"], layer.weight)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    saved(path, *R2PLUS1D)
    before = path.read_bytes()

    def disk_full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        saved(path, *R2PLUS1D)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_with_the_file_and_its_size(path):
    saved(path, *R2PLUS1D)
    before = path.read_bytes()
    path.with_name(path.name + ".tmp").symlink_to("/dev/full")  # writes there find no room
    size = f"{len(before) / 1e6:.1f} MB"
    with pytest.raises(DiskFull, match=f"no room for .*{path.name}: it takes {size}, .* free"):
        saved(path, *R2PLUS1D)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_readable_by_whom_a_new_file_is(path):
    saved(path, *R2PLUS1D)
    (path.parent / "other").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((path.parent / "other").stat().st_mode)


def test_labels_are_one_per_class(path):
    with pytest.raises(ValueError, match="2 labels for MODEL.NUM_CLASSES=5"):
        saved(path, *R2PLUS1D, labels=["one", "two"])
    assert not path.exists()


def test_importing_the_package_does_not_import_torch():
    code = "import sys, slowfast; sys.exit('torch' in sys.modules or not slowfast.load)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---------------------------------------------------------------------------- what is refused


def rewrite(path, change):
    """The file with another description of its network."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["slowfast"])
    save_file(load_file(path), path, metadata={"slowfast": json.dumps(change(header))})


def test_weights_without_a_description_are_refused_with_the_command_to_convert_them(path):
    saved(path, *R2PLUS1D)
    save_file(load_file(path), path)
    with pytest.raises(ValueError, match=r"model.safetensors.*convert_weights.py .* --cfg"):
        load(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"model.safetensors.*convert_weights.py .* --cfg"):
        load(path)


def test_a_newer_format_is_refused(path):
    saved(path, *R2PLUS1D)
    rewrite(path, lambda h: h | {"version": own.VERSION + 1})
    with pytest.raises(ValueError, match="model.safetensors.*format 2.*update slowfast"):
        load(path)


def test_keys_of_a_newer_version_are_named(path):
    saved(path, *R2PLUS1D)
    rewrite(path, lambda h: h | {"config": h["config"] | {"QUANTUM": {"SPIN": 1}}})
    with pytest.raises(ValueError, match=r"(?s)model.safetensors.*QUANTUM.SPIN.*update"):
        load(path)


def test_impossible_values_are_named(path):
    saved(path, *R2PLUS1D)
    rewrite(path, lambda h: h | {"config": h["config"] | {"MODEL": {"NUM_CLASSES": -3}}})
    with pytest.raises(ValueError, match="model.safetensors.*NUM_CLASSES = -3"):
        load(path)


def test_a_network_that_is_not_registered_here_is_refused(path):
    saved(path, *R2PLUS1D)
    rewrite(path, lambda h: h | {"config": h["config"] | {"MODEL": {"MODEL_NAME": "Nobody"}}})
    with pytest.raises(ValueError, match="model.safetensors.*no model 'Nobody'"):
        load(path)


@pytest.mark.parametrize("header", [[], {}, {"version": 1}, {"version": "1"}, "text", None])
def test_a_damaged_description_is_refused(header, path):
    saved(path, *R2PLUS1D)
    rewrite(path, lambda _: header)
    with pytest.raises(ValueError, match="model.safetensors.*get the file anew"):
        load(path)


def test_weights_of_another_network_than_described_are_refused(path):
    saved(path, *R2PLUS1D)
    rewrite(
        path,
        lambda h: h | {"config": h["config"] | {"R2PLUS1D": {"WIDTHS": [4, 4], "BLOCKS": [1, 1]}}},
    )
    with pytest.raises(ValueError, match="model.safetensors.*does not fit"):
        load(path)


def test_a_folder_is_refused_with_the_file_that_is_meant(tmp_path):
    with pytest.raises(ValueError, match="is a folder; a run leaves checkpoints/best.safetensors"):
        load(tmp_path)


def test_a_missing_and_a_torn_file_are_refused_by_name(path):
    with pytest.raises(ValueError, match="model.safetensors: no such file"):
        load(path)
    saved(path, *R2PLUS1D)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors.*get the file anew"):
        load(path)
