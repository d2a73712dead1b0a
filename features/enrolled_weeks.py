"""From the versions of enrolments to the steps of each student: see `features.steps` for the rules."""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import EnrollmentEvents, RecordSet
from features.ragged import Ints, changes, expand_ranges, positions
from features.school_weeks import DAYS, LAST_DAY_OF_SET, N_SETS, SchoolWeeks
from features.steps import StepAttributes, Steps

_ALL_DAYS = N_SETS - 1


def build_steps(records: RecordSet, weeks: SchoolWeeks, *, through_week: int) -> Steps:
    """The steps of all students up to and including `through_week`. `weeks` are those of at least their schools."""
    enrollments = _in_order(records.enrollments)
    school = weeks.position_of_school[enrollments.school]
    spans = _enrolled_weeks(enrollments, school, weeks, through_week=through_week)
    attributes = _attributes(enrollments, spans, weeks)
    n_weeks = weeks.n_weeks
    key = attributes.student * (n_weeks + 1) + attributes.week_index + 1
    # Column w + 1 counts the steps in week w, so that the running sum is the first row at or after each week.
    row_at = np.bincount(key, minlength=records.n_students * (n_weeks + 1)).cumsum()
    per_student = np.bincount(attributes.student, minlength=records.n_students)
    return Steps(
        n_students=records.n_students,
        weeks=weeks,
        at=attributes,
        offset=np.concatenate(([0], per_student.cumsum())),
        row_at=row_at.astype(np.int32),
    )


@dataclass(frozen=True)
class _Spans:
    """Weeks in which an enrolment version has days: sorted by student, week and the order of the enrolments."""

    enrollment: Ints
    week_index: Ints
    school: Ints
    days: Ints


def _in_order(enrollments: EnrollmentEvents) -> EnrollmentEvents:
    """By student, then the enrolment that governs last: latest entry, latest known."""
    e = enrollments
    order = np.lexsort((e.exit_day, e.grade_level, e.school, e.known_day, e.entry_day, e.student))
    return EnrollmentEvents(
        **{name: getattr(e, name)[order].astype(np.int64) for name in EnrollmentEvents.__dataclass_fields__}
    )


def _enrolled_weeks(e: EnrollmentEvents, school: Ints, weeks: SchoolWeeks, *, through_week: int) -> _Spans:
    in_session = weeks.instructional > 0
    before = np.concatenate((np.zeros((len(weeks.schools), 1), dtype=np.int64), in_session.cumsum(axis=1)), axis=1)
    listed_school, listed_week = np.nonzero(in_session)
    school_offset = listed_school.searchsorted(np.arange(len(weeks.schools)))
    from_week = np.maximum(weeks.week_index(e.known_day), weeks.week_index(e.entry_day))
    until_week = np.minimum(weeks.week_index(e.superseded_day), weeks.week_index(e.exit_day - 1) + 1)
    until_week = np.minimum(until_week, weeks.week_index(np.array([through_week + DAYS]))[0])
    until_week = np.minimum(until_week, weeks.n_weeks)
    shift = school_offset[school]
    source, position = expand_ranges(shift + before[school, from_week], shift + before[school, until_week])
    week_index = listed_week.take(position)
    monday = weeks.first_day + DAYS * week_index
    skipped = np.clip(e.entry_day.take(source) - monday, 0, DAYS)
    reached = np.clip(e.exit_day.take(source) - monday, 0, DAYS)
    enrolled = (_ALL_DAYS << skipped) & ((1 << reached) - 1) & _ALL_DAYS
    days = weeks.instructional[school[source], week_index] & enrolled
    kept = positions(days)
    key = (e.student.take(source) * weeks.n_weeks + week_index)[kept]
    if len(key) and (key[1:] < key[:-1]).any():
        kept = kept[key.argsort(kind="stable")]
    return _Spans(source.take(kept), week_index.take(kept), school.take(source[kept]), days.take(kept))


def _attributes(e: EnrollmentEvents, spans: _Spans, weeks: SchoolWeeks) -> StepAttributes:
    student = e.student.take(spans.enrollment)
    opens = changes(student) | changes(spans.week_index)
    start = positions(opens)
    owned, last, first = _owners(spans, opens.astype(np.int64).cumsum() - 1, start)
    week_index = spans.week_index.take(start)
    special = weeks.special[spans.school, spans.week_index] & owned
    reported = weeks.reported[spans.school, spans.week_index] & owned
    final_day = DAYS * week_index + LAST_DAY_OF_SET.take(owned.take(last))
    owner_school = weeks.schools.take(spans.school.take(last))
    year = weeks.calendars.school_year[owner_school, final_day].astype(np.int64)
    return StepAttributes(
        student=student.take(start),
        week_index=week_index,
        day_set=_union(owned, start),
        special_set=_union(special, start),
        reported=_union(reported, start) > 0,
        school=spans.school.take(last),
        grade_level=e.grade_level.take(spans.enrollment.take(last)).astype(np.int64),
        term=weeks.calendars.term[owner_school, final_day].astype(np.int64),
        school_year=_never_falling(year, student[start]),
        entry_day=e.entry_day.take(spans.enrollment.take(first)).astype(np.int64),
        entry_school=spans.school.take(first),
    )


def _never_falling(year: Ints, student: Ints) -> Ints:
    """The highest year so far of each student."""
    shift = student * 10_000
    shifted = year + shift
    if (shifted[1:] >= shifted[:-1]).all():
        return year
    return np.maximum.accumulate(shifted) - shift


def _union(sets: Ints, start: Ints) -> Ints:
    return np.bitwise_or.reduceat(sets, start) if len(start) < len(sets) else sets


def _owners(spans: _Spans, group: Ints, start: Ints) -> tuple[Ints, Ints, Ints]:
    """Days that belong to each span, and per group of spans the one with the last and the one with the first day."""
    owned = spans.days.copy()
    last, first = start.copy(), start.copy()
    size = np.diff(np.append(start, len(group)))
    crowded = positions(size > 1)
    taken = np.zeros(len(start), dtype=np.int64)
    lowest = np.full(len(start), N_SETS, dtype=np.int64)
    for rank in range(1, int(size.max(initial=1)) + 1 if len(crowded) else 1):
        group_now = crowded[size[crowded] >= rank]
        span = start[group_now] + size[group_now] - rank
        owned[span] = spans.days[span] & ~taken[group_now]
        higher = owned[span] > np.where(rank == 1, 0, owned[last[group_now]])
        last[group_now] = np.where(higher, span, last[group_now])
        bottom = np.where(owned[span] > 0, owned[span] & -owned[span], N_SETS)
        lower = bottom < lowest[group_now]
        first[group_now] = np.where(lower, span, first[group_now])
        lowest[group_now] = np.minimum(lowest[group_now], bottom)
        taken[group_now] |= spans.days[span]
    return owned, last, first
