"""From dated exits to outcomes, as they were known on one day (sources.md 2.6), and which weeks may be judged by them.

A student has left on the last day attended before an exit after which no enrolment follows by the next 1 October.
An exit coded as dropping out counts at once; an exit that says only that an enrolment ended (`year_end`,
`changed_school`, `unknown`) counts once that 1 October has come. Every other exit censors: from then on nothing is
known, which is not the same as knowing that the student stayed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.records import ExitEvents, filter_events
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER, day_from_number, day_number
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

COUNT_MONTH: Final = 10
COUNT_DAY: Final = 1
"""1 October: the day on which a student who left last year is either enrolled or counted as having dropped out."""

CODES_SETTLED_ON_COUNT_DAY: Final = ("year_end", "changed_school", "unknown")
COMPLETION_CODES: Final = ("graduated", "failed")
MAX_STRAY_SHARE: Final = 0.05
"""Of those who were enrolled, so many may have a `year_end` exit without a school year having ended."""


def next_count_day(days: Int32) -> Int32:
    """The first 1 October on or after each day number."""
    distinct, position = np.unique(days, return_inverse=True)
    counted = []
    for number in distinct:
        day = day_from_number(int(number))
        this_year = date(day.year, COUNT_MONTH, COUNT_DAY)
        counted.append(day_number(this_year if day <= this_year else date(day.year + 1, COUNT_MONTH, COUNT_DAY)))
    return np.asarray(counted, dtype=np.int32)[position]


def outcomes_from_exits(
    exits: ExitEvents,
    *,
    as_of_day: int,
    n_students: int,
    dropout_codes: Collection[str] = ("dropout",),
    completers_never_leave: bool = False,
) -> Outcomes:
    """What is known on `as_of_day` about the leaving of students 0..n_students-1; the first event of each counts.

    With `completers_never_leave`, a student whose last enrolment ended in `graduated` or `failed` is known to stay for
    ever (a course of study that was attended to its end); otherwise such an exit censors. Put `failed` into
    `dropout_codes` to count it as an event on the last day of the course. A student of whom nothing is known is
    followed until no day at all (`followed_until` is -NEVER).

    Between the end of a school year and the next 1 October nobody can know who of those who finished the year will
    come back; leavers of that year are known all the same. The result's `as_of_day` is therefore the year's last day
    then, so that no question is answered for leavers only. A year has ended where more than `MAX_STRAY_SHARE` of the
    students have a `year_end` exit since the last 1 October; a stray one in mid-year censors its own student only.

    Raises:
        InvalidInputError: a code in `dropout_codes` does not exist.
    """
    unknown = set(dropout_codes) - set(EXIT_CODES)
    if unknown:
        msg = f"Exit codes {sorted(unknown)} do not exist: choose from {', '.join(EXIT_CODES)}."
        raise InvalidInputError(msg)
    known = filter_events(exits, (exits.known_day <= as_of_day) & (as_of_day < exits.superseded_day))
    closed = (known.exit_day != NEVER) & (known.exit_code >= 0)
    count_day = next_count_day(np.where(closed, known.exit_day, 0).astype(np.int32))
    at_once = np.isin(known.exit_code, _codes(dropout_codes))
    in_time = np.isin(known.exit_code, _codes(set(CODES_SETTLED_ON_COUNT_DAY) - set(dropout_codes)))
    is_event = closed & (at_once | (in_time & (count_day <= as_of_day))) & ~_goes_on(known, count_day)

    event_day = np.full(n_students, NEVER, dtype=np.int32)
    np.minimum.at(event_day, known.student[is_event], _last_attended(known)[is_event])
    followed = _followed_until(known, closed, as_of_day=as_of_day, n_students=n_students)
    if completers_never_leave:
        completed = closed & np.isin(known.exit_code, _codes(COMPLETION_CODES)) & ~_goes_on(known, count_day)
        followed[known.student[completed]] = NEVER
    return Outcomes(
        event_day=event_day,
        followed_until=np.where(event_day != NEVER, event_day, followed).astype(np.int32),
        as_of_day=_last_answerable_day(known, count_day, as_of_day=as_of_day),
    )


@dataclass(frozen=True)
class NamedExits:
    """What the registry says of N students beyond an enrolment's mere end. `is_named`: the last enrolment ended in an exit
    whose code names the cause. `gives_last_day`: in one that gives the last day attended. `last_entry_day`: the latest
    entry known, -NEVER without any.
    """

    is_named: Bool
    gives_last_day: Bool
    last_entry_day: Int32


def named_exits(exits: ExitEvents, *, as_of_day: int, n_students: int) -> NamedExits:
    """What the registry says of each student, as known on `as_of_day`."""
    known = filter_events(exits, (exits.known_day <= as_of_day) & (as_of_day < exits.superseded_day))
    closed = (known.exit_day != NEVER) & (known.exit_code >= 0)
    count_day = next_count_day(np.where(closed, known.exit_day, 0).astype(np.int32))
    last = closed & ~_goes_on(known, count_day)
    is_named, gives_last_day = np.zeros(n_students, dtype=np.bool_), np.zeros(n_students, dtype=np.bool_)
    is_named[known.student[last & ~np.isin(known.exit_code, _codes(CODES_SETTLED_ON_COUNT_DAY))]] = True
    gives_last_day[known.student[last & (known.last_attended_day != NEVER)]] = True
    last_entry = np.full(n_students, -NEVER, dtype=np.int32)
    np.maximum.at(last_entry, known.student, known.entry_day)
    return NamedExits(is_named, gives_last_day, last_entry)


def _last_answerable_day(known: ExitEvents, count_day: Int32, *, as_of_day: int) -> int:
    ended = (known.exit_code == EXIT_CODES.index("year_end")) & (count_day > as_of_day)
    unsettled = ended & ~_goes_on(known, count_day)
    if not unsettled.any():
        return as_of_day
    # Who has come back already counts as ended too: in September only those who may never come back are unsettled.
    with_end = np.unique(known.student[ended])
    still_open = np.setdiff1d(known.student[known.exit_day == NEVER], with_end)
    if len(with_end) <= MAX_STRAY_SHARE * (len(with_end) + len(still_open)):
        return as_of_day
    # Schools close within days of each other; the median keeps one odd entry from deciding for everybody.
    return min(as_of_day, int(np.median(known.exit_day[unsettled])) - 1)


def _codes(names: Collection[str]) -> NDArray[np.int8]:
    return np.asarray([EXIT_CODES.index(name) for name in names], dtype=np.int8)


def _last_attended(known: ExitEvents) -> Int32:
    return np.where(known.last_attended_day != NEVER, known.last_attended_day, known.exit_day - 1).astype(np.int32)


def _goes_on(known: ExitEvents, count_day: Int32) -> Bool:
    """[E] whether another enrolment of the student outlasts this one and begins by this one's count day.

    Among a student's enrolments that outlast this one, the earliest entry decides. Sorted by exit (latest first)
    within a student, that is a running minimum over the entries before this one.
    """
    order = np.lexsort((-known.exit_day.astype(np.int64), known.student))
    student, exit_day = known.student[order], known.exit_day[order].astype(np.int64)
    entry_day = known.entry_day[order].astype(np.int64)
    goes_on = np.zeros(len(order), dtype=np.bool_)
    if len(order) == 0:
        return goes_on
    new_student = np.r_[True, student[1:] != student[:-1]]
    new_exit = new_student | np.r_[True, exit_day[1:] != exit_day[:-1]]
    # A large step down per student keeps one student's running minimum from reaching the next student.
    span = np.int64(2**33)
    offset = -np.cumsum(new_student).astype(np.int64) * span
    running = np.minimum.accumulate(entry_day + offset) - offset
    group_start = np.maximum.accumulate(np.where(new_exit, np.arange(len(order)), 0))
    before = group_start - 1
    has_longer = ~new_student[group_start]
    earliest = np.where(has_longer, running[np.maximum(before, 0)], np.int64(2**40))
    goes_on[order] = earliest <= count_day[order]
    return goes_on


def _followed_until(known: ExitEvents, closed: Bool, *, as_of_day: int, n_students: int) -> Int32:
    last_day = np.where(closed, np.minimum(known.exit_day.astype(np.int64) - 1, as_of_day), as_of_day)
    followed = np.full(n_students, -NEVER, dtype=np.int64)
    np.maximum.at(followed, known.student, last_day)
    return followed.astype(np.int32)


def eligible_steps(
    block: FeatureBlock,
    outcomes: Outcomes,
    *,
    within: Bool | None = None,
    school_years: Collection[int] | None = None,
    first_week: int | None = None,
    last_week: int | None = None,
    min_follow_up_days: int = 0,
) -> Bool:
    """[N, S] the steps that may be learned from or judged.

    A step is kept if its cutoff is before the student's last attended day (the terminal-absence rule, sources.md
    2.5.2, which drops the weeks after the event too), not after the end of follow-up, and at least
    `min_follow_up_days` before `outcomes.as_of_day`. `within` [N, S] (of a split), `school_years` and the two weeks
    (Mondays, both inclusive) narrow the choice.
    """
    cutoff = block.week.astype(np.int64) + CUTOFF_DAYS_AFTER_MONDAY
    keep = block.week != PAD
    keep &= cutoff < outcomes.event_day[:, None]
    keep &= cutoff <= outcomes.followed_until[:, None]
    keep &= cutoff + min_follow_up_days <= outcomes.as_of_day
    if within is not None:
        keep &= within
    if school_years is not None:
        keep &= np.isin(block.school_year, list(school_years))
    if first_week is not None:
        keep &= block.week >= first_week
    if last_week is not None:
        keep &= block.week <= last_week
    return keep
