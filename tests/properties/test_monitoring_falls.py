"""A fall in volume is found wherever it lies, and steady deliveries have none, however long or short the weeks are."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.monitoring.data_policy import load_data_policy
from edupulse_ml.monitoring.volumes import falls_of
from edupulse_ml.storage.data_checks import RecordWeek, SchoolWeek

POLICY = load_data_policy().volumes
FIRST = date(2025, 9, 1)
N_WEEKS = 24
AT = datetime(2026, 3, 1, tzinfo=UTC)

student_days = st.lists(st.integers(200, 4000), min_size=N_WEEKS, max_size=N_WEEKS)
rates = st.floats(0.2, 6.0)


def series(days: list[int], rate: float, *, silent: range) -> tuple[list[SchoolWeek], list[RecordWeek]]:
    weeks = [FIRST + timedelta(days=7 * position) for position in range(N_WEEKS)]
    counted = [SchoolWeek("north", week, 2025, 5, n, 0) for week, n in zip(weeks, days, strict=True)]
    records = [
        RecordWeek("north", week, round(rate * n), AT, None, {}, {})
        for position, (week, n) in enumerate(zip(weeks, days, strict=True))
        if position not in silent
    ]
    return counted, records


@settings(deadline=None)
@given(student_days, rates)
def test_steady_deliveries_never_fall(days: list[int], rate: float) -> None:
    assert falls_of(*series(days, rate, silent=range(0)), table="attendance_records", policy=POLICY) == []


@settings(deadline=None)
@given(student_days, rates, st.integers(4, 18), st.integers(1, 6))
def test_a_silence_is_found_with_its_first_and_last_week(days: list[int], rate: float, start: int, length: int) -> None:
    silent = range(start, start + length)
    (fall,) = falls_of(*series(days, rate, silent=silent), table="attendance_records", policy=POLICY)
    assert fall.rows == 0
    assert fall.first_week == FIRST + timedelta(days=7 * start)
    assert fall.last_week == FIRST + timedelta(days=7 * (start + length - 1))
    assert fall.student_days == sum(days[start : start + length])


@settings(deadline=None)
@given(student_days, rates, st.integers(4, 18), st.integers(1, 6))
def test_grades_fall_only_over_three_weeks(days: list[int], rate: float, start: int, length: int) -> None:
    found = falls_of(*series(days, rate, silent=range(start, start + length)), table="grades", policy=POLICY)
    assert len(found) == (length >= 3)
