import pytest

from helpers.fixture_weights import read_fixture
from slowfast.models.frame_order import visit_order

RECORD = read_fixture("frameexit_order")


def test_ten_frames_have_the_released_order():
    assert list(visit_order(10)) == RECORD["released_10"]


@pytest.mark.parametrize("num_frames", RECORD["algorithm1"])
def test_other_counts_have_the_order_of_algorithm_1(num_frames):
    assert list(visit_order(int(num_frames))) == RECORD["algorithm1"][num_frames]


@pytest.mark.parametrize("num_frames", [1, 2, 7, 10, 13, 64, 257])
def test_every_frame_is_visited_once(num_frames):
    assert sorted(visit_order(num_frames)) == list(range(num_frames))


@pytest.mark.parametrize("num_frames", [5, 9, 33, 100])
def test_middle_and_ends_come_first(num_frames):
    assert visit_order(num_frames)[:3] == ((num_frames - 1) // 2, 0, num_frames - 1)


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="num_frames=0 must be 1 or more"):
        visit_order(0)
