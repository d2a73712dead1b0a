"""Real embedded servers in a home folder of the test's own: started once, found again, restarted after `kill -9`."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import ConflictError, InvalidInputError
from jobs.stack import embedded, postgres, redis
from jobs.stack.paths import StackPaths
from jobs.stack.ports import next_free
from jobs.stack.processes import MARKER, ServerStartError, end, is_alive, spawn
from jobs.stack.state import exclusive, load_state
from jobs.stack.up import down, status

ENVIRONMENT = dict(os.environ)
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def kill_hard(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def query(url: str, text: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(text).fetchone()
        return row[0] if row else None


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackPaths]:
    home = StackPaths.of(tmp_path_factory.mktemp("home"))
    yield home
    down(Settings(home=home.home), Console(quiet=True))


def test_postgres_starts_once_and_keeps_its_data_through_kill_and_stop(paths: StackPaths) -> None:
    urls = postgres.ensure_postgres(paths)
    assert int(str(query(urls.admin, "SHOW server_version_num"))) >= 180000
    assert query(urls.admin, "SELECT current_database()") == "edupulse"
    assert query(urls.admin, "SHOW listen_addresses") == ""
    with psycopg.connect(urls.admin) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (42)")
    running = load_state(paths).get("postgresql")
    assert running is not None
    assert postgres.ensure_postgres(paths) == urls
    assert load_state(paths).get("postgresql") == running

    kill_hard(running.pid)
    assert postgres.find_postgres(paths) is None
    assert postgres.ensure_postgres(paths) == urls
    assert query(urls.admin, "SELECT n FROM kept") == 42

    assert postgres.stop_postgres(paths) is True
    assert postgres.stop_postgres(paths) is False
    assert load_state(paths).get("postgresql") is None
    postgres.ensure_postgres(paths)
    assert query(urls.admin, "SELECT n FROM kept") == 42


def test_a_pid_file_that_names_another_program_does_not_stop_the_start(paths: StackPaths) -> None:
    urls = postgres.ensure_postgres(paths)
    running = postgres.find_postgres(paths)
    assert running is not None
    pid_file = paths.postgres_data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill_hard(running.pid)
    with subprocess.Popen(SLEEPER) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert postgres.find_postgres(paths) is None
        postgres.ensure_postgres(paths)
        assert query(urls.admin, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_the_saved_state_forgot_is_found_again(paths: StackPaths) -> None:
    postgres.ensure_postgres(paths)
    before = postgres.find_postgres(paths)
    paths.state.unlink()
    postgres.ensure_postgres(paths)
    assert postgres.find_postgres(paths) == before
    assert load_state(paths).get("postgresql") == before


def test_two_processes_at_once_start_one_postgres_and_one_redis(paths: StackPaths) -> None:
    postgres.stop_postgres(paths)
    redis.stop_redis(paths)
    code = (
        "import sys; from pathlib import Path; from edupulse_ml.config.settings import Settings;"
        "from jobs.stack.embedded import ensure_embedded; ensure_embedded(Settings(home=Path(sys.argv[1])))"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(paths.home)], stderr=subprocess.PIPE) for _ in range(3)
    ]
    problems = [starter.communicate(timeout=120)[1].decode() for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], problems
    redis_servers = [
        process.pid for process in psutil.process_iter() if str(redis.socket_path(paths)) in " ".join(_cmdline(process))
    ]
    assert len(redis_servers) == 1
    assert postgres.find_postgres(paths) is not None


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_redis_starts_once_and_again_after_kill(paths: StackPaths) -> None:
    url = redis.ensure_redis(paths, environment=ENVIRONMENT)
    assert url == f"unix://{redis.socket_path(paths)}"
    first = load_state(paths).get("redis")
    assert first is not None
    assert redis.ensure_redis(paths, environment=ENVIRONMENT) == url
    assert load_state(paths).get("redis") == first
    kill_hard(first.pid)
    redis.ensure_redis(paths, environment=ENVIRONMENT)
    second = load_state(paths).get("redis")
    assert second is not None
    assert second.pid != first.pid
    assert redis.stop_redis(paths) is True
    assert redis.stop_redis(paths) is False
    assert not is_alive(second)


def test_a_deep_home_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    deep = StackPaths.of(tmp_path / ("x" * 60) / ("y" * 60))
    try:
        redis.ensure_redis(deep, environment=ENVIRONMENT)
        urls = postgres.ensure_postgres(deep)
        assert query(urls.admin, "SELECT 1") == 1
        folder = postgres.socket_folder(deep)
        assert not folder.is_relative_to(deep.home)
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        postgres.stop_postgres(deep)
        redis.stop_redis(deep)


def test_a_foreign_socket_folder_is_not_used(tmp_path: Path) -> None:
    deep = StackPaths.of(tmp_path / ("x" * 60) / ("y" * 60))
    folder = redis.socket_path(deep).parent
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(ServerStartError, match="belongs to somebody else"):
            redis.ensure_redis(deep, environment=ENVIRONMENT)
    finally:
        folder.unlink()


def test_an_interrupted_first_start_is_made_good(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    paths.postgres_data.mkdir()
    (paths.postgres_data / "global").mkdir()
    (paths.postgres_data / "half-written").write_text("")
    try:
        assert query(postgres.ensure_postgres(paths).admin, "SELECT 1") == 1
    finally:
        postgres.stop_postgres(paths)


def test_own_servers_are_not_started_where_urls_are_set(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path,
            "database_url": "postgresql://app@db/x",
            "redis_url": "redis://cache",
            "mlflow_tracking_uri": "http://mlflow",
        }
    )
    endpoints = embedded.ensure_embedded(settings)
    assert endpoints == embedded.Endpoints("postgresql://app@db/x", None, "redis://cache", "http://mlflow", None)
    assert list(tmp_path.iterdir()) == []
    environment = embedded.server_environment(settings, endpoints)
    assert environment["EDUPULSE_DATABASE_URL"] == "postgresql://app@db/x"
    with pytest.raises(InvalidInputError, match="EDUPULSE_DATABASE_ADMIN_URL"):
        embedded.ensure_embedded(
            Settings.model_validate({"home": tmp_path, "database_admin_url": "postgresql://a@b/c"})
        )


def test_replicas_never_see_the_admin_url(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDUPULSE_DATABASE_ADMIN_URL", "postgresql://owner:secret@db/x")
    endpoints = embedded.Endpoints("postgresql://app@db/x", "postgresql://owner@db/x", "redis://c", "sqlite:///m", None)
    environment = embedded.server_environment(Settings(home=tmp_path), endpoints)
    assert not any("owner" in value for value in environment.values())


def test_status_and_down_know_what_runs(paths: StackPaths) -> None:
    settings = Settings(home=paths.home)
    postgres.ensure_postgres(paths)
    redis.ensure_redis(paths, environment=ENVIRONMENT)
    assert {server.name: server.state for server in status(settings)} == {
        "postgresql": "running",
        "redis": "running",
        "mlflow": "stopped",
        "ray": "stopped",
        "api": "stopped",
    }
    console = Console(record=True, file=io.StringIO())
    down(settings, console)
    down(settings, console)
    assert {server.state for server in status(settings)} == {"stopped"}
    text = console.export_text()
    assert "Stopped Redis, PostgreSQL." in text
    assert "Nothing was running." in text


def test_end_reaches_what_the_process_started_and_nobody_else(tmp_path: Path) -> None:
    code = f"import subprocess, time; subprocess.Popen({SLEEPER!r}, start_new_session=True); time.sleep(60)"
    started = spawn("parent", [sys.executable, "-c", code], environment=ENVIRONMENT, log=tmp_path / "log", cwd=tmp_path)
    with subprocess.Popen(SLEEPER, env={**ENVIRONMENT, MARKER: "parent:other"}) as stranger:
        deadline = time.monotonic() + 10
        while not (children := psutil.Process(started.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        kill_hard(started.pid)
        assert not is_alive(started)
        assert children[0].is_running()
        end(started, grace_s=1.0)
        assert not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE
        assert stranger.poll() is None
        stranger.kill()


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    started = spawn("deaf", [sys.executable, "-c", code], environment=ENVIRONMENT, log=log, cwd=tmp_path)
    while "deaf" not in log.read_text():
        time.sleep(0.01)
    end(started, grace_s=0.2)
    assert not is_alive(started)


def test_a_reused_pid_is_not_ours(tmp_path: Path) -> None:
    from dataclasses import replace

    started = spawn("sleeper", SLEEPER, environment=ENVIRONMENT, log=tmp_path / "log", cwd=tmp_path)
    earlier = replace(started, create_time=started.create_time - 100, marker="sleeper:earlier")
    assert is_alive(started)
    assert not is_alive(earlier)
    end(earlier, grace_s=0.2)
    assert is_alive(started)
    end(started, grace_s=5.0)


def test_a_missing_program_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="check that /no/such/program exists"):
        spawn("ghost", ["/no/such/program"], environment=ENVIRONMENT, log=tmp_path / "log", cwd=tmp_path)


def test_a_taken_port_gives_way_to_the_next() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert taken < next_free(taken) <= taken + 100
        assert next_free(0) not in {0, taken}
        with pytest.raises(ConflictError, match="set another one"):
            next_free(taken, tries=1)


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from jobs.stack.paths import StackPaths;"
        "from jobs.stack.state import exclusive\n"
        "with exclusive(StackPaths.of(Path(sys.argv[1])), 'up'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with exclusive(paths, "up"):
        pass
