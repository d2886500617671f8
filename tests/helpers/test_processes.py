"""Processes of a test give their answers, or say what happened to them."""

import os
import signal

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from helpers.processes import run_processes
from slowfast.engine.processes.world import World


def test_results_come_in_the_order_of_ranks():
    assert run_processes(_tell, 2, 10) == [(0, 2, 21), (1, 2, 21)]


def _tell(world: World, offset: int) -> tuple[int, int, int]:
    total = world.sum(torch.tensor(world.rank + offset))
    return world.rank, world.size, int(total)


def test_a_process_can_run_backward_although_the_test_did():
    torch.ones(1, requires_grad=True).backward()
    first, second = run_processes(_gradient, 2)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, torch.full((1, 2), 0.5))  # the mean of inputs 0 and 1


def _gradient(world: World) -> torch.Tensor:
    net = DistributedDataParallel(torch.nn.Linear(2, 1, bias=False))
    net(torch.full((1, 2), float(world.rank))).sum().backward()
    return net.module.weight.grad


def test_the_error_of_a_process_is_the_tests():
    with pytest.raises(RuntimeError, match="(?s)rank 1 raised.*KeyError: 'lost'"):
        run_processes(_raise, 2)


def _raise(world: World) -> None:
    if world.rank == 1:
        raise KeyError("lost")
    world.barrier()


def test_a_killed_process_is_named():
    with pytest.raises(RuntimeError, match="rank 0 died"):
        run_processes(_die, 2)


def _die(world: World) -> None:
    if world.rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
