"""Tables of which a school has never delivered a row: nothing falls there and nothing grows old."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from scipy.stats import poisson

from edupulse_ml.monitoring.data_policy import DataPolicy, UndeliveredTable
from edupulse_ml.monitoring.findings import Finding, listed, per_cent
from edupulse_ml.monitoring.volumes import blocked_years
from edupulse_ml.storage.data_checks import RecordWeek, SchoolWeek

_DISCIPLINE: Final = "discipline_incidents"
_ADVICE: Final = "The feed has never arrived: import it, or ask whether these schools have it."
_ADVICE_ON_INCIDENTS: Final = (
    "Import the incidents; where none are reported, let the calendar say so (`discipline_reported` false), so that they"
    " count as unknown."
)

Weeks = Mapping[str, Sequence[SchoolWeek]]
"""Of each school, those with school and students."""


def undelivered_findings(
    weeks: Sequence[SchoolWeek], records: Mapping[str, Sequence[RecordWeek]], *, policy: DataPolicy
) -> Iterator[Finding]:
    """At most one finding per table: the schools that students were enrolled at, for more days of school than the policy
    says, and that have no row of it in any week.

    A table whose rows name no school counts as delivered by all of them once it has a row.
    """
    taught = _by_school(weeks)
    for table, limit in policy.never_delivered.school_days.items():
        rows = _rows(records.get(table, ()), taught)
        expecting = _by_school(weeks, reporting=True) if table == _DISCIPLINE else taught
        silent = {
            school: of_school
            for school, of_school in expecting.items()
            if rows[school] == 0 and _school_days(of_school) > limit
        }
        if table == _DISCIPLINE:
            silent = _beyond_chance(silent, expecting, rows, policy)
        if silent:
            yield _finding(table, silent, weeks, of=len(expecting), policy=policy)


def _by_school(weeks: Sequence[SchoolWeek], *, reporting: bool = False) -> dict[str, list[SchoolWeek]]:
    """`reporting`: without the weeks in which incidents are declared not to be reported."""
    taught: dict[str, list[SchoolWeek]] = defaultdict(list)
    for week in weeks:
        if week.student_days > 0 and not (reporting and week.undeclared_days):
            taught[week.school_id].append(week)
    return taught


def _rows(of_table: Sequence[RecordWeek], taught: Weeks) -> dict[str, int]:
    """Rows of every school; of a table that never names one, all its rows."""
    rows = dict.fromkeys(taught, 0)
    names_schools = any(record.school_id is not None for record in of_table)
    for record in of_table:
        for school in (record.school_id,) if names_schools else taught:
            if school in rows:
                rows[school] += record.rows
    return rows


def _school_days(weeks: Sequence[SchoolWeek]) -> int:
    return sum(week.school_days for week in weeks)


def _student_days(weeks: Sequence[SchoolWeek]) -> int:
    return sum(week.student_days for week in weeks)


def _beyond_chance(silent: Weeks, expecting: Weeks, rows: Mapping[str, int], policy: DataPolicy) -> Weeks:
    """Those of which chance (Poisson, as in `volumes`) does not explain that they have none."""
    rates = [rows[school] / _student_days(weeks) for school, weeks in expecting.items() if rows[school]]
    usual = median(rates) if rates else policy.never_delivered.incidents_per_student_day
    return {
        school: weeks
        for school, weeks in silent.items()
        if float(poisson.cdf(0, usual * _student_days(weeks))) < policy.volumes.chance_below
    }


def _finding(
    table: UndeliveredTable, silent: Weeks, weeks: Sequence[SchoolWeek], *, of: int, policy: DataPolicy
) -> Finding:
    schools = tuple(sorted(silent))
    without = [week for school in schools for week in silent[school]]
    days = max(_school_days(of_school) for of_school in silent.values())
    limit = policy.never_delivered.school_days[table]
    told = f"{table}: not one row in up to {days} days of school at {listed(schools)} ({len(schools)} of {of} schools)"
    blocked = blocked_years(weeks, without, policy=policy.volumes) if table in policy.volumes.block_tables else {}
    if blocked:
        year, share = max(blocked.items(), key=lambda item: item[1])
        told += f", with {per_cent(share)} of the district's student-days of {year}-{year + 1}"
    return Finding(
        name=f"never_delivered.{table}",
        severity="blocker" if blocked else "warning",
        message=f"{told}.",
        advice=_ADVICE_ON_INCIDENTS if table == _DISCIPLINE else _ADVICE,
        schools=schools,
        first_week=min(week.week for week in without),
        last_week=max(week.week for week in without),
        figure=max(blocked.values()) if blocked else float(days),
        limit=policy.volumes.block_share if blocked else limit,
    )
