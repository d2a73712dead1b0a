"""`--check` against real servers: what it finds wrong, with which exit code, and that it changes nothing."""

from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.registry.models import ModelRegistry, model_name
from jobs import cli
from jobs.preflight import Check, check_before, folder_check, model_check, serving_checks, training_checks
from tests.fakes.scored_district import make_artifact, records, register_champion
from tests.fakes.store_world import World

STORED = ("monthly_runs", "training_jobs", "promotions", "predictions", "audit_log")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    register_champion(f"sqlite:///{folder}/mlflow.db", folder)
    return folder


@pytest.fixture
def settings(database_urls, redis_server, registered: Path, tmp_path: Path) -> Settings:
    World(database_urls).load(records(3))
    return Settings(
        home=tmp_path / "home",
        database_url=database_urls.app_url,
        redis_url=redis_server.url,
        mlflow_tracking_uri=f"sqlite:///{registered}/mlflow.db",
        district="demo",
    )


def checked(settings: Settings, *checks: Check) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        check_before(settings, Console(file=out, width=300), *checks)
    except typer.Exit as end:
        code = end.exit_code
    return code, out.getvalue()


def test_all_is_well_and_nothing_is_changed(settings: Settings, database_urls) -> None:
    world = World(database_urls)
    code, shown = checked(settings, *serving_checks(), model_check())
    assert (code, shown.count("ok ")) == (0, 7), shown
    assert "version 1 (gru) loads" in shown
    assert not settings.home.exists()
    assert [world.values(f"SELECT count(*) FROM {table}") for table in STORED] == [[0]] * len(STORED)


def test_a_database_without_tables_and_one_without_records(settings: Settings, postgres, database_urls) -> None:
    bare = settings.model_copy(update={"database_url": postgres.create_empty()})
    code, shown = checked(bare, *training_checks(ray=False))
    assert code == 69
    assert "WRONG    PostgreSQL: The database lacks EduPulse's tables" in shown
    assert "not seen records: it needs PostgreSQL and migrations" in shown
    other = settings.model_copy(update={"district": "elsewhere"})
    code, shown = checked(other, *training_checks(ray=False))
    assert code == 4
    assert "District elsewhere has no row in students, enrollments, calendar" in shown


def test_missing_and_changed_migrations(settings: Settings, database_urls) -> None:
    world = World(database_urls)
    world.execute("UPDATE schema_migrations SET checksum = 'x' WHERE name = '0011_monthly_runs'")
    code, shown = checked(settings, *training_checks(ray=False))
    assert code == 5
    assert "applied in another form (0011_monthly_runs)" in shown
    world.execute("DELETE FROM schema_migrations WHERE name = '0011_monthly_runs'")
    code, shown = checked(settings, *training_checks(ray=False))
    assert code == 69
    assert "Migrations are missing (0011_monthly_runs): run `edupulse migrate`" in shown
    world.execute("REVOKE SELECT ON schema_migrations FROM edupulse_app")
    assert "migrated by an earlier release" in checked(settings, *training_checks(ray=False))[1]


def test_servers_that_do_not_answer(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"})
    code, shown = checked(away, *training_checks(ray=False))
    assert code == 69
    assert "WRONG    Redis: " in shown
    embedded = Settings(home=tmp_path / "new-home", district="demo")
    code, shown = checked(embedded, *serving_checks(), model_check())
    assert code == 69
    assert "The embedded PostgreSQL of" in shown
    assert "The embedded Redis of" in shown
    assert "No model is registered yet" in shown
    assert not (tmp_path / "new-home").exists()


def test_models_that_are_not_there_or_do_not_fit(settings: Settings, registered: Path, tmp_path: Path) -> None:
    assert checked(settings, *serving_checks(), model_check("7"))[0] == 4
    wider = settings.model_copy(update={"window_weeks": 30})
    code, shown = checked(wider, *serving_checks(), model_check(newest=True))
    assert code == 65
    assert "WRONG    model: " in shown
    make_artifact().save(tmp_path / "model")
    assert checked(settings, folder_check(tmp_path / "model"))[0] == 0
    next((tmp_path / "model").glob("*.onnx")).unlink()
    assert checked(settings, folder_check(tmp_path / "model"))[0] != 0


def test_nobody_has_registered(settings: Settings, tmp_path: Path) -> None:
    none = settings.model_copy(update={"district": "nobody"})
    registry = ModelRegistry(settings.mlflow_tracking_uri or "", name=model_name("nobody"), cache_dir=tmp_path)
    assert registry.versions() == []
    code, shown = checked(none, *serving_checks()[-1:], model_check())
    assert code == 4
    assert "no champion model yet" in shown


@pytest.mark.parametrize("job", ["train", "evaluate", "promote", "score", "monthly"])
def test_each_job_has_the_option(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys, job: str) -> None:
    monkeypatch.setenv("EDUPULSE_HOME", str(settings.home))
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("EDUPULSE_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(settings.mlflow_tracking_uri))
    monkeypatch.setenv("EDUPULSE_DISTRICT", "demo")
    with pytest.raises(SystemExit) as end:
        cli.run([job, "--check"], before_command=lambda: None)
    shown = capsys.readouterr().out
    assert (end.value.code, "WRONG" in shown) == (0, False), shown
    assert "records: students, enrollments, calendar hold rows" in shown
    assert not settings.home.exists()
