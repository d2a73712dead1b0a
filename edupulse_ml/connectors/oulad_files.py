"""The files of the Open University Learning Analytics Dataset, as Parquet or as the original CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.weeks import day_number

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

FILES: Final = (
    "courses",
    "studentInfo",
    "studentRegistration",
    "assessments",
    "studentAssessment",
    "studentVle",
)
_START_MONTHS: Final = {"B": 2, "J": 10}
_RUN_COLUMNS: Final = ("code_module", "code_presentation")


class OuladFilesError(InvalidInputError):
    """The folder is not OULAD, or does not hold what was asked for."""


@dataclass(frozen=True)
class CourseRun:
    """One module in one presentation; the canonical "school". `start_day` is its day 0 as a day number."""

    module: str
    presentation: str
    start_day: int
    length_days: int

    @property
    def school_id(self) -> str:
        return f"{self.module}-{self.presentation}"

    @property
    def school_year(self) -> int:
        return int(self.presentation[:4])


@dataclass(frozen=True)
class Registrations:
    """All registrations of a run, ordered by `student`. Days count from day 0 and are NaN where not given."""

    student: Int32
    registered: Float64
    unregistered: Float64
    final_result: pa.Array
    gender: pa.Array
    disability: pa.Array
    imd_band: pa.Array


@dataclass(frozen=True)
class Assessments:
    """The assessments of a run other than its exam. `due` counts from day 0; `weight` is in per cent of the mark."""

    assessment: Int32
    is_marked_by_computer: NDArray[np.bool_]
    due: Int32
    weight: Float64


@dataclass(frozen=True)
class Submissions:
    """What was handed in, in any order. `score` is 0-100, NaN where not marked."""

    assessment: Int32
    student: Int32
    submitted: Int32
    is_banked: NDArray[np.bool_]
    score: Float64


@dataclass(frozen=True)
class Clicks:
    """Click counts of a run: one entry per student, day and site, and sites repeat; the sum is what counts."""

    student: Int32
    day: Int32
    clicks: Float64


def day_zero(presentation: str) -> date:
    """Day 0 of a presentation: the first Monday of February (`B`) or October (`J`) of its year.

    Raises:
        OuladFilesError: the name is not a year followed by B or J.
    """
    if len(presentation) != 5 or not presentation[:4].isdigit() or presentation[4] not in _START_MONTHS:
        raise OuladFilesError(f"'{presentation}' is no presentation; they are named like 2013B or 2013J.")
    first = date(int(presentation[:4]), _START_MONTHS[presentation[4]], 1)
    return first + timedelta(days=-first.weekday() % 7)


class OuladFiles:
    """Reads the files of a folder, one course run at a time."""

    def __init__(self, path: Path) -> None:
        """Check that the files are there.

        Raises:
            OuladFilesError: some are missing.
        """
        self._path = path
        self._tables: dict[str, pa.Table] = {}
        missing = [name for name in FILES if self._file(name) is None]
        if missing:
            raise OuladFilesError(
                f"The folder {path} lacks {', '.join(missing)} (.parquet or .csv); download OULAD and give its folder."
            )

    def runs(self, presentations: Sequence[str]) -> Sequence[CourseRun]:
        """The course runs of some presentations, by presentation and module.

        Raises:
            OuladFilesError: none is asked for, or one that the files do not hold.
        """
        courses = self._table("courses", (*_RUN_COLUMNS, "module_presentation_length")).to_pylist()
        available = sorted({row["code_presentation"] for row in courses})
        unknown = [name for name in presentations if name not in available]
        if unknown or not presentations:
            asked = ", ".join(unknown) or "none"
            raise OuladFilesError(f"Presentations asked for: {asked}; available here: {', '.join(available)}.")
        runs = [
            CourseRun(
                module=row["code_module"],
                presentation=row["code_presentation"],
                start_day=day_number(day_zero(row["code_presentation"])),
                length_days=int(row["module_presentation_length"]),
            )
            for row in courses
            if row["code_presentation"] in presentations
        ]
        return sorted(runs, key=lambda run: (run.presentation, run.module))

    def registrations(self, run: CourseRun) -> Registrations:
        """Who registered for a run, with what became of them."""
        dates = self._of_run("studentRegistration", run, ("id_student", "date_registration", "date_unregistration"))
        info = self._of_run("studentInfo", run, ("id_student", "gender", "imd_band", "disability", "final_result"))
        dates, info = dates.sort_by("id_student"), info.sort_by("id_student")
        if not dates["id_student"].equals(info["id_student"]):
            raise OuladFilesError(
                f"studentInfo and studentRegistration do not name the same students in {run.school_id}; "
                "both files must come from the same download."
            )
        return Registrations(
            student=_integers(dates["id_student"]),
            registered=_floats(dates["date_registration"]),
            unregistered=_floats(dates["date_unregistration"]),
            final_result=info["final_result"].combine_chunks(),
            gender=info["gender"].combine_chunks(),
            disability=info["disability"].combine_chunks(),
            imd_band=info["imd_band"].combine_chunks(),
        )

    def assessments(self, run: CourseRun) -> Assessments:
        """The coursework of a run: everything but exams, which are outside the module's days."""
        rows = self._of_run("assessments", run, ("id_assessment", "assessment_type", "date", "weight"))
        rows = rows.filter(pc.and_(pc.not_equal(rows["assessment_type"], "Exam"), pc.is_valid(rows["date"])))
        rows = rows.sort_by([("date", "ascending"), ("id_assessment", "ascending")])
        return Assessments(
            assessment=_integers(rows["id_assessment"]),
            is_marked_by_computer=pc.equal(rows["assessment_type"], "CMA").to_numpy(),
            due=_integers(rows["date"]),
            weight=_floats(rows["weight"]),
        )

    def submissions(self, assessments: Assessments) -> Submissions:
        """What was handed in for some assessments."""
        columns = ("id_assessment", "id_student", "date_submitted", "is_banked", "score")
        rows = self._table("studentAssessment", columns)
        rows = rows.filter(pc.is_in(rows["id_assessment"].cast(pa.int32()), value_set=pa.array(assessments.assessment)))
        return Submissions(
            assessment=_integers(rows["id_assessment"]),
            student=_integers(rows["id_student"]),
            submitted=_integers(rows["date_submitted"]),
            is_banked=_integers(rows["is_banked"]) == 1,
            score=_floats(rows["score"]),
        )

    def clicks(self, run: CourseRun) -> Clicks:
        """The clicks of a run."""
        rows = self._of_run("studentVle", run, ("id_student", "date", "sum_click"))
        return Clicks(_integers(rows["id_student"]), _integers(rows["date"]), _floats(rows["sum_click"]))

    def _file(self, name: str) -> Path | None:
        candidates = [self._path / f"{name}.parquet", self._path / f"{name}.csv"]
        return next((file for file in candidates if file.is_file()), None)

    def _of_run(self, name: str, run: CourseRun, columns: Sequence[str]) -> pa.Table:
        of_run = (pc.field("code_module") == run.module) & (pc.field("code_presentation") == run.presentation)
        file = self._file(name)
        if name == "studentVle" and file is not None and file.suffix == ".parquet":
            return self._read(name, columns, only=of_run)
        return self._table(name, (*_RUN_COLUMNS, *columns)).filter(of_run).select(list(columns))

    def _table(self, name: str, columns: Sequence[str]) -> pa.Table:
        """A whole file, read once."""
        if name not in self._tables:
            self._tables[name] = self._read(name, columns, only=None)
        return self._tables[name]

    def _read(self, name: str, columns: Sequence[str], *, only: Any) -> pa.Table:
        """The columns of a file, of a Parquet file `only` the rows asked for."""
        file = self._file(name) or self._path
        try:
            if file.suffix == ".parquet":
                return pq.read_table(file, columns=list(columns), filters=only).select(list(columns))
            missing = arrow_csv.ConvertOptions(
                include_columns=list(columns), null_values=["", "?"], strings_can_be_null=True
            )
            return arrow_csv.read_csv(file, convert_options=missing)
        except (pa.ArrowException, KeyError, OSError) as error:
            raise OuladFilesError(
                f"{file.name} in {self._path} cannot be read as OULAD's file with the columns {', '.join(columns)}; "
                "download it again."
            ) from error


def _integers(values: pa.ChunkedArray) -> Int32:
    return values.cast(pa.int32()).to_numpy()


def _floats(values: pa.ChunkedArray) -> Float64:
    """Numbers, NaN where missing."""
    return values.cast(pa.float64()).fill_null(np.nan).to_numpy()
