"""Students in hand, as a mean over time."""

import pytest

from deployments.in_hand import STUDENTS, InHand


class Seconds:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_the_mean_weighs_each_count_by_how_long_it_held() -> None:
    seconds = Seconds()
    in_hand = InHand(seconds)
    with in_hand.hold(60):
        seconds.now += 1
        with in_hand.hold(4):
            seconds.now += 2
    seconds.now += 1
    assert in_hand.look() == {STUDENTS: (60 * 1 + 64 * 2 + 0) / 4}
    seconds.now += 5
    assert in_hand.look() == {STUDENTS: 0}, "each look starts anew"


def test_without_time_between_two_looks_the_count_of_the_moment_is_told() -> None:
    in_hand = InHand(Seconds())
    with in_hand.hold(7):
        assert in_hand.look() == {STUDENTS: 7}


def test_a_failed_call_leaves_nothing_in_hand() -> None:
    seconds = Seconds()
    in_hand = InHand(seconds)
    with pytest.raises(RuntimeError), in_hand.hold(3):
        raise RuntimeError
    seconds.now += 1
    assert in_hand.look() == {STUDENTS: 0}
