import subprocess
import sys

import pytest
import torch

from helpers.foreign_net import clip_of, perturb
from helpers.published import torchvision_state, write_caffe2
from helpers.source import ROOT
from slowfast.config import load_cfg
from slowfast.models import TSM, TSN, ResNet
from slowfast.weights import FORMATS, load, load_weights, read_header, save
from tools.convert_weights import main

TINY = ["RESNET.DEPTH", "18", "RESNET.TRANS_FUNC", "basic_transform", "RESNET.WIDTH_PER_GROUP", "8"]


@pytest.fixture
def slow_yaml(tmp_path):
    path = tmp_path / "SLOW.yaml"
    path.write_text(
        "MODEL: {MODEL_NAME: ResNet, ARCH: slow, NUM_CLASSES: 5}\n"
        "RESNET: {DEPTH: 18, TRANS_FUNC: basic_transform, WIDTH_PER_GROUP: 8}\n"
        "DATA: {TRAIN_CROP_SIZE: 32}\n"
    )
    return str(path)


@pytest.fixture
def slow(tmp_path):
    """A Slow network and the Caffe2 file it is published in."""
    net = perturb(ResNet(18, 5, "slow", width=8), 0.1).eval()
    write_caffe2(net, tmp_path / "SLOW.pkl")
    return net, str(tmp_path / "SLOW.pkl")


def assert_computes(model, net, num_frames=4):
    clip = clip_of(num_frames, size=32)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), net(clip), rtol=1e-4, atol=1e-5)


def test_the_command_writes_a_file_that_loads_by_itself(slow, slow_yaml, tmp_path):
    net, source = slow
    out = tmp_path / "new" / "slow.safetensors"
    command = [sys.executable, str(ROOT / "tools/convert_weights.py"), source, "--cfg", slow_yaml]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "102 loaded, 20 missing, 0 unexpected, 0 mismatched" in done.stdout
    assert "(caffe2 format)" in done.stdout and f"wrote {out}" in done.stdout
    assert "s1.pathway0_stem.conv.weight  (8, 3, 1, 7, 7)" in done.stdout
    assert_computes(load(out), net)


def test_overrides_make_the_network_frame_flexible(slow, slow_yaml, tmp_path, capsys):
    net, source = slow
    out = tmp_path / "slow.safetensors"
    flexible = ["FFN.ENABLE", "True", "FFN.NUM_FRAMES", "[2,4]"]
    main([source, "--cfg", slow_yaml, *flexible, "--out", str(out)])
    model = load(out)
    assert model.rates.num_frames == (2, 4)
    gains = [p for name, p in model.named_parameters() if "adaconv" in name]
    assert gains and max(gain.abs().max() for gain in gains) < 0.01
    with torch.no_grad():
        for gain in gains:
            gain.zero_()
    assert_computes(model, net)
    assert "adaconv_4.weight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "kept"), [([], "abcde"), (["--new-head"], ""), (["--labels", "{names}"], "vwxyz")]
)
def test_class_names_of_our_own_files_are_kept_with_their_classifier(
    slow, slow_yaml, tmp_path, options, kept
):
    (tmp_path / "names.txt").write_text("v\nw\nx\ny\nz\n")
    own, out = tmp_path / "own.safetensors", tmp_path / "out.safetensors"
    save(slow[0], load_cfg(slow_yaml), own, tuple("abcde"))
    options = [option.format(names=tmp_path / "names.txt") for option in options]
    assert (
        main([str(own), "--cfg", slow_yaml, "FFN.ENABLE", "True", "--out", str(out), *options]) == 0
    )
    assert "".join(read_header(out).labels) == kept


def test_a_new_classifier_needs_the_option_and_is_the_same_each_time(tmp_path, capsys):
    source = tmp_path / "resnet18.pth"
    torch.save(torchvision_state(TSN(18, num_classes=9, width=8)), source)
    cfg = tmp_path / "TSM.yaml"
    cfg.write_text("MODEL: {MODEL_NAME: TSM, NUM_CLASSES: 5}\nRESNET: {WIDTH_PER_GROUP: 8}\n")
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    arguments = [str(source), "--cfg", str(cfg), *TINY]
    assert main([*arguments, "--out", str(outs[0])]) == 2
    assert "new_head=True" in capsys.readouterr().err
    assert not outs[0].exists()
    for out in outs:
        main([*arguments, "--new-head", "--out", str(out)])
    first, second = (load(out).new_fc.weight for out in outs)
    assert torch.equal(first, second)
    assert "new_fc.weight  ((9, 64), (5, 64))" in capsys.readouterr().out


def test_a_file_for_pyslowfast_holds_weights_and_yaml_but_no_epoch(slow, slow_yaml, tmp_path):
    net, source = slow
    out = tmp_path / "slow.pyth"
    main([source, "--cfg", slow_yaml, "--out", str(out)])
    content = torch.load(out, weights_only=True)
    assert set(content) == {"model_state", "cfg"} and "MODEL_NAME: ResNet" in content["cfg"]
    target = ResNet(18, 5, "slow", width=8).eval()
    assert not load_weights(target, out).missing
    assert_computes(target, net)


def test_labels_go_into_the_file(slow, slow_yaml, tmp_path):
    labels, out = tmp_path / "classes.txt", tmp_path / "slow.safetensors"
    labels.write_text("run\nsit\nstand up\nfall\nlie\n")
    main([slow[1], "--cfg", slow_yaml, "--out", str(out), "--labels", str(labels)])
    assert read_header(out).labels == ("run", "sit", "stand up", "fall", "lie")


@pytest.mark.parametrize("more", [[], ["--labels", "names.txt"]])
def test_the_list_names_every_format(more, capsys):
    main(["--list", *more])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(FORMATS.names)


WRONG = {
    "no such file": (["nowhere.pth", "--cfg", "{cfg}"], "nowhere.pth: no such checkpoint"),
    "no such YAML": (["{pkl}", "--cfg", "nowhere.yaml"], "nowhere.yaml does not exist"),
    "an unknown key": (["{pkl}", "--cfg", "{cfg}", "RESNET.DEPHT", "18"], "RESNET.DEPTH"),
    "another network": (["{pkl}", "--cfg", "{cfg}", "RESNET.DEPTH", "50"], "does not fit ResNet"),
    "an unknown format": (["{pkl}", "--cfg", "{cfg}", "--format", "caffe"], "mean 'caffe2'"),
    "missing labels": (["{pkl}", "--cfg", "{cfg}", "--labels", "nowhere.txt"], "nowhere.txt"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_user_can_mend_is_said_and_nothing_is_written(
    case, slow, slow_yaml, tmp_path, capsys
):
    words, message = WRONG[case]
    out = tmp_path / "out.safetensors"
    words = [word.format(pkl=slow[1], cfg=slow_yaml) for word in words]
    assert main([*words, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
    assert not out.exists()


def test_a_file_that_is_there_is_not_replaced(slow, slow_yaml, tmp_path, capsys):
    out = tmp_path / "mine.pyth"
    out.write_bytes(b"of the user")
    assert main([slow[1], "--cfg", slow_yaml, "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err == f"error: --out {out} exists already; remove it, or name another file\n"
    assert not said.out and out.read_bytes() == b"of the user"


def test_a_checkpoint_is_never_converted_onto_itself(slow, slow_yaml, tmp_path, capsys):
    source, link = tmp_path / "own.safetensors", tmp_path / "link.safetensors"
    save(slow[0], load_cfg(slow_yaml), source)
    link.symlink_to(source)
    before = source.read_bytes()
    for out in (source, link):
        assert main([str(source), "--cfg", slow_yaml, "--out", str(out)]) == 2
        assert f"--out {out} is the checkpoint itself; name another" in capsys.readouterr().err
    assert source.read_bytes() == before and link.is_symlink()


@pytest.mark.parametrize(
    "argv",
    [[], ["a.pkl"], ["a.pkl", "--cfg", "a.yaml"], ["a.pkl", "--cfg", "a.yaml", "--out", "a.onnx"]],
)
def test_an_incomplete_command_is_an_error(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_a_tsm_of_another_depth_is_named_so(tmp_path, capsys):
    torch.save(TSM(18, num_classes=5, width=8).state_dict(), tmp_path / "tsm.pth")
    cfg = tmp_path / "TSM.yaml"
    cfg.write_text("MODEL: {MODEL_NAME: TSM, NUM_CLASSES: 5}\nRESNET: {WIDTH_PER_GROUP: 8}\n")
    words = [str(tmp_path / "tsm.pth"), "--cfg", str(cfg), "--out", str(tmp_path / "x.pyth")]
    assert main(words) == 2
    assert "tsm.pth, read as tsn, does not fit TSM" in capsys.readouterr().err
