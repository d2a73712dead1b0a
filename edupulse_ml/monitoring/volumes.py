"""Sudden falls in how many records a school delivers, and months that it declares to be silent."""

from collections import Counter
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
    """Weeks with school in a row, in order, in which a school delivered much less than before. Both counts are rows."""

    school_id: str
    weeks: tuple[SchoolWeek, ...]
    rows: int
    expected: float

    @property
    def first_week(self) -> date:
        return self.weeks[0].week

    @property
    def last_week(self) -> date:
        return self.weeks[-1].week

    @property
    def student_days(self) -> int:
        return sum(week.student_days for week in self.weeks)

    @property
    def school_years(self) -> set[int]:
        """More than one where the weeks span a summer."""
        return {week.school_year for week in self.weeks}


def volume_findings(
    weeks: Sequence[SchoolWeek], records: Mapping[str, Sequence[RecordWeek]], *, policy: VolumePolicy
) -> Iterator[Finding]:
    """Falls of every table of the policy, and the weeks without reports of incidents that schools declared."""
    yield from _declared_gaps(weeks)
    for table in policy.tables:
        falls = falls_of(weeks, records.get(table, ()), table=table, policy=policy)
        fallen = [week for fall in falls for week in fall.weeks]
        blocked = blocked_years(weeks, fallen, policy=policy) if table in policy.block_tables else {}
        for year, share in sorted(blocked.items()):
            yield _blocker(table, year, share, [week for week in fallen if week.school_year == year], policy)
        told = [fall for fall in falls if not fall.school_years <= blocked.keys()]
        for _, at_once in groupby(sorted(told, key=_span), key=_span):
            yield _told(table, list(at_once), policy)


def falls_of(
    weeks: Sequence[SchoolWeek], records: Iterable[RecordWeek], *, table: WeeklyTable, policy: VolumePolicy
) -> list[Fall]:
    """Runs of weeks in which a school's rows per student-day fell, ordered by school and week. Weeks in which incidents
    are declared not to be reported are left out of the table of incidents.

    What was to be expected is the median rate of the school's weeks before that had not fallen themselves, at most
    `reference_weeks` of them, times the week's student-days. A run is a fall if chance (Poisson, sources.md 2.0: counts
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
    return [Fall(school, tuple(week for week, _ in low), found, expected)]


def blocked_years(
    weeks: Sequence[SchoolWeek], without: Sequence[SchoolWeek], *, policy: VolumePolicy
) -> dict[int, float]:
    """School year to the share of its student-days in the weeks `without` their records, where that is above the limit.

    The year in progress counts as at least as long as the one before: of its first weeks, one is most of the year so far
    and little of what a model learns from.
    """
    days: Counter[int] = Counter()
    for week in weeks:
        days[week.school_year] += week.student_days
    shares: dict[int, float] = {}
    for year in {week.school_year for week in without}:
        whole = max(days[year], days[year - 1]) if year == max(days) else days[year]
        lost = sum(week.student_days for week in without if week.school_year == year)
        if lost > policy.block_share * whole:
            shares[year] = lost / whole
    return shares


def _blocker(table: str, year: int, share: float, fallen: Sequence[SchoolWeek], policy: VolumePolicy) -> Finding:
    schools = sorted({week.school_id for week in fallen})
    return Finding(
        name=f"volume.{table}",
        severity="blocker",
        message=(
            f"{table}: in weeks of {year}-{year + 1} that hold {per_cent(share)} of the district's student-days of a school"
            f" year, far fewer rows came than before, at {listed(schools)}."
        ),
        advice="A delivery is missing: import these weeks again.",
        schools=tuple(schools),
        first_week=min(week.week for week in fallen),
        last_week=max(week.week for week in fallen),
        figure=share,
        limit=policy.block_share,
    )


def _span(fall: Fall) -> tuple[date, date]:
    return fall.first_week, fall.last_week


def _told(table: str, falls: Sequence[Fall], policy: VolumePolicy) -> Finding:
    """Falls of the same weeks: a delivery that is missing at every school is one finding."""
    share = sum(fall.rows for fall in falls) / sum(fall.expected for fall in falls)
    schools = sorted(fall.school_id for fall in falls)
    first_week, last_week = _span(falls[0])
    return Finding(
        name=f"volume.{table}",
        severity="warning",
        message=(
            f"{table}: {per_cent(share)} of the rows came that the weeks before let expect, from the week of {first_week} to"
            f" that of {last_week}, at {listed(schools)}."
        ),
        advice="Ask there whether a delivery is missing, and import it again.",
        schools=tuple(schools),
        first_week=first_week,
        last_week=last_week,
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
