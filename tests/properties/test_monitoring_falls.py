"""A fall in volume is found wherever it lies, and steady deliveries have none, however long or short the weeks are."""

from collections.abc import Set
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.monitoring.data_policy import load_data_policy
from edupulse_ml.monitoring.findings import Finding
from edupulse_ml.monitoring.volumes import falls_of, volume_findings
from edupulse_ml.storage.data_checks import RecordWeek, SchoolWeek

POLICY = load_data_policy().volumes
ATTENDANCE = POLICY.model_copy(update={"tables": {"attendance_records": 1}})
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


STUDENT_DAYS = 1000
"""Of each school and week in the years below."""


def two_years(*, this_year: int, silent: Set[tuple[str, int, int]]) -> tuple[list[SchoolWeek], list[RecordWeek]]:
    """38 weeks of 2024-25 and the first weeks of 2025-26 at two schools; `silent`: school, school year, position."""
    weeks, records = [], []
    for school in ("east", "west"):
        for year, first, length in ((2024, date(2024, 9, 2), 38), (2025, date(2025, 9, 1), this_year)):
            for position in range(length):
                week = first + timedelta(days=7 * position)
                weeks.append(SchoolWeek(school, week, year, 5, STUDENT_DAYS, 0))
                if (school, year, position) not in silent:
                    records.append(RecordWeek(school, week, STUDENT_DAYS, AT, None, {}, {}))
    return weeks, records


def blockers(*, this_year: int, silent: Set[tuple[str, int, int]]) -> tuple[list[Finding], list[Finding]]:
    """Blockers and warnings."""
    weeks, records = two_years(this_year=this_year, silent=silent)
    found = list(volume_findings(weeks, {"attendance_records": records}, policy=ATTENDANCE))
    return [one for one in found if one.severity == "blocker"], [one for one in found if one.severity == "warning"]


def test_one_missing_week_in_september_is_a_warning() -> None:
    blocked, told = blockers(this_year=2, silent={("west", 2025, 1)})
    assert (blocked, [one.schools for one in told]) == ([], [("west",)])


def test_a_missing_tenth_of_a_school_year_blocks_however_young_the_year_is() -> None:
    silent = {(school, 2025, position) for school in ("east", "west") for position in range(4)}
    (blocked,), told = blockers(this_year=6, silent=silent)
    assert blocked.figure == 8 / 76
    assert told == []


def test_weeks_before_and_after_a_summer_count_in_their_own_years() -> None:
    silent = {("west", 2024, position) for position in range(28, 38)} | {
        ("west", 2025, position) for position in (0, 1)
    }
    (blocked,), told = blockers(this_year=4, silent=silent)
    assert (blocked.figure, blocked.first_week, blocked.last_week) == (
        10 / 76,
        date(2024, 9, 2) + timedelta(days=7 * 28),
        date(2024, 9, 2) + timedelta(days=7 * 37),
    )
    assert "2024-2025" in blocked.message
    assert [one.last_week for one in told] == [date(2025, 9, 8)], "what no blocker tells of is told"


@settings(deadline=None)
@given(student_days, rates, st.integers(4, 18), st.integers(1, 6))
def test_grades_fall_only_over_three_weeks(days: list[int], rate: float, start: int, length: int) -> None:
    found = falls_of(*series(days, rate, silent=range(start, start + length)), table="grades", policy=POLICY)
    assert len(found) == (length >= 3)
