"""Sudden falls in how many records a school delivers, and months that it declares to be silent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final

import numpy as np
from scipy.stats import poisson

from edupulse_ml.monitoring.data_policy import VolumePolicy, WeeklyTable
from edupulse_ml.monitoring.findings import Finding, listed, per_cent
from edupulse_ml.storage.data_checks import RecordWeek, SchoolWeek

_DISCIPLINE: Final = "discipline_incidents"
_LEAST_REFERENCE: Final = 4


@dataclass(frozen=True)
class Fall:
    """Weeks in a row in which a school delivered much less than before. Both counts are rows."""

    school_id: str
    first_week: date
    last_week: date
    school_year: int
    rows: int
    expected: float
    student_days: int


def volume_findings(
    weeks: Sequence[SchoolWeek], records: Mapping[str, Sequence[RecordWeek]], *, policy: VolumePolicy
) -> Iterator[Finding]:
    """Falls of every table of the policy, and the weeks without reports of incidents that schools declared."""
    yield from _declared_gaps(weeks)
    for table in policy.tables:
        falls = falls_of(weeks, records.get(table, ()), table=table, policy=policy)
        blocked = _blocked_years(weeks, falls, policy=policy) if table in policy.block_tables else {}
        for year, share in sorted(blocked.items()):
            of_year = [fall for fall in falls if fall.school_year == year]
            yield Finding(
                name=f"volume.{table}",
                severity="blocker",
                message=(
                    f"{table}: in weeks with {per_cent(share)} of the district's student-days of {year}-{year + 1}, far"
                    f" fewer rows came than before, at {listed(sorted({fall.school_id for fall in of_year}))}."
                ),
                advice="A delivery is missing: import these weeks again.",
                schools=tuple(sorted({fall.school_id for fall in of_year})),
                first_week=min(fall.first_week for fall in of_year),
                last_week=max(fall.last_week for fall in of_year),
                figure=share,
                limit=policy.block_share,
            )
        for fall in falls:
            if fall.school_year not in blocked:
                yield _told(table, fall, policy)


def falls_of(
    weeks: Sequence[SchoolWeek], records: Iterable[RecordWeek], *, table: WeeklyTable, policy: VolumePolicy
) -> list[Fall]:
    """Runs of weeks in which a school's rows per student-day fell, ordered by school and week. Weeks in which incidents
    are declared not to be reported are left out of the table of incidents.

    What was to be expected is the median rate of the school's weeks before that had not fallen themselves, at most
    `reference_weeks` of them, times the week's student-days. A run is a fall if chance (Poisson, science.md 2.0: counts
    of rare events) gives so few rows with less than `chance_below`.
    """
    rows = {(record.school_id, record.week): record.rows for record in records}
    falls: list[Fall] = []
    for school, of_school in groupby(weeks, key=lambda week: week.school_id):
        low: list[tuple[SchoolWeek, float]] = []
        before: list[float] = []
        for week in of_school:
            if week.student_days == 0 or (table == _DISCIPLINE and week.undeclared_days):
                continue
            found = rows.get((school, week.week), 0)
            expected = float(np.median(before[-policy.reference_weeks :])) * week.student_days if before else 0.0
            if len(before) >= _LEAST_REFERENCE and found < policy.fallen_below * expected:
                low.append((week, expected))
                continue
            falls += _run(low, rows, policy, least_weeks=policy.tables[table])
            low = []
            before.append(found / week.student_days)
        falls += _run(low, rows, policy, least_weeks=policy.tables[table])
    return falls


def _run(
    low: Sequence[tuple[SchoolWeek, float]],
    rows: Mapping[tuple[str | None, date], int],
    policy: VolumePolicy,
    *,
    least_weeks: int,
) -> list[Fall]:
    if len(low) < least_weeks:
        return []
    school = low[0][0].school_id
    found = sum(rows.get((school, week.week), 0) for week, _ in low)
    expected = sum(share for _, share in low)
    if float(poisson.cdf(found, expected)) >= policy.chance_below:
        return []
    first, last = low[0][0], low[-1][0]
    days = sum(week.student_days for week, _ in low)
    return [Fall(school, first.week, last.week, last.school_year, found, expected, days)]


def _blocked_years(weeks: Sequence[SchoolWeek], falls: Sequence[Fall], *, policy: VolumePolicy) -> dict[int, float]:
    """School year to the share of its student-days in fallen weeks, where that is above the limit."""
    shares: dict[int, float] = {}
    for year in {fall.school_year for fall in falls}:
        whole = sum(week.student_days for week in weeks if week.school_year == year)
        fallen = sum(fall.student_days for fall in falls if fall.school_year == year)
        if fallen > policy.block_share * whole:
            shares[year] = fallen / whole
    return shares


def _told(table: str, fall: Fall, policy: VolumePolicy) -> Finding:
    share = fall.rows / fall.expected
    return Finding(
        name=f"volume.{table}",
        severity="warning",
        message=(
            f"{table}: school {fall.school_id} delivered {per_cent(share)} of the rows that its weeks before let expect, "
            f"from the week of {fall.first_week} to that of {fall.last_week}."
        ),
        advice="Ask the school whether a delivery is missing, and import it again.",
        schools=(fall.school_id,),
        first_week=fall.first_week,
        last_week=fall.last_week,
        figure=share,
        limit=policy.fallen_below,
    )


def _declared_gaps(weeks: Sequence[SchoolWeek]) -> Iterator[Finding]:
    for (school, silent), run in groupby(weeks, key=lambda week: (week.school_id, week.undeclared_days > 0)):
        if not silent:
            continue
        found = list(run)
        yield Finding(
            name=f"declared_gap.{_DISCIPLINE}",
            severity="warning",
            message=(
                f"{_DISCIPLINE}: school {school} declares that incidents were not reported from the week of"
                f" {found[0].week} to that of {found[-1].week} ({sum(week.undeclared_days for week in found)} school"
                " days)."
            ),
            advice="Discipline counts as unknown there; import the incidents and correct the calendar if they exist.",
            schools=(school,),
            first_week=found[0].week,
            last_week=found[-1].week,
        )
