"""Facts of the real data set (sources.md 3) that must hold after the mapping."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edupulse_ml.connectors.oulad import load_oulad, read_oulad
from edupulse_ml.connectors.oulad_files import OuladFiles
from edupulse_ml.connectors.oulad_study import study_periods
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, EXIT_CODES
from edupulse_ml.core.weeks import NEVER

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "oulad"
PRESENTATIONS = ("2013B", "2013J", "2014B")

pytestmark = [
    pytest.mark.oulad,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the OULAD files are not here"),
]


@pytest.fixture(scope="module")
def loaded():
    return load_oulad(FOLDER, PRESENTATIONS)


@pytest.fixture(scope="module")
def source():
    """Registrations joined with results, as they stand in the files."""
    names = ["code_module", "code_presentation", "id_student"]
    info = pq.read_table(FOLDER / "studentInfo.parquet").to_pandas()
    return info.merge(pq.read_table(FOLDER / "studentRegistration.parquet").to_pandas(), on=names, validate="1:1")


def test_registrations_that_are_no_study_are_those_of_the_files(source):
    files = OuladFiles(FOLDER)
    omitted = [study_periods(run, files.registrations(run))[1] for run in files.runs(PRESENTATIONS)]
    undated = (source.final_result == "Withdrawn") & source.date_unregistration.isna()
    assert sum(run.undated_withdrawals for run in omitted) == undated.sum() == 6
    assert sum(run.never_started for run in omitted) == (source.date_unregistration <= 0).sum() == 2200


def test_everyone_who_studied_is_there_once(loaded, source):
    assert len(source) == 21_333
    assert loaded.records.n_students == len(source) - 2200 - 6 == 19_127
    assert len(set(loaded.student_ids)) == 19_127
    assert len(loaded.school_ids) == 15
    assert len(set(loaded.person_ids)) < 19_127


def test_ways_of_ending(loaded):
    codes, counts = np.unique(loaded.exits.exit_code, return_counts=True)
    found = {EXIT_CODES[code] if code >= 0 else "open": int(n) for code, n in zip(codes, counts, strict=True)}
    assert found == {"open": 19_127, "dropout": 4_132, "failed": 5_067, "graduated": 9_928}


def last_enrolled_day(loaded):
    """[students] first day of no longer studying."""
    exit_day = np.full(loaded.records.n_students, NEVER, dtype=np.int64)
    closed = loaded.exits.exit_code >= 0
    exit_day[loaded.exits.student[closed]] = loaded.exits.exit_day[closed]
    return exit_day


def test_nothing_happens_after_the_exit_or_before_the_entry(loaded):
    records, exit_day = loaded.records, last_enrolled_day(loaded)
    entry_day = np.zeros(records.n_students, dtype=np.int64)
    entry_day[records.enrollments.student] = records.enrollments.entry_day
    assert (records.attendance.day < exit_day[records.attendance.student]).all()
    assert (records.attendance.day >= entry_day[records.attendance.student]).all()
    dropped = np.isin(np.arange(records.n_students), loaded.exits.student[loaded.exits.exit_code == 0])
    grades = records.grades
    of_leavers = dropped[grades.student]
    for day in (grades.due_day, grades.submitted_day, grades.posted_day):
        known = of_leavers & (day != NEVER)
        assert (day[known] < exit_day[grades.student[known]]).all()


def test_clicks_are_summed_not_dropped(loaded):
    """Student-days with clicks of one module, counted from the file itself."""
    clicks = pq.read_table(
        FOLDER / "studentVle.parquet",
        filters=[("code_module", "=", "BBB"), ("code_presentation", "=", "2013B")],
        columns=["id_student", "date", "sum_click"],
    ).to_pandas()
    files = OuladFiles(FOLDER)
    run = next(run for run in files.runs(["2013B"]) if run.module == "BBB")
    periods = study_periods(run, files.registrations(run))[0]
    entry = dict(zip(periods.student.tolist(), periods.entry.tolist(), strict=True))
    exits = dict(zip(periods.student.tolist(), periods.exit.tolist(), strict=True))
    daily = clicks[clicks.id_student.isin(list(entry))].groupby(["id_student", "date"], as_index=False).sum_click.sum()
    kept = daily[
        (daily.date >= daily.id_student.map(entry))
        & (daily.date < daily.id_student.map(exits).clip(upper=run.length_days))
    ].assign(week=lambda frame: frame.date // 7)
    mean = kept.groupby("week").sum_click.transform("mean")
    expected = (10 - np.minimum(10, np.rint(10 * kept.sum_click / mean))).to_numpy()

    events = loaded.records.attendance
    of_run = np.array([name.startswith("BBB-2013B-") for name in loaded.student_ids])
    present = of_run[events.student] & (events.status == ATTENDANCE_STATUSES.index("present"))
    person = np.array([int(name) for name in loaded.person_ids])[events.student[present]]
    order = np.lexsort((events.day[present], person))
    assert (events.periods_scheduled[present] == 10).all()
    assert np.array_equal(person[order], kept.id_student.to_numpy())
    assert np.array_equal(events.day[present][order] - run.start_day, kept.date.to_numpy())
    assert np.array_equal(events.periods_absent[present][order], expected)


def test_scores_are_known_two_weeks_after_submission(loaded):
    grades = loaded.records.grades
    scored = ~np.isnan(grades.score_pct)
    assert (grades.posted_day[scored] - grades.submitted_day[scored] == 14).all()
    assert (grades.posted_day[~scored] == NEVER).all()
    assert grades.points_weight.max() <= 100


def test_discipline_is_missing_not_zero(loaded):
    assert len(loaded.records.discipline.day) == len(loaded.records.transcript.student) == 0
    assert not loaded.records.calendars.discipline_reported.any()
    assert not loaded.records.calendars.records_tardies.any()


def test_three_presentations_load_within_half_a_minute():
    started = time.perf_counter()
    rows = sum(len(chunk) for file in read_oulad(FOLDER, presentations=PRESENTATIONS) for chunk in file.chunks)
    assert rows > 4_000_000
    assert time.perf_counter() - started < 30
    assert pa.total_allocated_bytes() < 3 * 2**30
