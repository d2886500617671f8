"""Runs in which a network learns from a teacher."""

import os
import signal
from importlib import import_module

import pytest
import torch
from torch import nn

from helpers.foreign_net import clip_of
from helpers.processes import run_processes
from helpers.runs import tiny_cfg
from helpers.worlds import freeze_statistics, gradients, stepper
from slowfast.config import get_cfg
from slowfast.datasets import Batch
from slowfast.engine.files.checkpoint import read
from slowfast.engine.processes.parallel import parallel, unwrap
from slowfast.engine.processes.preemption import Preempted
from slowfast.engine.processes.world import World
from slowfast.engine.train import train
from slowfast.models import R2Plus1D, VideoSwin, build_model
from slowfast.objectives import Distillation

LOOP = import_module("slowfast.engine.train")  # the package has a function of this name


def distilled_cfg(motion, folder, teacher):
    """A tiny run at 8 pixels under a narrower teacher that sees 16."""
    return tiny_cfg(
        *(motion, folder, "OBJECTIVE.NAME", "distill", "DISTILL.STUDENT_SIZE", 8),
        *("DISTILL.TEACHER_CFG", str(teacher / "teacher.yaml"), "DATA.TEST_CROP_SIZE", 8),
        *("DISTILL.TEACHER_WEIGHTS", str(teacher / "teacher.pyth"), "DISTILL.WEIGHT", 1.0),
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder, cfg = tmp_path_factory.mktemp("teacher"), get_cfg()
    cfg.merge_from_list(["MODEL.MODEL_NAME", "R2Plus1D", "MODEL.NUM_CLASSES", 16])
    cfg.merge_from_list(["R2PLUS1D.WIDTHS", [4, 6], "R2PLUS1D.BLOCKS", [1, 1]])
    (folder / "teacher.yaml").write_text(cfg.dump())
    torch.manual_seed(1)
    torch.save(build_model(cfg).state_dict(), folder / "teacher.pyth")
    return folder


@pytest.fixture(scope="module")
def whole(motion, teacher, tmp_path_factory):
    """The folder of a run and the network that it trained."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(distilled_cfg(motion, folder, teacher))


def last(folder):
    return read(folder / "checkpoints/checkpoint_epoch_00002.pyth")


def test_a_checkpoint_holds_the_network_and_the_projection_and_not_the_teacher(whole):
    folder, model = whole
    state = last(folder)
    assert set(state["model_state"]) == set(model.state_dict())
    assert set(state["objective_state"]) == {"projection.weight", "projection.bias"}
    learned = [i for group in state["optimizer_state"]["param_groups"] for i in group["params"]]
    assert len(learned) == len(list(model.parameters())) + 2


def test_an_interrupted_run_ends_the_same(whole, motion, teacher, tmp_path, monkeypatch):
    take_step = LOOP.take_step

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGUSR1)
        return take_step(*args)

    cfg = distilled_cfg(motion, tmp_path, teacher)
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(LOOP, "take_step", signalled)
        train(cfg)
    train(cfg)
    ours, uninterrupted = last(tmp_path), last(whole[0])
    for part in ("model_state", "objective_state"):
        for name, tensor in uninterrupted[part].items():
            assert torch.equal(ours[part][name], tensor), name


def gradients_of_part(world: World, micro_batches: int = 1) -> dict[str, torch.Tensor]:
    """The gradients of a step on this process's share of four videos."""
    torch.manual_seed(0)
    student, large = (R2Plus1D(5, widths, (1, 1), 0.0) for widths in ((4, 8), (4, 6)))
    objective = Distillation(large, size=16, mode="eval", projection=nn.Conv3d(8, 6, 1))
    objective.double()
    model = parallel(freeze_statistics(student.double().train()), world)
    clip, labels = clip_of(4, 4, 32).double(), torch.tensor([0, 3, 1, 2])
    rows = torch.arange(4).tensor_split(world.size)[world.rank]
    batch = Batch((clip[rows],), labels[rows], rows, paths=tuple(f"{i}.mp4" for i in rows))
    found: dict[str, torch.Tensor] = {}

    def look(_record, _batch):
        found.update(gradients(unwrap(model)) | gradients(objective))
        return False

    stepper(model, objective, world, check=look, micro_batches=micro_batches)(batch)
    return found


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_several_processes_find_the_gradient_of_one_for_network_and_projection(micro_batches):
    alone = gradients_of_part(World())
    for found in run_processes(gradients_of_part, 2, micro_batches):
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)
    assert alone["projection.weight"].abs().sum() > 0


def places_and_gradients(world: World, strategy: str) -> tuple[torch.Tensor, dict]:
    """The logits of each place of a Video Swin, and its gradients from them."""
    torch.manual_seed(0)
    sizes = {"dim": 8, "depths": (2, 1), "num_heads": (1, 2), "window": (2, 3, 3)}
    model = parallel(VideoSwin(5, **sizes, drop_path=0.0, head_dropout=0.0), world, strategy)
    _, places = model(clip_of(4, 2, 32), "places")
    places.square().mean().backward()
    found = {name: p.grad for name, p in unwrap(model).named_parameters()}
    return places.detach(), {
        name: g.full_tensor() if hasattr(g, "full_tensor") else g for name, g in found.items()
    }


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_network_in_several_processes_shows_the_logits_of_its_places(strategy):
    alone = places_and_gradients(World(), "ddp")
    for found in run_processes(places_and_gradients, 2, strategy):
        torch.testing.assert_close(found, alone)
