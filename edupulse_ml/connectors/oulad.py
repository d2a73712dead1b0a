"""OULAD -> canonical tables: a module in a presentation is a school, every day of it is a study day, a click makes a
day present, coursework is grades (sources.md 3).

No demographic attribute leaves the audit columns, and nothing that happened on or after the day of unregistration is
kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.connectors.memory import CanonicalRecords, records_from_tables
from edupulse_ml.connectors.oulad_files import CourseRun, OuladFiles
from edupulse_ml.connectors.oulad_study import (
    PERIODS_PER_DAY,
    StudyPeriods,
    coursework,
    daily_clicks,
    periods_absent,
    study_periods,
)
from edupulse_ml.connectors.schemas import canonical_schema, constant_column
from edupulse_ml.connectors.table_files import OnProgress, ReadProgress, ReadTally, TableFile, no_progress
from edupulse_ml.core.tables import ATTENDANCE, CALENDAR, ENROLLMENTS, GRADES, SCHOOLS, STUDENTS, Table

OULAD_ZONE: Final = ZoneInfo("Europe/London")
GRADE_LEVEL: Final = 13
"""Above the school grades; OULAD is higher education."""
_SOCIAL_MODULES: Final = ("AAA", "BBB", "GGG")
_YES_NO: Final = {"Y": "yes", "N": "no"}
_NOON_US: Final = 12 * 3_600 * 1_000_000
_US_PER_DAY: Final = 24 * 3_600 * 1_000_000

Int32 = NDArray[np.int32]


def read_oulad(
    path: Path, *, presentations: Sequence[str], on_progress: OnProgress = no_progress
) -> Iterator[TableFile]:
    """Canonical tables of some presentations, in loading order.

    There is no transcript and no discipline: the calendar says that discipline is not reported. Moments are noon UTC,
    which is the same date in every zone from UTC-12 to UTC+11. Enrolments carry no `recorded_at`: by the convention
    for such rows the entry is known at entry and the exit on the day of the exit.

    Raises:
        OuladFilesError: files are missing, or a presentation is (the message lists the available ones).
    """
    files = OuladFiles(path)
    source = _Source(files, files.runs(presentations), on_progress)
    return iter(
        [
            source.table_file(SCHOOLS, "courses", source.schools),
            source.table_file(CALENDAR, "courses", source.calendar),
            source.table_file(STUDENTS, "studentInfo", source.students),
            source.table_file(ENROLLMENTS, "studentRegistration", source.enrollments),
            source.table_file(ATTENDANCE, "studentVle", source.attendance),
            source.table_file(GRADES, "studentAssessment", source.grades),
        ]
    )


def load_oulad(path: Path, presentations: Sequence[str]) -> CanonicalRecords:
    """Records of some presentations, in memory.

    Raises:
        OuladFilesError: as for `read_oulad`.
    """
    tables = {file.table.name: pa.concat_tables(file.chunks) for file in read_oulad(path, presentations=presentations)}
    return records_from_tables(tables, zone=OULAD_ZONE)


class _Source:
    """Builds the chunks of each table, one course run at a time."""

    def __init__(self, files: OuladFiles, runs: Sequence[CourseRun], on_progress: OnProgress) -> None:
        self._files = files
        self._runs = runs
        self._on_progress = on_progress

    def table_file(
        self, table: Table, file_name: str, build: Callable[[CourseRun], Mapping[str, pa.Array]]
    ) -> TableFile:
        """The stream of one table; `build` gives the columns that a run has."""
        tally = ReadTally()
        return TableFile(table, file_name, self._chunks(table, file_name, build, tally), tally)

    def _chunks(
        self, table: Table, file_name: str, build: Callable[[CourseRun], Mapping[str, pa.Array]], tally: ReadTally
    ) -> Iterator[pa.Table]:
        for done, run in enumerate(self._runs, start=1):
            columns = build(run)
            length = len(next(iter(columns.values())))
            lines = np.arange(tally.rows_read + 1, tally.rows_read + length + 1)
            tally.rows_read += length
            arrays = [columns.get(column.name, constant_column(column, length)) for column in table.columns]
            yield pa.table([*arrays, pa.array(lines)], schema=canonical_schema(table))
            self._on_progress(ReadProgress(file_name, tally.rows_read, done / len(self._runs)))

    def _periods(self, run: CourseRun) -> StudyPeriods:
        return study_periods(run, self._files.registrations(run))[0]

    def schools(self, run: CourseRun) -> Mapping[str, pa.Array]:
        name = f"Module {run.module}, presentation {run.presentation}"
        return {"school_id": pa.array([run.school_id]), "name": pa.array([name]), "records_tardies": pa.array([False])}

    def calendar(self, run: CourseRun) -> Mapping[str, pa.Array]:
        n = run.length_days
        return {
            "school_id": _repeat(run.school_id, n),
            "date": _dates(run, np.arange(n)),
            "is_instructional": pa.repeat(pa.scalar(True), n),  # noqa: FBT003
            "term_id": _repeat(run.presentation, n),
            "school_year": pa.repeat(pa.scalar(run.school_year, pa.int64()), n),
            "discipline_reported": pa.repeat(pa.scalar(False), n),  # noqa: FBT003
        }

    def students(self, run: CourseRun) -> Mapping[str, pa.Array]:
        registered = self._files.registrations(run)
        periods = study_periods(run, registered)[0]
        at = pa.array(periods.source)
        imd_band = registered.imd_band.take(at)
        disability = registered.disability.take(at).to_pylist()
        return {
            "student_id": _student_ids(run, periods.student),
            "person_id": pa.array(periods.student).cast(pa.string()),
            "sex": registered.gender.take(at).cast(pa.string()),
            "special_education": pa.array([_YES_NO.get(value) for value in disability], pa.string()),
            "economically_disadvantaged": pc.if_else(pc.equal(imd_band, "10-20"), "10-20%", imd_band).cast(pa.string()),
        }

    def enrollments(self, run: CourseRun) -> Mapping[str, pa.Array]:
        periods = self._periods(run)
        n = len(periods.student)
        last = np.where(np.isfinite(periods.cut), periods.exit, periods.exit - 1)
        return {
            "student_id": _student_ids(run, periods.student),
            "school_id": _repeat(run.school_id, n),
            "grade_level": pa.repeat(pa.scalar(GRADE_LEVEL, pa.int64()), n),
            "entry_date": _dates(run, periods.entry),
            "exit_date": _dates(run, periods.exit),
            "exit_code": pa.array(periods.exit_code, pa.string()),
            "last_attended_date": _dates(run, last),
        }

    def attendance(self, run: CourseRun) -> Mapping[str, pa.Array]:
        periods = self._periods(run)
        clicks = daily_clicks(self._files.clicks(run), periods, n_days=run.length_days)
        missed = periods_absent(clicks)
        student, day = np.nonzero(~np.isnan(clicks))
        absent = clicks[student, day] == 0
        return {
            "student_id": _student_ids(run, periods.student).take(pa.array(student)),
            "date": _dates(run, day),
            "status": pc.if_else(pa.array(absent), "absent_unexcused", "present"),
            "fraction_absent": pa.array(absent.astype(np.float64)),
            "periods_absent": pa.array(missed[student, day], from_pandas=True),
            "periods_scheduled": pa.array(np.where(absent, np.nan, float(PERIODS_PER_DAY)), from_pandas=True),
            "recorded_at": _noons(run, day),
        }

    def grades(self, run: CourseRun) -> Mapping[str, pa.Array]:
        periods = self._periods(run)
        items = self._files.assessments(run)
        work = coursework(periods, items, self._files.submissions(items))
        weight = items.weight if items.weight.any() else np.ones(len(items.weight))
        n = len(work.student)
        return {
            "student_id": _student_ids(run, periods.student).take(pa.array(work.student)),
            "course_id": _repeat(run.module, n),
            "subject": _repeat("social" if run.module in _SOCIAL_MODULES else "science", n),
            "is_core": pa.repeat(pa.scalar(True), n),  # noqa: FBT003
            "term_id": _repeat(run.presentation, n),
            "assignment_id": pa.array(items.assessment[work.assessment]).cast(pa.string()),
            "category": pc.if_else(pa.array(items.is_marked_by_computer[work.assessment]), "quiz", "homework"),
            "due_date": _dates(run, items.due[work.assessment]),
            "submitted_at": _noons(run, work.submitted),
            "score_pct": pa.array(work.score, from_pandas=True),
            "points_weight": pa.array(weight[work.assessment]),
            "posted_at": _noons(run, work.posted),
            "recorded_at": _noons(run, periods.entry[work.student]),
        }


def _student_ids(run: CourseRun, students: Int32) -> pa.Array:
    return pc.binary_join_element_wise(run.school_id, pa.array(students).cast(pa.string()), "-")


def _repeat(text: str, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), length)


def _dates(run: CourseRun, days: NDArray[np.integer]) -> pa.Array:
    return pa.array((days + run.start_day).astype(np.int32)).cast(pa.date32())


def _noons(run: CourseRun, days: NDArray[np.generic]) -> pa.Array:
    """Noon UTC of days since day 0, missing where NaN."""
    known = ~np.isnan(days.astype(np.float64))
    moments = (np.nan_to_num(days.astype(np.float64)).astype(np.int64) + run.start_day) * _US_PER_DAY + _NOON_US
    return pa.array(moments, mask=~known).cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
