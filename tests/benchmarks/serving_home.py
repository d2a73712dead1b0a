"""A home folder that is ready to serve: a district imported and materialised, and trained models registered."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Final

import psycopg
from rich.console import Console

from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.security.tokens import ensure_token
from edupulse_ml.simulation.folder import write_folder
from jobs.import_records import import_csv
from jobs.materialise import materialise_district
from jobs.stack.embedded import Endpoints
from jobs.stack.paths import StackPaths
from jobs.stack.state import load_state
from jobs.tracking import Tracking
from jobs.wiring import open_context
from tests.benchmarks.district import FIRST_YEAR, SEED, one_year
from tests.benchmarks.experiment import save_artifact, train_artifact, training_set
from tests.benchmarks.setting import BenchSetting

STORED_DAY: Final = date(FIRST_YEAR + 1, 4, 9)
"""A Wednesday. Features are stored through the week before it."""
STORED_DAYS: Final = tuple(STORED_DAY + timedelta(days=days) for days in range(-2, 3))
"""Monday to Friday: answers as of these days differ, and are all made of the same stored week."""
COMPUTED_DAY: Final = STORED_DAY + timedelta(days=7)
"""The last week closed by this day is not stored: features as of this day are computed from events."""
MODELS: Final = 2
_EDUPULSE: Final = Path(sys.executable).parent / "edupulse"
_TRAINED_ON: Final = 1_500


@dataclass(frozen=True)
class ServingHome:
    """The home's servers, its token, the ids of students with records, shuffled, and the registered versions."""

    home: Path
    endpoints: Endpoints
    token: str
    students: tuple[str, ...]
    versions: tuple[ModelVersion, ...]

    def environment(self, home: Path | None = None, **changes: str) -> dict[str, str]:
        """Variables for programs that work on this home, or on another one over the same servers and data."""
        ours = ("EDUPULSE_", "MLFLOW_", "RAY_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        shared = {} if home is None else self.urls
        return {
            **kept,
            "EDUPULSE_HOME": str(home or self.home),
            "EDUPULSE_TOKEN": self.token,
            "EDUPULSE_DISTRICT": "bench",
            "EDUPULSE_HTTP_PORT": "0",
            "EDUPULSE_DASHBOARD_PORT": "0",
            "EDUPULSE_MLFLOW_PORT": "0",
            **shared,
            **changes,
        }

    @property
    def urls(self) -> Mapping[str, str]:
        """Where PostgreSQL, Redis and the registry are, as variables."""
        return {
            "EDUPULSE_DATABASE_URL": self.endpoints.database_url,
            "EDUPULSE_REDIS_URL": self.endpoints.redis_url,
            "MLFLOW_TRACKING_URI": self.endpoints.mlflow_tracking_uri,
        }

    def pid(self, name: str, home: Path | None = None) -> int:
        """The pid of a server that a home has started."""
        found = load_state(StackPaths.of(home or self.home)).get(name)
        if found is None:
            msg = f"{name} was not started from {home or self.home}."
            raise AssertionError(msg)
        return found.pid


def edupulse(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run the command; what it printed.

    Raises:
        AssertionError: it failed; the message holds the end of its output.
    """
    done = subprocess.run(
        [str(_EDUPULSE), *arguments], env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        msg = f"edupulse {' '.join(arguments)} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise AssertionError(msg)
    return done.stdout


def prepare(setting: BenchSetting, *, students: int) -> ServingHome:
    """Generate, import and materialise a district, and register models trained on another one."""
    folder = setting.home / "district"
    write_folder(one_year(students), folder)
    settings = setting.settings()
    quiet = Console(file=StringIO())
    asyncio.run(import_csv(settings, folder, rejects_path=setting.home / "rejects.csv", console=quiet))
    stored_until = datetime(STORED_DAY.year, STORED_DAY.month, STORED_DAY.day, 12, tzinfo=UTC)
    asyncio.run(materialise_district(settings, as_of=stored_until, clock=SystemClock(), console=quiet))
    endpoints, versions = asyncio.run(_register(setting))
    return ServingHome(
        home=setting.home,
        endpoints=endpoints,
        token=ensure_token(setting.home),
        students=_enrolled(endpoints.database_admin_url or ""),
        versions=versions,
    )


async def _register(setting: BenchSetting) -> tuple[Endpoints, tuple[ModelVersion, ...]]:
    settings = setting.settings()
    found = training_set(
        setting.size(_TRAINED_ON, small=300), window_weeks=settings.window_weeks, epochs=setting.size(8, small=1)
    )
    async with open_context(settings) as context:
        versions: list[ModelVersion] = []
        for number in range(MODELS):
            folder = save_artifact(train_artifact(found, seed=SEED + number), setting.home / f"model-{number}")
            with Tracking(context).run(f"bench {number}") as run:
                versions.append(context.registry.register(folder, run, tags={}))
        context.registry.set_champion(versions[0])
        return context.endpoints, tuple(versions)


def _enrolled(admin_url: str) -> tuple[str, ...]:
    """Students enrolled on both days that are asked about, in a shuffled order that is always the same."""
    query = """
        SELECT DISTINCT student.student_id
        FROM students AS student
        JOIN enrollments AS enrolment USING (student_key)
        WHERE enrolment.entry_date <= %(stored)s - 60 AND coalesce(enrolment.exit_date > %(computed)s, true)
            AND enrolment.superseded_at IS NULL
    """
    with psycopg.connect(admin_url) as connection:
        rows = connection.execute(query, {"stored": STORED_DAY, "computed": COMPUTED_DAY}).fetchall()
    ids = sorted(student_id for (student_id,) in rows)
    random.Random(SEED).shuffle(ids)
    return tuple(ids)
