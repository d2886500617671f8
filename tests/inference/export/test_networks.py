"""Exported networks say what the originals say, at every rate and for any number of clips."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from slowfast.inference.export import TOLERANCE, Session, quantize, to_onnx, to_program  # noqa: E402
from slowfast.models import final_logits  # noqa: E402
from slowfast.models.flexible import specialize  # noqa: E402
from tests.models.test_build import BACKBONES, SIZE, clip_of  # noqa: E402
from tests.models.test_specialize import trained_net  # noqa: E402

# The others take a minute each: operators are translated one by one.
QUICK = ("R2Plus1D",)


def networks(names):
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


def exported(name, num_frames, path):
    net = specialize(trained_net(name), num_frames)
    program = to_program(net, (3, num_frames, SIZE, SIZE))
    to_onnx(program, path)
    return program


@pytest.mark.parametrize("name", networks(BACKBONES))
@torch.no_grad()
def test_a_network_in_onnx_runtime_gives_the_logits_of_its_rate(name, tmp_path):
    model = trained_net(name)
    for num_frames in model.rates.num_frames if name in QUICK else (4,):
        program = exported(name, num_frames, tmp_path / "model.onnx")
        session = Session(tmp_path / "model.onnx")
        for batch in (1, 3):
            clip = clip_of(num_frames, batch)
            expected = final_logits(model(clip)).numpy()
            for found in (session(clip.numpy()), program.module()(clip)[0].numpy()):
                assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@torch.no_grad()
def test_eight_bits_keep_the_logits_within_a_tenth_of_their_scale(tmp_path):
    exported("R2Plus1D", 4, tmp_path / "model.onnx")
    clips = [clip_of(4, 1).numpy() * scale for scale in (1.0, 0.9)]
    quantize(tmp_path / "model.onnx", tmp_path / "small.onnx", clips)
    expected = trained_net("R2Plus1D")(clip_of(4, 1)).numpy()
    found = Session(tmp_path / "small.onnx")(clips[0])
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_eight_bits_without_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="8 bits need clips"):
        quantize(tmp_path / "model.onnx", tmp_path / "small.onnx", [])


def test_a_network_that_looks_into_its_clip_is_refused_by_name():
    class Curious(torch.nn.Module):
        def forward(self, clip):
            return clip.flatten(1)[:, :2] * (1 if clip.sum() > 0 else 2)

    with pytest.raises(ValueError, match="Curious cannot be exported: "):
        to_program(Curious(), (3, 2, 4, 4))
