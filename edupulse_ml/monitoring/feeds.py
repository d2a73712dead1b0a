"""Whether feeds are alive and on time: news per table and school, late rows, columns and marks that are not delivered."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from edupulse_ml.core.weeks import day_from_number, local_day
from edupulse_ml.monitoring.data_policy import DataPolicy
from edupulse_ml.monitoring.findings import Finding, listed, per_cent
from edupulse_ml.storage.data_checks import RecordWeek, SchoolWeek

_ENOUGH_ROWS: Final = 200
"""Rows of a school below which a share of them is not told."""

_COLUMN_NEVER_GIVEN: Final = 0.99
_MARKS: Final = "score_pct"

Records = Mapping[str, Sequence[RecordWeek]]


def freshness_findings(
    school_days: Mapping[str, Sequence[date]],
    weeks: Sequence[SchoolWeek],
    records: Records,
    *,
    as_of: datetime,
    zone: ZoneInfo,
    policy: DataPolicy,
) -> Iterator[Finding]:
    """Tables without news of a school, counted in that school's days of school; and a calendar that has ended.

    Only schools count that anybody was enrolled at in their last week of school.
    """
    today = day_from_number(local_day(as_of, zone))
    yield from _calendar_end(school_days, today, limit=policy.calendar_ends_days)
    last_week = {week.school_id: week for week in weeks}
    alive = [school for school in school_days if school in last_week and last_week[school].student_days > 0]
    for table, limit in policy.freshness.items():
        latest = _latest(records.get(table, ()))
        silent = {
            school: _days_between(school_days[school], latest[school], today, zone)
            for school in alive
            if school in latest
        }
        for severity, days in (("blocker", limit.block_school_days), ("warning", limit.warn_school_days)):
            stale = {} if days is None else {school: n for school, n in silent.items() if n > days}
            if stale:
                yield Finding(
                    name=f"freshness.{table}",
                    severity="blocker" if severity == "blocker" else "warning",
                    message=(
                        f"{table}: nothing new for {max(stale.values())} days of school at {listed(sorted(stale))}; the"
                        f" limit is {days}."
                    ),
                    advice="The feed has stopped: import what is missing.",
                    schools=tuple(sorted(stale)),
                    figure=float(max(stale.values())),
                    limit=days,
                )
                break


def late_findings(records: Records, *, policy: DataPolicy) -> Iterator[Finding]:
    """Schools whose rows come late, whose work stays without a mark, or that never fill a column."""
    limits = policy.late
    late_days: Mapping[str, int] = {str(name): days for name, days in limits.days.items()}
    for table, of_table in records.items():
        by_school: dict[str, list[RecordWeek]] = defaultdict(list)
        for record in of_table:
            by_school[record.school_id or ""].append(record)
        sums = {school: sum(record.rows for record in found) for school, found in by_school.items()}
        told = {school: found for school, found in by_school.items() if sums[school] >= _ENOUGH_ROWS}
        late = {school: sum(record.late or 0 for record in found) / sums[school] for school, found in told.items()}
        slow = {school: share for school, share in late.items() if share > limits.share}
        if slow and table in late_days:
            yield _late(table, slow, days=late_days[table], limit=limits.share)
        for column in sorted({name for record in of_table for name in record.missing}):
            yield from _column(table, column, _shares_without(column, by_school), policy)


def _shares_without(column: str, by_school: Mapping[str, Sequence[RecordWeek]]) -> dict[str, float]:
    """School to the share of the rows that should have the column and do not; schools with too few such rows are left
    out.
    """
    due = {school: sum(week.due.get(column, week.rows) for week in found) for school, found in by_school.items()}
    return {
        school: sum(week.missing.get(column, 0) for week in found) / due[school]
        for school, found in by_school.items()
        if due[school] >= _ENOUGH_ROWS
    }


def _calendar_end(school_days: Mapping[str, Sequence[date]], today: date, *, limit: int) -> Iterator[Finding]:
    ends = [days[-1] for days in school_days.values() if days]
    if not ends or (today - max(ends)).days > limit:
        gone = (today - max(ends)).days if ends else None
        yield Finding(
            name="freshness.calendar",
            severity="warning",
            message=(
                "The calendar names no day of school."
                if gone is None
                else f"The calendar's last day of school is {max(ends)}, {gone} days ago: what has not been delivered"
                " since cannot be told."
            ),
            advice="Import the calendar of the school year in progress, or that of the next one.",
            figure=None if gone is None else float(gone),
            limit=limit,
        )


def _latest(records: Sequence[RecordWeek]) -> dict[str, datetime]:
    latest: dict[str, datetime] = {}
    for record in records:
        if record.school_id is not None:
            latest[record.school_id] = max(latest.get(record.school_id, record.latest), record.latest)
    return latest


def _days_between(days: Sequence[date], latest: datetime, today: date, zone: ZoneInfo) -> int:
    """School days after `latest` and before `today`; today's records may still come."""
    since = bisect_right(days, day_from_number(local_day(latest, zone)))
    until = bisect_right(days, today) - int(bool(days) and today in days)
    return max(0, until - since)


def _late(table: str, slow: Mapping[str, float], *, days: int, limit: float) -> Finding:
    schools = sorted(school for school in slow if school)
    where = f"at {listed(schools)}" if schools else "in the district"
    return Finding(
        name=f"late.{table}",
        severity="warning",
        message=(
            f"{table}: up to {per_cent(max(slow.values()))} of the rows were known more than {days} days late {where};"
            f" {per_cent(limit)} are usual."
        ),
        advice="Scores see them that much later; if `recorded_at` is the day of the export, ask for the real one.",
        schools=tuple(schools),
        figure=max(slow.values()),
        limit=limit,
    )


def _column(table: str, column: str, without: Mapping[str, float], policy: DataPolicy) -> Iterator[Finding]:
    limit = policy.late.unmarked_share if column == _MARKS else _COLUMN_NEVER_GIVEN
    lacking = {school: share for school, share in without.items() if share > limit}
    if not lacking:
        return
    schools = sorted(school for school in lacking if school)
    what = (
        f"{per_cent(max(lacking.values()))} of the work handed in has no mark {policy.late.unmarked_days} days after it"
        " was due"
        if column == _MARKS
        else f"'{column}' is never given"
    )
    yield Finding(
        name=f"missing.{table}.{column}",
        severity="warning",
        message=f"{table}: {what} at {listed(schools)} ({len(lacking)} of {len(without)} schools).",
        advice="What hangs on it is unknown there, not zero; ask whether the school has it.",
        schools=tuple(schools),
        figure=max(lacking.values()),
        limit=limit,
    )
