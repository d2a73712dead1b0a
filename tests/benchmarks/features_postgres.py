"""The same half of the features as one SQL query in PostgreSQL, over the same records.

Made easy for the server: tables hold what `compute_features` gets too (whole days, codes), sorted by student, indexed
and analysed; no row-level security, no partitions, no moments with zones.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.tables import ATTENDANCE_STATUSES
from edupulse_ml.core.weeks import week_of_days
from features.options import FOUR_POINT_SCALE

QUERY: Final = (Path(__file__).parent / "features_query.sql").read_bytes()
_ABSENT: Final = ("absent_excused", "absent_unexcused", "suspended_out")
_KIND: Final = {"i": sql.SQL("{} integer"), "b": sql.SQL("{} boolean"), "f": sql.SQL("{} double precision")}
_SESSION: Final = (
    "SET jit = off",
    "SET work_mem = '1GB'",
    "SET max_parallel_workers_per_gather = 0",  # per core, as ours
    "SET enable_nestloop = off",  # the planner takes each WITH part for small and would join row by row
    "SET statement_timeout = '600s'",
)


class PostgresFeatures:
    """The records of a district in a database of their own, and the query over the first students of them."""

    def __init__(self, url: str, records: RecordSet) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        for statement in _SESSION:
            self._connection.execute(statement)
        for name, columns in _tables(records).items():
            self._load(f"bench_{name}", columns)

    def close(self) -> None:
        self._connection.close()

    def count(self, students: int, *, through_week: int) -> int:
        """Compute the features of the first `students` and return the number of student-weeks; rows stay on the server."""
        # The hash of each row makes the server compute every column.
        counted = b"SELECT count(*), sum(hashtext(features::text)) FROM (" + QUERY + b") AS features"
        ((rows, _),) = self._connection.execute(counted, self._parameters(students, through_week)).fetchall()
        return rows

    def rows(self, students: int, *, through_week: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of the columns, and all rows, by student and week."""
        cursor = self._connection.execute(QUERY, self._parameters(students, through_week))
        return [column.name for column in cursor.description or ()], cursor.fetchall()

    @staticmethod
    def _parameters(students: int, through_week: int) -> dict[str, int]:
        return {"students": students, "through_week": through_week}

    def _load(self, table: str, columns: dict[str, np.ndarray]) -> None:
        kinds = {name: _KIND[values.dtype.kind] for name, values in columns.items()}
        definition = sql.SQL(", ").join(kind.format(sql.Identifier(column)) for column, kind in kinds.items())
        name = sql.Identifier(table)
        self._connection.execute(sql.SQL("CREATE UNLOGGED TABLE {} ({})").format(name, definition))
        order = np.argsort(columns["student"], kind="stable") if "student" in columns else slice(None)
        plain = [[None if value != value else value for value in values[order].tolist()] for values in columns.values()]
        with self._connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
            for row in zip(*plain, strict=True):
                copy.write_row(row)
        if "student" in columns:
            self._connection.execute(sql.SQL("CREATE INDEX ON {} (student)").format(name))
        self._connection.execute(sql.SQL("VACUUM ANALYZE {}").format(name))


def _tables(records: RecordSet) -> dict[str, dict[str, np.ndarray]]:
    attendance, grades, discipline, enrollments = (
        records.attendance,
        records.grades,
        records.discipline,
        records.enrollments,
    )
    calendars = records.calendars
    status = np.array(ATTENDANCE_STATUSES)[attendance.status]
    is_absent = np.isin(status, _ABSENT)
    absence = np.where(np.isnan(attendance.fraction_absent), 1.0, attendance.fraction_absent.astype(float).round(3))
    by_period = ~is_absent & (attendance.periods_scheduled > 0) & np.isfinite(attendance.periods_absent)
    school, column = np.nonzero(calendars.is_instructional)
    has_score = np.isfinite(grades.score_pct)
    return {
        "schools": {
            "school": np.arange(len(calendars.records_tardies)),
            "records_tardies": calendars.records_tardies,
        },
        "calendar": {
            "school": school,
            "day": calendars.first_day + column,
            "school_year": calendars.school_year[school, column],
            "reported": calendars.discipline_reported[school, column],
        },
        "enrollments": {
            "student": enrollments.student,
            "school": enrollments.school,
            "grade_level": enrollments.grade_level,
            "entry_day": enrollments.entry_day,
            "exit_day": enrollments.exit_day,
            "known_day": enrollments.known_day,
            **_known(enrollments),
        },
        "attendance": {
            "student": attendance.student,
            "day": attendance.day,
            "absence": np.where(is_absent, absence, 0.0),
            "is_absent": is_absent,
            "is_unexcused": status == "absent_unexcused",
            "is_tardy": status == "tardy",
            "periods_absent": np.where(by_period, attendance.periods_absent, 0.0).astype(float),
            "periods_scheduled": np.where(by_period, attendance.periods_scheduled, 0.0).astype(float),
            **_known(attendance),
        },
        "grades": {
            "student": grades.student,
            "due_day": grades.due_day,
            "due_week": week_of_days(grades.due_day),
            "submitted_week": week_of_days(grades.submitted_day),
            "posted_day": np.where(has_score, grades.posted_day, np.int32(2**31 - 1)),
            "posted_week": week_of_days(np.where(has_score, grades.posted_day, np.int32(2**31 - 1))),
            "score": grades.score_pct.astype(float),
            "is_late": grades.submitted_day > grades.due_day,
            **_known(grades),
        },
        "transcript": _transcript(records),
        "discipline": {
            "student": discipline.student,
            "day": discipline.day,
            "week": week_of_days(discipline.day),
            "is_objective": discipline.is_objective,
            "is_major": discipline.is_major,
            **_known(discipline),
        },
    }


def _known(events: Any) -> dict[str, np.ndarray]:
    return {"known_week": week_of_days(events.known_day), "superseded_week": week_of_days(events.superseded_day)}


def _transcript(records: RecordSet) -> dict[str, np.ndarray]:
    results = records.transcript
    counts = np.isfinite(results.final_pct) & (results.credits_attempted > 0)
    lines = [line for line, _ in reversed(FOUR_POINT_SCALE)]
    points = np.array([0.0, *(value for _, value in reversed(FOUR_POINT_SCALE))])
    percent = np.where(counts, results.final_pct, 0.0).astype(float).round(3)
    columns = {
        "student": results.student,
        "posted_week": week_of_days(results.posted_day),
        "points": points[np.searchsorted(lines, percent, side="right")],
        "credit": results.credits_attempted.astype(float),
        **_known(results),
    }
    return {name: values[counts] for name, values in columns.items()}
