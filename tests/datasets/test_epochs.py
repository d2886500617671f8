"""The order of videos: each once, divided among processes, and continued where it stopped."""

import pytest
import torch
from torch.utils.data import Dataset

from slowfast.datasets.batch import Batch
from slowfast.datasets.epochs import EpochBatches, Kind, Loader


def taken(length: int, world: int, batch: int, seed: int | None = None, epoch: int = 0):
    """The videos of every process, in order, batch by batch."""
    shares = []
    for rank in range(world):
        batches = EpochBatches(length, batch, seed, rank, world)
        batches.epoch = epoch
        shares.append([[index for _, index in keys] for keys in batches])
    return shares


def flat(lists: list) -> list:
    return [item for one in lists for item in one]


class Numbers(Dataset):
    """Samples that are their keys."""

    def __getitem__(self, key):
        return key

    def __len__(self):
        return 23


def collate(keys) -> Batch:
    index = torch.tensor([index for _, index, *_ in keys])
    return Batch((), torch.zeros(len(keys)), index)


def loader(batch_size=4, workers=0, rank=0, world=1, seed=7, kinds=None) -> Loader:
    return Loader(
        Numbers(),
        EpochBatches(23, batch_size, seed, rank, world, seed is not None, kinds),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def order_of(loader: Loader) -> list[int]:
    return [i for batch in loader for i in batch.index.tolist()]


def sizes_of(loader: Loader) -> list[int]:
    return [len(batch) for batch in loader]


@pytest.mark.parametrize("world", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("length", [1, 15, 16, 17])
def test_every_test_video_is_taken_by_exactly_one_process(length, world):
    shares = taken(length, world, batch=2 * world)
    sizes = [len(flat(share)) for share in shares]
    assert sorted(flat(map(flat, shares))) == list(range(length))
    assert max(sizes) - min(sizes) <= 1
    for rank, share in enumerate(shares):
        assert len(EpochBatches(length, 2 * world, None, rank, world)) == len(share)
        assert flat(share) == list(range(length))[rank::world]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_training_shares_are_equal_and_without_duplicates(world):
    shares = taken(17, world, batch=world, seed=3)
    assert {len(flat(share)) for share in shares} == {17 // world}
    found = flat(map(flat, shares))
    assert len(set(found)) == len(found) == 17 - 17 % world


@pytest.mark.parametrize("world", [2, 4, 8])
def test_a_training_batch_is_the_same_for_any_number_of_processes(world):
    alone = taken(37, 1, batch=8, seed=3, epoch=2)[0]
    shares = taken(37, world, batch=8, seed=3, epoch=2)
    assert [sorted(keys) for keys in alone[:4]] == [
        sorted(flat(keys)) for keys in list(zip(*shares, strict=True))[:4]
    ]


@pytest.mark.parametrize("world", [2, 4])
def test_videos_as_far_from_either_end_of_a_batch_are_in_the_same_process(world):
    (alone,) = taken(16, 1, batch=16, seed=3)[0]
    partner = dict(zip(alone, reversed(alone), strict=True))
    for share in taken(16, world, batch=16, seed=3):
        assert [partner[index] for index in share[0]] == share[0][::-1]


def test_the_videos_left_over_change_with_the_epoch():
    left = [
        set(range(17)) - set(flat(map(flat, taken(17, 3, batch=3, seed=3, epoch=e))))
        for e in range(4)
    ]
    assert all(len(few) == 2 for few in left) and len(set().union(*left)) > 2


def test_a_rank_beyond_the_number_of_processes_is_refused():
    with pytest.raises(ValueError, match=r"process 2 of 2: ranks are 0 \.\. 1"):
        EpochBatches(5, 4, rank=2, world=2)


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
    expected = order_of(loader(batch_size=3))
    state = {"epoch": 0, "done": 8}  # two processes with two batches of two
    shares = []
    for rank in range(3):
        one = loader(batch_size=3, rank=rank, world=3)
        one.load_state_dict(state)
        shares.append(order_of(one))
    assert {len(share) for share in shares} == {5}
    assert {*flat(shares)}.isdisjoint(expected[:8]) and len({*flat(shares)}) == 15


def test_processes_count_the_videos_of_all_of_them():
    one = loader(batch_size=6, rank=1, world=3)
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
    assert len(order_of(again)) == 20  # the next loop is over the whole epoch


def test_lengths_are_those_of_whole_epochs():
    one = loader()
    one.load_state_dict({"epoch": 0, "done": 16})
    assert len(one) == 5


def turns(epoch: int) -> list[Kind]:
    """Batches of six small and three large clips in even epochs, of two in odd ones."""
    return [Kind(2, 2)] if epoch % 2 else [Kind(6, 0), Kind(3, 1)]


def test_batches_of_several_kinds_take_turns():
    batches = list(EpochBatches(23, 4, drop_last=True, kinds=turns))
    assert [[index for _, index, _ in keys] for keys in batches] == [
        *([0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12, 13, 14], [15, 16, 17]),
    ]
    assert [{shape for _, _, shape in keys} for keys in batches] == [{0}, {1}, {0}, {1}]


def test_the_kinds_may_change_with_the_epoch():
    one = loader(kinds=turns)
    assert sizes_of(one) == [6, 3, 6, 3] and len(one) == 4
    one.set_epoch(1)
    assert sizes_of(one) == [2] * 11 and len(one) == 11


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_loop_over_several_kinds_goes_on_with_the_right_one(stop):
    whole, first, resumed = loader(kinds=turns), loader(kinds=turns), loader(kinds=turns, workers=1)
    for one in (whole, first):
        one.set_epoch(2)
    iterator = iter(first)
    had = flat(next(iterator).index.tolist() for _ in range(stop))
    resumed.load_state_dict(first.state_dict())
    sizes = [len(batch) for batch in resumed]
    resumed.load_state_dict(first.state_dict())
    assert had + order_of(resumed) == order_of(whole)
    assert sizes == [6, 3, 6, 3][stop:]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_processes_divide_every_kind(rank):
    one = loader(kinds=turns, rank=rank, world=3)
    assert sizes_of(one) == [2, 1, 2, 1]
