"""Many students as batches of few, so that what is computed about a batch stays in the processor's cache.

Students do not influence each other: batches change no value, only the time (`docs/experiments.md` has the figures).
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Final, TypeVar

import numpy as np

from edupulse_ml.core.records import (
    AttendanceEvents,
    DisciplineEvents,
    EnrollmentEvents,
    GradeEvents,
    RecordSet,
    TranscriptEvents,
)

STUDENTS_PER_BATCH: Final = 256

E = TypeVar("E", AttendanceEvents, GradeEvents, TranscriptEvents, DisciplineEvents, EnrollmentEvents)


def batches_of(records: RecordSet, *, n_students: int = STUDENTS_PER_BATCH) -> Iterator[RecordSet]:
    """The records of `n_students` students after the other, renumbered 0.. in each batch, in the same order.

    The events may stand in any order; where they are grouped by student, the batches share their memory.
    """
    if records.n_students <= n_students:
        yield records
        return
    attendance = _splitter(records.attendance, records.n_students, n_students)
    grades = _splitter(records.grades, records.n_students, n_students)
    transcript = _splitter(records.transcript, records.n_students, n_students)
    discipline = _splitter(records.discipline, records.n_students, n_students)
    enrollments = _splitter(records.enrollments, records.n_students, n_students)
    for batch, first in enumerate(range(0, records.n_students, n_students)):
        birth_day = records.birth_day[first : first + n_students]
        yield RecordSet(
            n_students=len(birth_day),
            birth_day=birth_day,
            attendance=attendance(batch),
            grades=grades(batch),
            transcript=transcript(batch),
            discipline=discipline(batch),
            enrollments=enrollments(batch),
            calendars=records.calendars,
        )


def _splitter(events: E, n_students: int, per_batch: int) -> Callable[[int], E]:
    """A function that gives the events of a batch."""
    n_batches = -(-n_students // per_batch)
    # Few batches make a small integer type, which NumPy sorts by counting instead of comparing.
    batch_of = (events.student // per_batch).astype(np.min_scalar_type(n_batches))
    stop = np.bincount(batch_of, minlength=n_batches).cumsum()
    is_grouped = bool((batch_of[1:] >= batch_of[:-1]).all())
    order = None if is_grouped else batch_of.argsort(kind="stable")

    def events_of(batch: int) -> E:
        span = slice(int(stop[batch - 1]) if batch else 0, int(stop[batch]))
        columns = {f.name: getattr(events, f.name) for f in fields(events)}
        if order is None:
            part = type(events)(**{name: column[span] for name, column in columns.items()})
        else:
            chosen = order[span]
            part = type(events)(**{name: column.take(chosen) for name, column in columns.items()})
        return replace(part, student=part.student - np.int32(batch * per_batch))

    return events_of
