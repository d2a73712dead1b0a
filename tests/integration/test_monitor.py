"""Monitoring on real PostgreSQL: a planted shift is found, a quiet year is not cried at, runs are kept once a day."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.simulation.folder import write_folder
from edupulse_ml.simulation.settings import DistrictPlan
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.monitoring import KeptRun, MonitoringRepository
from jobs.bulk.score_runs import ScoreRequest
from jobs.bulk.score_runs import score as run_scoring
from jobs.import_records import import_csv
from jobs.materialise import materialise_district
from jobs.monitor import Watched, WatchRequest, monitor_district
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import register_champion

NOW = datetime(2026, 9, 15, 12, tzinfo=UTC)
"""Before the 1 October on which the leavers over the summer are settled; those of the year before are."""

TRAINED_ON = {"data_first_cutoff": "2023-08-27", "data_last_cutoff": "2024-06-16"}
STUDENTS = 500
QUIET = Console(quiet=True)
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Watchable:
    """A generated district with a champion that learned from its first year; the records end in June 2026."""

    settings: Settings
    admin_url: str

    def monitor(self, **request) -> Watched:
        clock = FixedClock(request.pop("now", NOW))
        return asyncio.run(monitor_district(self.settings, WatchRequest(**request), clock=clock, console=QUIET))

    def values(self, query: str) -> list[object]:
        with psycopg.connect(self.admin_url) as connection:
            return [row[0] for row in connection.execute(query).fetchall()]

    def latest(self) -> KeptRun | None:
        async def work() -> KeptRun | None:
            async with Database(str(self.settings.database_url), district_id=DistrictId("demo")) as database:
                return await MonitoringRepository(database).latest()

        return asyncio.run(work())


def make(postgres, redis_server, home: Path, *, shift: bool) -> Watchable:
    uri = f"sqlite:///{home / 'mlflow.db'}"
    register_champion(uri, home, tags=TRAINED_ON)
    urls = postgres.create()
    settings = Settings(
        home=home, database_url=urls.app_url, redis_url=redis_server.url, mlflow_tracking_uri=uri, district="demo"
    )
    asyncio.run(_fill(settings, home, shift=shift))
    return Watchable(settings, urls.admin_url)


async def _fill(settings: Settings, home: Path, *, shift: bool) -> None:
    write_folder(DistrictPlan(students=STUDENTS, years=3, seed=4, shift=shift), home / "district")
    await import_csv(settings, home / "district", rejects_path=home / "rejects.csv", console=QUIET)
    await materialise_district(settings, as_of=NOW, clock=FixedClock(NOW), console=QUIET)


@pytest.fixture(scope="module")
def quiet(postgres, redis_server, tmp_path_factory: pytest.TempPathFactory) -> Watchable:
    return make(postgres, redis_server, tmp_path_factory.mktemp("quiet"), shift=False)


@pytest.fixture(scope="module")
def shifted(postgres, redis_server, tmp_path_factory: pytest.TempPathFactory) -> Watchable:
    return make(postgres, redis_server, tmp_path_factory.mktemp("shifted"), shift=True)


def test_a_planted_shift_is_found(shifted: Watchable) -> None:
    report = shifted.monitor().report
    alerts = {figure.subject for figure in report.alerts if figure.kind == "psi"}
    assert {"absence_rate_ytd", "chronic_absence_tier"} <= alerts
    assert "gpa_current_term" not in alerts


def test_without_a_shift_there_is_no_alert(quiet: Watchable) -> None:
    watched = quiet.monitor()
    assert watched.report.alerts == ()
    assert len(watched.report.of("psi")) == 42
    assert sum(figure.value is not None for figure in watched.report.of("psi")) >= 35
    assert watched.report.last_week == date(2026, 6, 8)


def test_a_day_is_looked_at_once_and_anew_only_when_asked(quiet: Watchable) -> None:
    tomorrow = NOW + timedelta(days=1)
    first = quiet.monitor(now=tomorrow)
    assert first.page is not None
    page = first.page.read_text()
    assert "No alert among" in page
    assert "absence_rate_ytd" in page
    second = quiet.monitor(now=tomorrow)
    assert second.page is None
    assert second.report == first.report
    again = quiet.monitor(now=tomorrow, again=True)
    assert again.page == first.page
    of_day = "SELECT count(*) FROM monitoring_runs WHERE day = '2026-09-16'"
    assert quiet.values(of_day) == [1]
    kept = quiet.latest()
    assert kept is not None
    assert len(kept.figures) == len(again.report.figures)


def test_two_at_once_leave_one_run(quiet: Watchable) -> None:
    later = FixedClock(NOW + timedelta(days=2))

    async def both() -> list[Watched]:
        return await asyncio.gather(
            *(monitor_district(quiet.settings, WatchRequest(), clock=later, console=QUIET) for _ in range(2))
        )

    done = asyncio.run(both())
    assert sorted(watched.page is None for watched in done) == [False, True]
    assert done[0].report == done[1].report
    assert quiet.values("SELECT count(*) FROM monitoring_runs WHERE day = '2026-09-17'") == [1]


def test_scores_and_their_outcomes_are_judged_once_they_are_there(quiet: Watchable) -> None:
    def score(sunday: date, *, at: datetime) -> None:
        request = ScoreRequest(as_of=sunday, place="here")
        asyncio.run(run_scoring(quiet.settings, request, clock=FixedClock(at), console=QUIET))
        # Workers date what they store by the machine's clock.
        with psycopg.connect(quiet.admin_url, autocommit=True) as connection:
            connection.execute("SELECT ensure_partitions('predictions', %(day)s, %(day)s)", {"day": at.date()})
            connection.execute(
                "UPDATE predictions SET created_at = %(at)s WHERE as_of >= %(sunday)s::date AND as_of < %(sunday)s::date + 2",
                {"at": at, "sunday": sunday},
            )

    score(date(2025, 10, 19), at=NOW)
    report = quiet.monitor(now=NOW + timedelta(days=3)).report
    (not_yet, _) = report.of("auc")
    assert (not_yet.value, not_yet.note) == (None, "no prediction has come of age"), (
        "scores of the past were not served"
    )
    for sunday in (date(2025, 11, 16), date(2026, 6, 7)):
        score(sunday, at=datetime(sunday.year, sunday.month, sunday.day, 12, tzinfo=UTC) + timedelta(days=1))
    watched = quiet.monitor(now=NOW + timedelta(days=4))
    auc = watched.report.figure("auc", "risk_score")
    assert auc is not None
    assert auc.value is not None
    assert watched.report.figure("calibration_slope", "risk_score") is not None
    assert watched.report.figure("fnr_gap", "risk_score:sex") is not None
    scores = watched.report.figure("score_psi", "risk_score")
    assert scores is not None
    assert scores.value is not None
    assert scores.chance is not None
    assert watched.page is not None
    assert watched.page.with_name(f"{watched.page.stem}-outcomes.html").exists()
    students = quiet.values("SELECT student_id FROM students")
    told = watched.page.read_text() + watched.page.with_name(f"{watched.page.stem}-outcomes.json").read_text()
    assert not [name for name in students if str(name) in told]


def test_another_district_sees_no_run(quiet: Watchable) -> None:
    quiet.monitor(now=NOW + timedelta(days=5))

    async def work() -> KeptRun | None:
        async with Database(str(quiet.settings.database_url), district_id=DistrictId("other")) as database:
            return await MonitoringRepository(database).latest()

    assert asyncio.run(work()) is None


def test_what_cannot_be_monitored_is_said(quiet: Watchable, postgres, redis_server, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="future"):
        quiet.monitor(as_of=NOW + timedelta(days=30))
    with pytest.raises(NotFoundError):
        quiet.monitor(version=ModelVersion("77"))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    register_champion(uri, tmp_path)
    untold = quiet.settings.model_copy(update={"mlflow_tracking_uri": uri, "home": tmp_path})
    with pytest.raises(NotFoundError, match="data_first_cutoff"):
        Watchable(untold, quiet.admin_url).monitor(now=NOW + timedelta(days=6))
