"""The order of videos: each once, divided among processes, and continued where it stopped."""

import pytest
import torch
from torch.utils.data import Dataset

from slowfast.datasets.batch import Batch
from slowfast.datasets.epochs import EpochSampler, Loader


def taken(length: int, world: int, seed: int | None = None, epoch: int = 0, start: int = 0):
    """The videos of every process, in order."""
    shares = []
    for rank in range(world):
        sampler = EpochSampler(length, seed, rank, world)
        sampler.epoch, sampler.start = epoch, start
        shares.append([index for _, index in sampler])
    return shares


def interleaved(shares: list[list[int]]) -> list[int]:
    """The common order of all processes."""
    longest = max(map(len, shares))
    return [share[i] for i in range(longest) for share in shares if i < len(share)]


class Numbers(Dataset):
    """Samples that are their keys."""

    def __getitem__(self, key):
        return key

    def __len__(self):
        return 23


def collate(keys) -> Batch:
    index = torch.tensor([index for _, index in keys])
    return Batch((), torch.zeros(len(keys)), index)


def loader(batch_size=4, workers=0, rank=0, world=1, seed=7) -> Loader:
    sampler = EpochSampler(23, seed, rank, world)
    return Loader(
        Numbers(),
        batch_size=batch_size,
        sampler=sampler,
        drop_last=seed is not None,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def order_of(loader: Loader) -> list[int]:
    return [i for batch in loader for i in batch.index.tolist()]


@pytest.mark.parametrize("world", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("length", [1, 15, 16, 17])
def test_every_test_video_is_taken_by_exactly_one_process(length, world):
    shares = taken(length, world)
    assert sorted(i for share in shares for i in share) == list(range(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [len(EpochSampler(length, None, r, world)) for r in range(world)] == [*map(len, shares)]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_training_shares_are_equal_and_without_duplicates(world):
    shares = taken(17, world, seed=3)
    assert {len(share) for share in shares} == {17 // world}
    found = [i for share in shares for i in share]
    assert len(set(found)) == len(found) == 17 - 17 % world


def test_the_common_order_does_not_depend_on_the_number_of_processes():
    alone = taken(17, 1, seed=3, epoch=2)[0]
    for world in (2, 4, 5):
        common = interleaved(taken(17, world, seed=3, epoch=2))
        assert common == alone[: len(common)]


def test_the_videos_left_over_change_with_the_epoch():
    left = [
        set(range(17)) - {i for share in taken(17, 3, seed=3, epoch=e) for i in share}
        for e in range(4)
    ]
    assert all(len(few) == 2 for few in left) and len(set().union(*left)) > 2


def test_a_rank_beyond_the_number_of_processes_is_refused():
    with pytest.raises(ValueError, match=r"process 2 of 2: ranks are 0 \.\. 1"):
        EpochSampler(5, rank=2, world=2)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_loop_goes_on_where_its_state_was_taken(workers, stop):
    whole = loader()
    whole.set_epoch(5)
    expected = order_of(whole)

    first = loader(workers=workers)
    first.set_epoch(5)
    had = []
    for count, batch in enumerate(first, start=1):
        had += batch.index.tolist()
        if count == stop:
            state = first.state_dict()  # while workers have further batches ready
            break
    assert state == {"epoch": 5, "done": 4 * stop}

    for resumed in (loader(workers=2 - workers), loader(batch_size=2)):
        resumed.load_state_dict(state)
        resumed.set_epoch(5)
        assert had + order_of(resumed)[: 20 - len(had)] == expected


def test_a_state_is_good_for_another_number_of_processes():
    expected = order_of(loader(batch_size=1))
    state = {"epoch": 0, "done": 8}  # two processes with two batches of two
    shares = []
    for rank in range(3):
        one = loader(batch_size=1, rank=rank, world=3)
        one.load_state_dict(state)
        shares.append(order_of(one))
    common = interleaved(shares)
    assert common == expected[8 : 8 + len(common)] and len(common) >= 23 - 8 - 2


def test_processes_count_the_videos_of_all_of_them():
    one = loader(batch_size=2, rank=1, world=3)
    iterator = iter(one)
    next(iterator), next(iterator)
    assert one.state_dict() == {"epoch": 0, "done": 12}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_is_broken_off_starts_anew(workers):
    one = loader(workers=workers)
    first = next(iter(one)).index.tolist()
    assert order_of(one)[:4] == first


def test_only_the_first_loop_after_loading_starts_later():
    one = loader()
    one.load_state_dict({"epoch": 0, "done": 16})
    assert len(order_of(one)) == 4
    assert len(order_of(one)) == 20


def test_another_epoch_than_that_of_the_state_starts_at_its_beginning():
    one = loader()
    one.load_state_dict({"epoch": 0, "done": 16})
    one.set_epoch(1)
    assert len(order_of(one)) == 20


def test_a_finished_epoch_has_nothing_left():
    one = loader()
    order_of(one)
    state = one.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert order_of(again) == []


def test_lengths_are_those_of_whole_epochs():
    one = loader()
    one.load_state_dict({"epoch": 0, "done": 16})
    assert len(one) == 5
