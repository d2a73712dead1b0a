"""Which of many gaps between groups is told: the one that chance explains least."""

import pytest

from edupulse_ml.evaluation.bootstrap import Interval
from edupulse_ml.evaluation.figures import Figure
from edupulse_ml.evaluation.surest_gap import PairGap, surest_gap

REACH = {frozenset({0, 1}): 0.09, frozenset({1, 2}): 0.23, frozenset({0, 2}): 0.30}


def told(values: list[float], reach: dict[frozenset[int], float]) -> PairGap:
    def interval(high: int, low: int, coverage: float) -> Interval | None:
        del coverage
        around = reach.get(frozenset({high, low}))
        difference = values[high] - values[low]
        return None if around is None else Interval(difference - around, difference + around)

    return surest_gap(values, interval)


def test_a_sure_gap_is_told_before_a_wider_one_of_a_small_group() -> None:
    found = told([0.50, 0.25, 0.55], REACH)
    assert (found.higher, found.lower) == (0, 1)
    assert found.gap.value == pytest.approx(0.25)
    assert (found.gap.low, found.gap.high) == pytest.approx((0.16, 0.34))


def test_where_chance_could_have_made_every_gap_the_widest_is_told() -> None:
    found = told([0.50, 0.45, 0.60], dict.fromkeys(REACH, 0.2) | {frozenset({0, 1}): 0.06})
    assert (found.higher, found.lower) == (2, 1)
    assert told([0.50, 0.45, 0.60], {}) == PairGap(2, 1, Figure(pytest.approx(0.15)))


def test_more_pairs_ask_for_more_coverage() -> None:
    asked: list[float] = []

    def interval(high: int, low: int, coverage: float) -> Interval:
        del high, low
        asked.append(coverage)
        return Interval(0.0, 1.0)

    surest_gap([0.1, 0.2], interval)
    surest_gap([0.1, 0.2, 0.3, 0.4], interval)
    assert asked == pytest.approx([0.95] + [1 - 0.05 / 6] * 6)
