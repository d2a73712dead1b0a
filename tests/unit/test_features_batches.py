"""Batches of students hold the right records, and change no feature."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from features import compute
from features.batches import STUDENTS_PER_BATCH, batches_of
from features.compute import compute_features
from tests.fakes.feature_tables import assert_blocks_equal
from tests.fakes.random_records import RandomShape, random_records, shuffled
from tests.fakes.record_builder import week

EVENTS = ("attendance", "grades", "transcript", "discipline", "enrollments")


def drawn(n_students=7):
    return random_records(np.random.default_rng(5), RandomShape(n_students=n_students))


def _sorted(records):
    def in_order(events):
        order = np.argsort(events.student, kind="stable")
        return type(events)(**{name: getattr(events, name)[order] for name in events.__dataclass_fields__})

    return replace(records, **{name: in_order(getattr(records, name)) for name in EVENTS})


@pytest.mark.parametrize("arrange", [_sorted, lambda records: shuffled(records, np.random.default_rng(1))])
@pytest.mark.parametrize("n_students", [1, 3, 7, 100])
def test_batches_are_the_selected_students(arrange, n_students):
    records = arrange(drawn())
    batches = list(batches_of(records, n_students=n_students))
    assert [b.n_students for b in batches] == [min(n_students, 7 - i) for i in range(0, 7, n_students)]
    for first, batch in zip(range(0, 7, n_students), batches, strict=True):
        selected = records.select(range(first, first + batch.n_students))
        np.testing.assert_array_equal(batch.birth_day, selected.birth_day)
        for name in EVENTS:
            for field in getattr(batch, name).__dataclass_fields__:
                found, wanted = (getattr(getattr(r, name), field) for r in (batch, selected))
                np.testing.assert_array_equal(found, wanted, err_msg=f"{name}.{field}")
                assert found.dtype == wanted.dtype


def test_batches_of_grouped_events_share_their_memory():
    records = _sorted(drawn())
    for batch in batches_of(records, n_students=3):
        assert np.shares_memory(batch.attendance.day, records.attendance.day)


@pytest.mark.parametrize("n_students", [1, 2, 5])
def test_the_size_of_a_batch_changes_no_feature(monkeypatch, n_students):
    records = drawn()
    together = compute_features(records, through_week=week(45))
    monkeypatch.setattr(compute, "batches_of", partial(batches_of, n_students=n_students))
    assert_blocks_equal(together, compute_features(records, through_week=week(45)))


def test_a_block_of_several_batches_is_as_wide_as_its_longest_student():
    shape = RandomShape(n_students=STUDENTS_PER_BATCH + 1, n_years=1, weeks_per_year=4)
    block = compute_features(random_records(np.random.default_rng(6), shape), through_week=week(45))
    assert block.week.shape == (shape.n_students, int(block.n_steps.max()))
