import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.foreign_net import ForeignNet, MarkedNet, clip_of, perturb
from slowfast.models.flexible import FrameFlexible
from slowfast.weights import load_weights

COUNTS = (2, 4, 8)


def fresh(**kwargs) -> FrameFlexible:
    return FrameFlexible(MarkedNet(**kwargs), COUNTS)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_holds(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    actual = model.state_dict()
    assert list(actual) == list(state)
    for name, tensor in state.items():
        assert torch.equal(actual[name], tensor), name


# ---------------------------------------------------------------------------- what loads


@pytest.mark.parametrize("key", [None, "model_state", "model", "state_dict"])
def test_our_own_checkpoint_loads_wherever_its_weights_lie(key, tmp_path):
    model, target = perturb(fresh()), fresh()
    state = model.state_dict()
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "model.pt")
    report = load_weights(target, tmp_path / "model.pt")
    assert_holds(target, state)
    assert list(report.loaded) == list(state)
    assert not (report.missing or report.unexpected or report.mismatched)


def test_safetensors_are_told_by_content_whatever_the_file_is_called(tmp_path):
    model, target = perturb(fresh()), fresh()
    save_file(dict(model.state_dict()), tmp_path / "weights.bin")
    load_weights(target, str(tmp_path / "weights.bin"))
    assert_holds(target, model.state_dict())


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_the_prefix_of_a_wrapper_is_dropped(prefix):
    model, target = perturb(fresh()), fresh()
    load_weights(target, {prefix + name: tensor for name, tensor in model.state_dict().items()})
    assert_holds(target, model.state_dict())


def test_a_plain_checkpoint_fills_every_private_norm_and_leaves_the_gains():
    plain, target = perturb(MarkedNet()).eval(), fresh().eval()
    before = snapshot(target)
    report = load_weights(target, plain.state_dict())
    gains = [f"adaconv_{tag}.weight" for tag in COUNTS]
    assert list(report.missing) == gains
    assert all(torch.equal(target.state_dict()[name], before[name]) for name in gains)
    for switch in target.net.adaconv.copies.values():
        nn.init.zeros_(switch.weight)
    for num_frames in COUNTS:
        clip = clip_of(num_frames)
        torch.testing.assert_close(target(clip), plain(clip))


def test_a_plain_checkpoint_fills_a_network_converted_without_a_wrapper():
    plain, target = perturb(ForeignNet()), FrameFlexible(ForeignNet(), COUNTS).net
    load_weights(target, plain.state_dict())
    assert torch.equal(target.state_dict()["block.norms_4.1.bias"], plain.block.norms[1].bias)


def test_a_plain_network_loads_a_plain_checkpoint():
    model, target = perturb(ForeignNet()), ForeignNet()
    load_weights(target, model.state_dict())
    assert_holds(target, model.state_dict())


def test_a_checkpoint_of_another_librarys_network_loads_behind_its_bridge():
    class Bridge(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = ForeignNet()

    net, target = perturb(ForeignNet()), FrameFlexible(Bridge(), COUNTS)
    report = load_weights(target, net.state_dict())
    assert not report.missing and "model.bn_4.weight" in report.loaded
    assert torch.equal(target.net.model.stem.weight, net.stem.weight)


def test_old_checkpoints_without_batch_counters_load():
    model, target = perturb(fresh()), fresh()
    state = {n: t for n, t in model.state_dict().items() if "num_batches" not in n}
    report = load_weights(target, state)
    assert set(report.missing) == set(target.state_dict()) - set(state)


def test_a_new_head_keeps_its_values_and_the_rest_loads():
    model, target = perturb(fresh(classes=7)), fresh(classes=5)
    before = snapshot(target)
    report = load_weights(target, model.state_dict(), new_head=True)
    assert report.mismatched == {"fc.weight": ((7, 8), (5, 8)), "fc.bias": ((7,), (5,))}
    assert torch.equal(target.state_dict()["fc.weight"], before["fc.weight"])
    assert torch.equal(target.state_dict()["stem.weight"], model.state_dict()["stem.weight"])


def test_the_given_state_dict_is_not_changed():
    state = dict(perturb(MarkedNet()).state_dict())
    names = list(state)
    load_weights(fresh(), state)
    assert list(state) == names


def test_the_table_counts_and_names_what_was_not_loaded():
    table = load_weights(fresh(), MarkedNet().state_dict()).table()
    assert table.startswith("50 loaded, 3 missing, 0 unexpected, 0 mismatched")
    assert "adaconv_4.weight  (8, 1, 1, 1, 1)" in table


# ---------------------------------------------------------------------------- what is refused


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


WRONG = {
    "a missing weight": (lambda s: without(s, "stem.weight"), r"stem.weight  \(8, 3, 1, 4, 4\)"),
    "a missing copy": (lambda s: without(s, "bn_4.weight"), r"bn_4.weight  \(8,\)"),
    "a missing gain": (lambda s: without(s, "adaconv_2.weight"), "adaconv_2.weight"),
    "an unknown name": (
        lambda s: s | {"extra.weight": torch.zeros(2, 3)},
        r"extra.weight  \(2, 3\)",
    ),
    "a foreign rate": (lambda s: s | {"bn_16.weight": torch.zeros(8)}, "bn_16.weight.*FFN.TAGS"),
    "another width": (
        lambda s: s | {"stem.weight": torch.zeros(16, 3, 1, 4, 4), "bn_2.weight": torch.zeros(9)},
        r"stem.weight  \(\(16, 3, 1, 4, 4\), \(8, 3, 1, 4, 4\)\)",
    ),
    "another classifier input": (lambda s: s | {"fc.weight": torch.zeros(5, 9)}, "widths"),
}


@pytest.mark.parametrize("new_head", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_a_refused_checkpoint_leaves_the_model_untouched(case, new_head):
    spoil, message = WRONG[case]
    target = fresh()
    before = snapshot(target)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_weights(target, spoil(dict(perturb(fresh()).state_dict())), new_head=new_head)
    assert_holds(target, before)


def test_another_number_of_classes_is_refused_with_both_remedies():
    target = fresh(classes=5)
    before = snapshot(target)
    with pytest.raises(ValueError, match="(?s)fc.weight.*NUM_CLASSES.*new_head=True"):
        load_weights(target, fresh(classes=7).state_dict())
    assert_holds(target, before)


def test_a_flexible_checkpoint_does_not_fit_a_plain_network():
    with pytest.raises(ValueError, match=r"(?s)bn.weight.*bn_4.weight.*FFN.NUM_FRAMES"):
        load_weights(MarkedNet(), fresh().state_dict())


def test_a_long_table_is_cut_and_says_so():
    extra = {f"more.{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(ValueError, match="and 30 more"):
        load_weights(fresh(), fresh().state_dict() | extra)


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(ValueError, match="no checkpoint format 'natve'; did you mean 'native'"):
        load_weights(fresh(), {}, format="natve")


class Evil:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path):
    evil = Evil()
    evil.path = str(tmp_path / "executed")
    torch.save({"model_state": fresh().state_dict(), "cfg": evil}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="evil.pt.*could run code.*state dict"):
        load_weights(fresh(), tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint at all", b"PK\x03\x04 torn", b"12345678{torn"]
)
def test_a_corrupt_file_is_refused_by_name(content, tmp_path):
    (tmp_path / "torn.pt").write_bytes(content)
    with pytest.raises(ValueError, match="torn.pt.*get the file anew") as error:
        load_weights(fresh(), tmp_path / "torn.pt")
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "half.pt"
    torch.save(fresh().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="half.pt.*get the file anew"):
        load_weights(fresh(), path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="nowhere.pt: no such checkpoint file"):
        load_weights(fresh(), tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"model_state": {"epoch": 3}}])
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="odd.pt.*state dict"):
        load_weights(fresh(), tmp_path / "odd.pt")
