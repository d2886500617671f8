import pytest
import torch
from torch import nn

from helpers.foreign_net import ForeignNet
from helpers.runs import tiny_cfg
from slowfast.engine.start import load_start
from slowfast.models import build_model
from slowfast.weights import save


@pytest.fixture
def cfg_from(tmp_path):
    """The configuration of a training that starts from a file with `state`."""

    def make(state, *overrides):
        path = tmp_path / "weights.pyth"
        torch.save(state, path)
        return tiny_cfg(tmp_path, tmp_path, "TRAIN.CHECKPOINT_FILE_PATH", str(path), *overrides)

    return make


def network(tmp_path, *overrides) -> nn.Module:
    torch.manual_seed(1)
    return build_model(tiny_cfg(tmp_path, tmp_path, *overrides))


def ours(model: nn.Module) -> dict:
    """The least of a checkpoint of this project."""
    state = {"epoch": 3, "steps": 12, "loader_state": None, "optimizer_state": {"state": {}}}
    return state | {"model_state": model.state_dict()}


CONTINUED = ("TRAIN.CHECKPOINT_EPOCH_RESET", False)


def equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_training_without_a_file_starts_as_it_is(tmp_path):
    model, same = network(tmp_path), network(tmp_path)
    assert load_start(model, tiny_cfg(tmp_path, tmp_path)) == {} and equal(model, same)


@pytest.mark.parametrize("beside", [{}, {"epoch": 7, "optimizer_state": {"state": {}}}])
def test_by_default_weights_alone_are_read(cfg_from, tmp_path, beside):
    source = network(tmp_path)
    cfg = cfg_from(beside | {"model_state": source.state_dict()})
    model = build_model(cfg)
    assert load_start(model, cfg) == {} and equal(model, source)


def test_without_the_reset_a_checkpoint_of_this_project_goes_on_whole(cfg_from, tmp_path):
    source = network(tmp_path)
    cfg = cfg_from(ours(source), *CONTINUED)
    model = build_model(cfg)
    state = load_start(model, cfg)
    assert state.keys() == ours(source).keys() and state["steps"] == 12 and equal(model, source)


def test_without_the_reset_epochs_of_pyslowfast_go_on(cfg_from, tmp_path, caplog):
    caplog.set_level("INFO")
    source = network(tmp_path)
    # The number of the epoch trained last, from 0.
    state = {"epoch": 7, "model_state": source.state_dict(), "optimizer_state": {}, "cfg": ""}
    cfg = cfg_from(state, *CONTINUED)
    assert load_start(build_model(cfg), cfg) == {"epoch": 8}
    assert "after 8 epochs" in caplog.text and "optimiser anew" in caplog.text


def test_without_the_reset_an_older_checkpoint_of_this_project_goes_on_at_its_epoch(
    cfg_from, tmp_path
):
    state = {"epoch": 7, "rng_state": {}, "model_state": network(tmp_path).state_dict()}
    cfg = cfg_from(state, *CONTINUED)
    assert load_start(build_model(cfg), cfg) == {"epoch": 7}


def test_other_files_hold_weights_alone(cfg_from, tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = cfg_from({"epoch": 7, "state_dict": network(tmp_path).state_dict()}, *CONTINUED)
    assert load_start(build_model(cfg), cfg) == {}
    assert "holds weights alone" in caplog.text


def test_so_do_files_of_safetensors(tmp_path):
    path = tmp_path / "best.safetensors"
    save(network(tmp_path), tiny_cfg(tmp_path, tmp_path), path)
    cfg = tiny_cfg(tmp_path, tmp_path, "TRAIN.CHECKPOINT_FILE_PATH", str(path), *CONTINUED)
    model = build_model(cfg)
    assert load_start(model, cfg) == {} and equal(model, network(tmp_path))


def test_another_classifier_cannot_go_on_with_the_old_one_s_optimiser(cfg_from, tmp_path):
    state = ours(network(tmp_path))
    other = ("MODEL.NUM_CLASSES", 3, "TRAIN.CHECKPOINT_NEW_HEAD", True)
    cfg = cfg_from(state, *other, *CONTINUED)
    with pytest.raises(ValueError, match="TRAIN.CHECKPOINT_EPOCH_RESET False goes on"):
        load_start(build_model(cfg), cfg)
    cfg = cfg_from(state, *other)
    assert load_start(build_model(cfg), cfg) == {}


def test_weights_of_another_network_are_refused(cfg_from):
    cfg = cfg_from({"model_state": ForeignNet().state_dict()})
    with pytest.raises(ValueError, match="does not fit"):
        load_start(build_model(cfg), cfg)
