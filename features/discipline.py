"""Discipline features D1 to D13, from incidents and the sanctions that followed.

Incidents are few, so each is laid out over the rows at which it is known: a *pair* (incident version, row).
"""

import math
from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import DisciplineEvents
from edupulse_ml.core.tables import DISCIPLINE_ACTIONS
from edupulse_ml.core.weeks import NEVER
from features.facts import StepSums, Versions, facts_of, versions_of
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints, expand_ranges, positions
from features.school_weeks import COUNT_OF_SET, DAYS
from features.steps import Steps

_ISS, _OSS = DISCIPLINE_ACTIONS.index("ISS"), DISCIPLINE_ACTIONS.index("OSS")
DAY_UNIT = 1000
MIN_WEEKS_FOR_CHANGE = 10
PRIOR_OSS_CAP = 5
_RECENCY_WEEKS = 8.0
_HALF_LIFE_WEEKS = 4.0
_YEAR_START_FACTOR = 0.5


@dataclass(frozen=True)
class DisciplineBlock:
    """Columns of shape [R], `features` in the order D1 to D13. `is_known`: the school reported discipline, or an
    incident is known, in the last 4 steps.
    """

    features: list[Floats]
    is_known: Bools


def discipline_features(events: DisciplineEvents, steps: Steps, options: FeatureOptions) -> DisciplineBlock:
    """All discipline columns."""
    ordered = _in_order(events)
    versions = versions_of(
        steps, student=ordered.student, known_day=ordered.known_day, superseded_day=ordered.superseded_day
    )
    every = _pairs(ordered, versions, steps)
    pairs = every.where(ordered.is_objective.take(every.version)) if options.objective_discipline_only else every
    known_here = every.count(every.lag == 0) > 0
    known_4wk = every.count(every.lag < 4) > 0
    is_known = (_reported_4wk(steps) > 0) | known_4wk
    count_8wk = pairs.count(pairs.lag < 8)
    count_before = pairs.count((pairs.lag >= 8) & (pairs.lag < 16))
    severity = ordered.severity.take(pairs.version).astype(np.float64)
    iss, oss = (_sanction_days(ordered, versions, steps, action) for action in (_ISS, _OSS))
    in_first_year = steps.year_start == steps.first_row
    features = [
        np.where(steps.at.reported | known_here, pairs.count(pairs.lag == 0), np.nan),
        count_8wk,
        pairs.count(pairs.lag >= 0),
        np.where(steps.weeks_into_year + 1 >= MIN_WEEKS_FOR_CHANGE, (count_8wk - count_before) / 8, np.nan),
        every.count((every.lag >= 0) & ordered.is_objective.take(every.version)),
        pairs.count((pairs.lag < 8) & ordered.is_major.take(pairs.version)),
        pairs.maximum(np.where((pairs.lag >= 0) & (pairs.lag < 8), severity, 0.0)),
        pairs.sum(severity * _decay(pairs, steps)),
        iss.year_to_date() / DAY_UNIT,
        oss.window(0, 7) / DAY_UNIT,
        oss.year_to_date() / DAY_UNIT,
        _recency(every),
        np.where(in_first_year, np.nan, np.minimum(_earlier_suspensions(ordered, versions, steps), PRIOR_OSS_CAP)),
    ]
    return DisciplineBlock([np.where(is_known, column, np.nan) for column in features], is_known)


@dataclass(frozen=True)
class _Pairs:
    """Incident versions at the rows at which they are known, in an order that depends on the incidents only.

    `lag` is the number of steps since the incident, or -1 where that was in an earlier school year.
    """

    n_rows: int
    version: Ints
    incident_row: Ints
    row: Ints
    lag: Ints

    def where(self, keep: Bools) -> "_Pairs":
        return _Pairs(self.n_rows, self.version[keep], self.incident_row[keep], self.row[keep], self.lag[keep])

    def count(self, chosen: Bools) -> Floats:
        """[R] number of chosen pairs of this school year."""
        return np.bincount(self.row[chosen & (self.lag >= 0)], minlength=self.n_rows).astype(np.float64)

    def sum(self, amount: Floats) -> Floats:
        """[R] sum over all pairs."""
        return np.bincount(self.row, weights=amount, minlength=self.n_rows).astype(np.float64, copy=False)

    def maximum(self, amount: Floats) -> Floats:
        """[R] largest amount, at least 0."""
        out = np.zeros(self.n_rows)
        np.maximum.at(out, self.row, amount)
        return out


def _in_order(events: DisciplineEvents) -> DisciplineEvents:
    """Sorted by what an incident is, so that sums of decayed severities do not depend on the order of records."""
    order = np.lexsort((events.superseded_day, events.known_day, events.severity, events.day, events.student))
    return DisciplineEvents(**{name: getattr(events, name)[order] for name in DisciplineEvents.__dataclass_fields__})


def _pairs(events: DisciplineEvents, versions: Versions, steps: Steps) -> _Pairs:
    incident_row = steps.at_or_after(versions.cell, events.day).astype(np.int64)
    begin = np.maximum(incident_row, versions.known)
    stop = np.where(steps.begins_before(versions.student, events.day), versions.stop, begin)
    version, row = expand_ranges(begin, stop)
    lag = row - incident_row.take(version)
    this_year = incident_row.take(version) >= steps.year_start.take(row)
    return _Pairs(steps.n_rows, version, incident_row.take(version), row, np.where(this_year, lag, -1))


def _reported_4wk(steps: Steps) -> Ints:
    running = np.concatenate((np.zeros(1, dtype=np.int64), steps.at.reported.astype(np.int64).cumsum()))
    return running[1:] - running.take(steps.back(3))


def _decay(pairs: _Pairs, steps: Steps) -> Floats:
    """Half per 4 steps, and half again for every school year that began since."""
    steps_since = pairs.row - pairs.incident_row
    years_since = steps.year_run.take(pairs.row) - steps.year_run.take(pairs.incident_row)
    # Tables of Python floats: an array power may round differently with the length of the array.
    by_steps = np.array([2.0 ** (-lag / _HALF_LIFE_WEEKS) for lag in range(int(steps_since.max(initial=0)) + 1)])
    by_years = np.array([_YEAR_START_FACTOR**years for years in range(int(years_since.max(initial=0)) + 1)])
    return by_steps.take(steps_since) * by_years.take(years_since)


def _recency(pairs: _Pairs) -> Floats:
    latest = np.full(pairs.n_rows, -1, dtype=np.int64)
    np.maximum.at(latest, pairs.row, pairs.incident_row)
    since = np.where(latest >= 0, np.arange(pairs.n_rows) - latest, 0)
    by_steps = np.array([math.exp(-steps / _RECENCY_WEEKS) for steps in range(int(since.max(initial=0)) + 1)])
    return np.where(latest >= 0, by_steps.take(since), 0.0)


def _earlier_suspensions(events: DisciplineEvents, versions: Versions, steps: Steps) -> Ints:
    """[R] out-of-school suspensions for incidents before the row's school year."""
    incident_row = steps.at_or_after(versions.cell, events.day)
    in_steps = incident_row < versions.end
    next_year = steps.year_stop[np.where(in_steps, incident_row, 0)]
    # What happened before the records is earlier than every school year but the first, where the value is unknown.
    before = ~steps.begins_before(versions.student, events.day)
    begin = np.maximum(np.where(before, incident_row, next_year), versions.known)
    counts = (events.action == _OSS) & in_steps & (begin < versions.stop)
    _, row = expand_ranges(begin[counts], versions.stop[counts])
    return np.bincount(row, minlength=steps.n_rows)


def _sanction_days(events: DisciplineEvents, versions: Versions, steps: Steps, action: int) -> StepSums:
    """Days served per step: the student's days of school from the first day of the sanction on."""
    chosen = positions(events.action == action)
    student = versions.student[chosen]
    start_day = np.where(events.action_start_day == NEVER, events.day, events.action_start_day)[chosen].astype(np.int64)
    length = np.where(np.isnan(events.action_days), 1.0, events.action_days)[chosen]
    length = np.rint(length.astype(np.float64) * DAY_UNIT).astype(np.int64)
    first_row, first_position = _first_day_of_school(student, start_day, steps)
    position_stop = np.minimum(first_position - (-length // DAY_UNIT), steps.day_offset[versions.end[chosen]])
    exists = steps.begins_before(student, start_day) & (first_row < versions.end[chosen])
    last_row = steps.day_offset.searchsorted(np.where(exists, position_stop, 1), side="left") - 1
    sanction, row = expand_ranges(first_row, np.where(exists & (length > 0), last_row + 1, first_row))
    begin = np.maximum(steps.day_offset[row], first_position[sanction])
    served = np.minimum(steps.day_offset[row + 1], position_stop[sanction]) - begin
    left = length[sanction] - (begin - first_position[sanction]) * DAY_UNIT
    days = np.minimum(served * DAY_UNIT, left)
    of_version = chosen[sanction]
    laid_out = Versions(*(getattr(versions, name)[of_version] for name in Versions.__dataclass_fields__))
    return facts_of(steps, laid_out, row=row).total(days)


def _first_day_of_school(student: Ints, day: Ints, steps: Steps) -> tuple[Ints, Ints]:
    """Row and position of the student's first enrolled day of school on `day` or later."""
    row = steps.at_or_after(steps.cell(student), day)
    usable = np.where(row < steps.end(student), row, 0)
    weekday = np.clip(day - steps.week[usable], 0, DAYS - 1)
    earlier = COUNT_OF_SET[steps.at.day_set[usable] & ((1 << weekday) - 1)]
    position = steps.day_offset[usable] + earlier
    is_next_row = position == steps.day_offset[usable + 1]
    return np.where(row < steps.end(student), row + is_next_row, row), position
