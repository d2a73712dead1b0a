"""`edupulse import` and `edupulse materialise` against real embedded servers: what a data team types."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from jobs.stack.paths import StackPaths
from jobs.stack.postgres import ensure_postgres
from jobs.stack.up import down

FIRST_MONDAY = date(2025, 9, 1)
SCHOOL_DAYS = [FIRST_MONDAY + timedelta(days=7 * week + day) for week in range(6) for day in range(5)]

QUEUED = "SELECT student_id FROM students JOIN feature_refresh_queue USING (student_key) ORDER BY 1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("records")
    yield folder
    down(Settings(home=folder), Console(quiet=True))


def edupulse(home: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True,
        check=False,
        text=True,
        env={"PATH": "/usr/bin:/bin", "EDUPULSE_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def write_folder(folder: Path, *, extra_rows: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "schools.csv").write_text("school_id,name\nnorth,North High\n")
    calendar = "".join(f"north,{day},true,2025-S1,2025\n" for day in SCHOOL_DAYS)
    (folder / "calendar.csv").write_text("school_id,date,is_instructional,term_id,school_year\n" + calendar)
    (folder / "students.csv").write_text("student_id,birth_date\nada,2010-05-01\nbob,2010-06-01\ncyd,2010-07-01\n")
    enrolled = "".join(f"{student},north,9,{FIRST_MONDAY}\n" for student in ("ada", "bob", "cyd"))
    (folder / "enrollments.csv").write_text("student_id,school_id,grade_level,entry_date\n" + enrolled)
    rows = "".join(f"{student},{day},present,\n" for student in ("ada", "bob", "cyd") for day in SCHOOL_DAYS)
    (folder / "attendance_records.csv").write_text("student_id,date,status,recorded_at\n" + rows + extra_rows)
    return folder


def write_correction(folder: Path, row: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "attendance_records.csv").write_text(f"student_id,date,status,recorded_at\n{row}\n")
    return folder


def stored(home: Path, query: str) -> list[tuple]:
    with psycopg.connect(ensure_postgres(StackPaths.of(home)).admin) as connection:
        return connection.execute(query).fetchall()


def test_records_become_features_once_and_corrections_touch_only_their_student(home: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "district")
    code, shown = edupulse(home, "import", "csv", str(folder))
    assert code == 0, shown
    assert "attendance_records.csv │   90 │       90 │       0 │         0 │        0" in shown

    code, shown = edupulse(home, "import", "csv", str(folder))
    assert code == 0, shown
    assert "attendance_records.csv │   90 │        0 │       0 │        90 │        0" in shown

    code, shown = edupulse(home, "materialise", "--as-of", "2025-11-01")
    assert code == 0, shown
    assert "3 students computed, 18 student-weeks written, up to the week that closed on 2025-10-26." in shown
    assert stored(home, "SELECT count(*) FROM student_features") == [(18,)]

    code, shown = edupulse(home, "materialise", "--as-of", "2025-11-01")
    assert "0 students computed, 0 student-weeks written" in shown
    code, shown = edupulse(home, "materialise", "--as-of", "2025-11-01", "--all")
    assert "3 students computed, 0 student-weeks written" in shown

    correction = write_correction(tmp_path / "fix", f"bob,{SCHOOL_DAYS[20]},absent,2025-10-07T12:00:00Z")
    code, shown = edupulse(home, "import", "csv", str(correction))
    assert "attendance_records.csv │    1 │        0 │       1 │         0 │        0" in shown
    assert stored(home, QUEUED) == [("bob",)]
    code, shown = edupulse(home, "materialise", "--as-of", "2025-11-01")
    assert "1 students computed, 1 student-weeks written" in shown
    assert stored(home, QUEUED) == []


def test_bad_rows_are_listed_and_the_good_ones_stored(home: Path, tmp_path: Path) -> None:
    bad = "nobody,2025-09-01,present,\nada,2025-09-31,present,\nada,2025-10-12,asleep,\ncyd,2025-10-11,present,\n"
    folder = write_folder(tmp_path / "faulty", extra_rows=bad)
    before = stored(home, "SELECT count(*) FROM attendance_records")[0][0]
    code, shown = edupulse(home, "import", "csv", str(folder))
    assert code == 1, shown
    assert "3 rows were rejected; their reasons are in" in shown
    lines = (home / "rejects" / "demo" / "faulty.csv").read_text().splitlines()
    assert lines[0] == "file,line,column,reason"
    assert sorted(line.split(",")[1] for line in lines[1:]) == ["92", "93", "94"]
    assert "nobody" not in "\n".join(lines)
    after = stored(home, "SELECT count(*) FROM attendance_records")[0][0]
    assert after >= before + 1


def test_wrong_folders_and_moments_are_refused_with_a_sentence(home: Path, tmp_path: Path) -> None:
    code, shown = edupulse(home, "import", "csv", str(tmp_path / "nowhere"))
    assert code == 2
    assert "nowhere" in shown
    assert "Traceback" not in shown
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    code, shown = edupulse(home, "materialise", "--as-of", tomorrow)
    assert code == 2
    assert "lies in the future" in shown


def test_migrate_says_what_it_did(home: Path) -> None:
    code, shown = edupulse(home, "migrate")
    assert code == 0, shown
    assert "up to date" in shown


def test_two_materialise_runs_at_once_agree(home: Path, tmp_path: Path) -> None:
    correction = write_correction(tmp_path / "fix", f"cyd,{SCHOOL_DAYS[3]},absent,2025-09-16T12:00:00Z")
    edupulse(home, "import", "csv", str(correction))
    assert ("cyd",) in stored(home, QUEUED)
    environment = {"PATH": "/usr/bin:/bin", "EDUPULSE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs.materialise", "--all"]
    runs = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert ("cyd",) not in stored(home, QUEUED)
    assert stored(home, "SELECT count(*) FROM student_features") == [(18,)]
