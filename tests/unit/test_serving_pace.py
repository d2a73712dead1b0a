"""The pace of a queue, and how many may wait at it."""

import math

import pytest

from deployments.pace import Pace


class Seconds:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def make(seconds: Seconds, *, least: int = 4) -> Pace:
    return Pace(max_wait_s=2.0, least=least, seconds=seconds)


def batches(pace: Pace, seconds: Seconds, *, number: int, items: int, each_s: float, waiting: int) -> None:
    for _ in range(number):
        seconds.now += each_s
        pace.done(items, waiting=waiting)


def test_without_a_queue_any_number_may_wait_however_slow_single_calls_are(seconds: Seconds) -> None:
    pace = make(seconds)
    batches(pace, seconds, number=50, items=1, each_s=3.0, waiting=0)
    assert pace.room() == math.inf


def test_with_a_queue_as_many_may_wait_as_are_answered_in_time(seconds: Seconds) -> None:
    pace = make(seconds)
    batches(pace, seconds, number=3, items=10, each_s=0.5, waiting=5)
    assert pace.room() == pytest.approx(2.0 / 0.05)


def test_one_slow_batch_changes_little_and_many_change_the_pace(seconds: Seconds) -> None:
    pace = make(seconds, least=1)
    batches(pace, seconds, number=5, items=10, each_s=0.1, waiting=5)
    batches(pace, seconds, number=1, items=10, each_s=1.0, waiting=5)
    assert pace.room() > 2.0 / 0.03
    batches(pace, seconds, number=30, items=10, each_s=1.0, waiting=5)
    assert pace.room() == pytest.approx(2.0 / 0.1, rel=0.01)


def test_a_pause_between_two_queues_is_not_counted(seconds: Seconds) -> None:
    pace = make(seconds)
    batches(pace, seconds, number=3, items=10, each_s=0.5, waiting=5)
    batches(pace, seconds, number=1, items=10, each_s=0.5, waiting=0)
    before = pace.room()
    seconds.now += 3_600
    batches(pace, seconds, number=1, items=10, each_s=0.5, waiting=5)
    assert pace.room() == before


def test_a_full_round_of_batches_may_wait_at_any_pace(seconds: Seconds) -> None:
    pace = make(seconds, least=256)
    batches(pace, seconds, number=9, items=1, each_s=5.0, waiting=5)
    assert pace.room() == 256


def test_the_door_opens_again_where_no_queue_is_left(seconds: Seconds) -> None:
    pace = make(seconds, least=1)
    batches(pace, seconds, number=9, items=1, each_s=1.0, waiting=5)
    assert pace.room() == pytest.approx(2)
    batches(pace, seconds, number=20, items=1, each_s=0.01, waiting=0)
    assert pace.room() > 100
