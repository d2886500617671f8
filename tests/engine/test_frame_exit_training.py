"""FrameExit goes through the engine as any other network."""

import pytest
import torch

from helpers.runs import tiny_cfg
from slowfast.engine import run, train
from slowfast.engine.files.checkpoint import read
from slowfast.models import FrameExit
from slowfast.weights import load

CFG = (
    *("FFN.ENABLE", False, "MODEL.MODEL_NAME", "FrameExit", "FRAME_EXIT.BACKBONE", "R2Plus1D"),
    *("FRAME_EXIT.HIDDEN_DIM", 16, "FRAME_EXIT.GATE_DIMS", [8, 4], "FRAME_EXIT.CLIP_LENGTH", 2),
    *("DATA.NUM_FRAMES", 6, "TEST.NUM_FRAMES", [2, 6], "FRAME_EXIT.BETA", 0.5),
    *("SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", [0], "SOLVER.LRS", [1.0]),
)


def of_gates(first):
    """What makes the second stage, on the network of the first."""
    path = str(first / "checkpoints/best.safetensors")
    return ("FRAME_EXIT.STAGE", "gates", "TRAIN.CHECKPOINT_FILE_PATH", path)


def state_of(folder):
    return read(sorted((folder / "checkpoints").glob("checkpoint_epoch_*.pyth"))[-1])["model_state"]


@pytest.fixture(scope="module")
def stages(motion, tmp_path_factory):
    """Folder and test record of a run of each stage, the second on the network of the first."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("classifiers", "gates"))
    records = [run(tiny_cfg(motion, first, *CFG))]
    records.append(run(tiny_cfg(motion, second, *CFG, *of_gates(first))))
    return (first, second), records


def test_the_classifiers_train_and_are_tested_by_their_last_exit(stages):
    (folder, _), (record, _) = stages
    assert set(record["by_frames"]) >= {"2", "6"} or set(record["by_frames"]) >= {2, 6}
    net = load(folder / "checkpoints/best.safetensors")
    assert isinstance(net, FrameExit) and net.num_exits == 3 and net.clip_length == 2


def test_the_gates_train_on_a_network_that_stays_as_it_is(stages):
    (first, second), _ = stages
    start = load(first / "checkpoints/best.safetensors").state_dict()
    end = state_of(second)
    changed = {name.partition(".")[0] for name in end if not torch.equal(end[name], start[name])}
    assert changed == {"gates"}


def test_the_best_network_of_the_gates_has_the_gates_trained_longest(stages):
    (_, second), _ = stages
    best = load(second / "checkpoints/best.safetensors").state_dict()
    end = state_of(second)
    assert all(torch.equal(tensor, best[name]) for name, tensor in end.items())


def test_an_interrupted_stage_of_the_gates_resumes_exactly(motion, stages, tmp_path):
    (first, second), _ = stages
    for epochs in (1, 2):
        train(tiny_cfg(motion, tmp_path, *CFG, *of_gates(first), "SOLVER.MAX_EPOCH", epochs))
    resumed, whole = state_of(tmp_path), state_of(second)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())
