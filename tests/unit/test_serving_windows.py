"""Where feature windows come from, how many questions that takes, and what becomes of too little data."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from deployments.messages import FetchedWindows, FetchRequest
from deployments.window_codec import decode_window, encode_window, window_size_bytes
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.sequences import SequenceBatch, empty_windows, windows_ending_at
from tests.fakes.serving import CONTRACT, LAST_WEEK, N_WEEKS, NOW, RATE, LocalServing, student_block


def fetch(serving: LocalServing, *names: str, days_ago: int = 0) -> FetchedWindows:
    request = FetchRequest(tuple(StudentId(name) for name in names), NOW - timedelta(days=days_ago))
    return asyncio.run(serving.fetcher.fetch_many(request))


def windows(rate: float = 0.3, weeks: int = N_WEEKS) -> SequenceBatch:
    block = student_block(rate, weeks=weeks)
    last = np.array([weeks - 1], dtype=np.int32)
    return windows_ending_at(block, student=np.zeros(1, np.int32), step=last, window_weeks=20)


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


def test_cached_windows_need_no_query_and_are_the_same() -> None:
    serving = LocalServing()
    first = fetch(serving, "S3", "S0")
    serving.district.take_postgresql_down()
    second = fetch(serving, "S0", "S3")
    assert_equal_batches(first.batch, second.batch.select([1, 0]))
    assert serving.metrics.sources == {"cache": 2, "store": 2}


def test_what_is_not_materialised_is_computed_for_those_students_only() -> None:
    serving = LocalServing()
    fetched = fetch(serving, "S0", "COMPUTED", "S1")
    np.testing.assert_allclose(fetched.batch.values[:, 19, RATE], [0.1, 0.7, 0.3])
    assert serving.district.computed == [1]
    assert serving.metrics.sources == {"cache": 0, "store": 2, "records": 1}


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
    assert serving.district.features.calls == 0


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
    first = fetch(serving, "S1")
    cache = serving.district.cache
    cache.values = {slot: value[:-1] for slot, value in cache.values.items()}
    assert_equal_batches(fetch(serving, "S1").batch, first.batch)


def test_a_window_survives_the_cache_bit_by_bit() -> None:
    rng = np.random.default_rng(0)
    batch = windows()
    batch.values[:] = rng.normal(size=batch.values.shape)
    batch.values[0, 3, 5] = np.nan
    batch.mask[:] = rng.random(batch.mask.shape) < 0.5
    data = encode_window(batch, 0)
    assert len(data) == window_size_bytes(20)
    decoded = decode_window(data, window_weeks=20)
    assert decoded is not None
    assert_equal_batches(decoded, batch)


def test_short_and_empty_windows_survive_the_cache() -> None:
    for batch in (windows(weeks=3), empty_windows(1, window_weeks=20)):
        decoded = decode_window(encode_window(batch, 0), window_weeks=20)
        assert decoded is not None
        assert_equal_batches(decoded, batch)
    assert decode_window(encode_window(windows(), 0), window_weeks=19) is None
