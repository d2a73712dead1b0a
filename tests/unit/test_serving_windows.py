"""Where feature windows come from, how many questions that takes, and what becomes of too little data."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from deployments.messages import FetchedWindows, FetchRequest
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.sequences import SequenceBatch
from tests.fakes.serving import CONTRACT, LAST_WEEK, NOW, RATE, LocalServing


def fetch(serving: LocalServing, *names: str, days_ago: int = 0) -> FetchedWindows:
    request = FetchRequest(tuple(StudentId(name) for name in names), NOW - timedelta(days=days_ago))
    return asyncio.run(serving.fetcher.fetch_many(request))


def assert_equal_batches(left: SequenceBatch, right: SequenceBatch) -> None:
    for name, values in vars(left).items():
        np.testing.assert_array_equal(values, getattr(right, name), err_msg=name)
        assert values.dtype == getattr(right, name).dtype


def test_stored_students_take_one_query_and_keep_their_order() -> None:
    serving = LocalServing()
    fetched = fetch(serving, "S3", "S0", "S2")
    assert [student.status for student in fetched.students] == ["found"] * 3
    np.testing.assert_allclose(fetched.batch.values[:, 19, RATE], [0.9, 0.1, 0.5])
    assert (fetched.batch.week[:, 19] == LAST_WEEK).all()
    assert serving.district.features.calls == 1
    assert fetched.contract_fingerprint == CONTRACT.fingerprint


def test_computed_windows_are_cached_and_stored_ones_are_not() -> None:
    serving = LocalServing()
    first = fetch(serving, "COMPUTED", "S0")
    assert [slot.student_id for slot in serving.district.cache.values] == ["COMPUTED"]
    second = fetch(serving, "S0", "COMPUTED")
    assert_equal_batches(first.batch, second.batch.select([1, 0]))
    assert serving.district.computed == [1]
    assert serving.metrics.sources == {"cache": 1, "store": 2, "records": 1}


def test_stored_windows_do_not_need_the_cache_at_all() -> None:
    serving = LocalServing()
    serving.district.cache.read = None  # pyright: ignore[reportAttributeAccessIssue]
    assert [student.status for student in fetch(serving, "S0", "nobody").students] == ["found", "unknown_student"]


def test_weeks_without_a_window_beside_them_give_the_same_windows_by_one_more_query() -> None:
    serving, older = LocalServing(), LocalServing()
    older.district.features.keeps_windows = False
    names = ("S3", "nobody", "EMPTY", "COMPUTED", "S0")
    assert_equal_batches(fetch(older, *names).batch, fetch(serving, *names).batch)
    assert (serving.district.features.calls, older.district.features.calls) == (1, 2)
    assert older.metrics.sources == serving.metrics.sources == {"store": 3, "cache": 0, "records": 1}


def test_what_is_not_materialised_is_computed_for_those_students_only() -> None:
    serving = LocalServing()
    fetched = fetch(serving, "S0", "COMPUTED", "S1")
    np.testing.assert_allclose(fetched.batch.values[:, 19, RATE], [0.1, 0.7, 0.3])
    assert serving.district.computed == [1]
    assert serving.metrics.sources == {"store": 2, "cache": 0, "records": 1}


def test_a_student_changed_by_an_import_is_computed_again() -> None:
    serving = LocalServing()
    serving.district.features.touch(serving.district.keys[StudentId("S1")], from_week=LAST_WEEK - 70)
    fetched = fetch(serving, "S0", "S1")
    np.testing.assert_allclose(fetched.batch.values[:, 19, RATE], [0.1, 0.7])


def test_statuses_line_up_with_the_ids_and_the_batch_holds_the_found_ones() -> None:
    fetched = fetch(LocalServing(), "EMPTY", "S1", "nobody", "NEW", "S2")
    assert [student.status for student in fetched.students] == [
        "insufficient", "found", "unknown_student", "insufficient", "found",
    ]  # fmt: skip
    np.testing.assert_allclose(fetched.batch.values[:, 19, RATE], [0.3, 0.5])
    empty, _, unknown, new, _ = fetched.students
    assert empty.feature_week is None
    assert unknown.coverage is None
    assert new.coverage is not None
    assert new.coverage.weeks == 2
    assert new.feature_week == LAST_WEEK


def test_only_unknown_students() -> None:
    serving = LocalServing()
    fetched = fetch(serving, "nobody", "nowhere")
    assert [student.status for student in fetched.students] == ["unknown_student"] * 2
    assert fetched.batch.n_examples == 0
    assert serving.district.features.calls == 1


def test_an_earlier_moment_gives_the_windows_of_that_time() -> None:
    fetched = fetch(LocalServing(), "S1", days_ago=21)
    assert fetched.batch.week[0, 19] == LAST_WEEK - 21


def test_records_that_ended_long_ago_are_too_little() -> None:
    serving = LocalServing()
    serving.district.features.through = dict.fromkeys(serving.district.keys.values(), LAST_WEEK + 700)
    fetched = fetch(serving, "S1", days_ago=-120)
    (student,) = fetched.students
    assert student.status == "insufficient"
    assert "123 days before" in student.missing[0]


def test_a_store_that_is_down_is_an_error_and_a_cache_that_is_down_is_not() -> None:
    serving = LocalServing()
    serving.district.cache.switch.down = True
    assert fetch(serving, "S1").students[0].status == "found"
    serving.district.take_postgresql_down()
    with pytest.raises(DependencyDownError):
        fetch(serving, "S1")


def test_a_cached_window_of_another_shape_is_a_miss() -> None:
    serving = LocalServing()
    first = fetch(serving, "COMPUTED")
    cache = serving.district.cache
    cache.values = {slot: value[:-1] for slot, value in cache.values.items()}
    assert_equal_batches(fetch(serving, "COMPUTED").batch, first.batch)
    assert serving.district.computed == [1, 1]
