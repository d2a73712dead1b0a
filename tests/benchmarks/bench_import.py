"""`import`: rows per second from a folder of CSV files into the store, against raw `COPY` of the same files."""

import asyncio
import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.tables import ATTENDANCE, TABLES
from edupulse_ml.simulation.folder import write_folder
from jobs.import_records import import_csv
from tests.benchmarks.bare_copy import copy_folder
from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.databases import Databases, FreshDatabase
from tests.benchmarks.district import one_year
from tests.benchmarks.measuring import cpu_seconds, stopwatch
from tests.benchmarks.setting import BenchSetting

HEADLINE: Final = "rows/s"
_EVERY_TABLE: Final = frozenset(table.name for table in TABLES)
_REFERENCES: Final = ("schools", "calendar", "students", "enrollments")


def cases(setting: BenchSetting) -> Generator[Case]:
    """The whole folder, attendance alone, and the same folder once more; each round in a database of its own."""
    folder = setting.home / "district"
    rows = write_folder(one_year(setting.size(5_000, small=60)), folder)
    arena = _Arena(setting, Databases(setting), folder)
    total = sum(rows.values())
    yield Case(
        f"Import of a district, {total:,} rows",
        [
            Contender("EduPulse", lambda: arena.imports(total, before=None, then=arena.folder)),
            Contender("COPY, bare tables", lambda: arena.copies(total, _EVERY_TABLE)),
        ],
        headline=HEADLINE,
        notes=(
            "EduPulse: rows checked, versioned, partitioned, indexed, under row-level security, students queued.",
            "COPY: the same files in one transaction into tables without key, index, check or policy. fsync is on.",
        ),
    )
    references, attendance = arena.parts()
    daily = rows[ATTENDANCE.name]
    yield Case(
        f"Import of attendance, {daily:,} rows",
        [
            Contender("EduPulse", lambda: arena.imports(daily, before=references, then=attendance)),
            Contender("COPY, a bare table", lambda: arena.copies(daily, frozenset({ATTENDANCE.name}))),
        ],
        headline=HEADLINE,
        notes=("Schools, calendar, students and enrolments are imported before, unmeasured.",),
    )
    yield Case(
        f"The same folder once more, {total:,} rows, nothing changes",
        [Contender("EduPulse", lambda: arena.imports(total, before=arena.folder, then=arena.folder))],
        headline=HEADLINE,
    )


@dataclass(frozen=True)
class _Arena:
    """The servers and files that all rounds share."""

    setting: BenchSetting
    databases: Databases
    folder: Path

    def parts(self) -> tuple[Path, Path]:
        """Folders with the tables that attendance refers to, and with attendance alone."""
        references, attendance = self.setting.home / "references", self.setting.home / "attendance"
        for target, names in ((references, _REFERENCES), (attendance, (ATTENDANCE.name,))):
            target.mkdir()
            for name in names:
                shutil.copy(self.folder / f"{name}.csv", target)
        return references, attendance

    def imports(self, rows: int, *, before: Path | None, then: Path) -> Figures:
        with self.databases.fresh() as database:
            settings = self._settings(database)
            if before is not None:
                self._import(settings, before)
            return self._measured(rows, lambda: self._import(settings, then))

    def copies(self, rows: int, tables: frozenset[str]) -> Figures:
        with self.databases.fresh() as database:
            return self._measured(rows, lambda: copy_folder(database.admin_url, self.folder, tables=tables))

    def _settings(self, database: FreshDatabase) -> Settings:
        return self.setting.settings(
            database_url=database.app_url,
            database_admin_url=database.admin_url,
            redis_url=self.databases.redis_url,
            mlflow_tracking_uri=self.databases.tracking_uri,
        )

    def _import(self, settings: Settings, folder: Path) -> int:
        quiet = Console(file=StringIO())
        rejects = self.setting.home / "rejects.csv"
        summary = asyncio.run(import_csv(settings, folder, rejects_path=rejects, console=quiet))
        return sum(file.inserted + file.updated + file.unchanged for file in summary.files)

    def _measured(self, rows: int, work: Callable[[], int]) -> Figures:
        pids = [os.getpid(), self.setting.postgres_pid()]
        before = cpu_seconds(pids)
        with stopwatch() as watch:
            done = work()
        used = cpu_seconds(pids) - before
        if done != rows:
            msg = f"{done} rows were loaded where the files hold {rows}"
            raise AssertionError(msg)
        return {
            HEADLINE: rows / watch.wall_s,
            "seconds": watch.wall_s,
            "CPU s per million rows": used / rows * 1e6,
            "of it in this process": watch.cpu_s / rows * 1e6,
        }
