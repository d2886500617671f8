import pytest

from slowfast.models.flexible import Rate, all_rates
from slowfast.report.sizes.document import front_table, size_claims, size_summary
from slowfast.report.sizes.results import SizeResults, front

TRAINED = all_rates((4, 8), (16, 32))


def results(flexible=(70.0, 80.0, 82.0, 90.0), separate=(71.0, 82.0, 81.0, 90.0)) -> SizeResults:
    return SizeResults(
        trained=TRAINED,
        flexible={
            rate: [value - 1, value + 1] for rate, value in zip(TRAINED, flexible, strict=True)
        },
        highest={rate: [40.0] for rate in TRAINED},
        separate={rate: [value] for rate, value in zip(TRAINED, separate, strict=True)},
        gflops={rate: rate.pixels / 1000 for rate in TRAINED},
    )


def test_a_pair_that_is_more_than_a_point_and_a_half_below_its_own_network_fails():
    claims = size_claims(results())
    assert [claim.holds for claim in claims] == [True, False, True, True]
    assert claims[1].value == pytest.approx(-2.0) and "8 frames of 16 px" in claims[1].text


def test_the_front_has_no_pair_that_another_beats_in_both():
    accuracy = {Rate(4, 16): [70.0], Rate(8, 16): [85.0], Rate(4, 32): [82.0], Rate(8, 32): [90.0]}
    assert front(results().gflops, accuracy) == [Rate(4, 16), Rate(8, 16), Rate(8, 32)]


def test_of_pairs_that_cost_the_same_the_better_one_is_in_the_front():
    gflops = {Rate(4, 20): 1.0, Rate(16, 10): 1.0}
    accuracy = {Rate(4, 20): [60.0], Rate(16, 10): [61.0]}
    assert front(gflops, accuracy) == [Rate(16, 10)]


def test_the_summary_says_the_range_of_differences():
    assert "between −2.0 and +1.0 points, −0.5 on average" in size_summary(results())


def test_the_budget_table_goes_from_cheap_to_dear_and_rises():
    rows = [[cell.text for cell in row] for row in front_table(results()).rows]
    assert [row[1] for row in rows] == [f"{r.num_frames} frames of {r.size} px" for r in TRAINED]
