"""What the stack remembers of the servers it started."""

import json
import threading
from pathlib import Path

from jobs.stack.paths import StackPaths
from jobs.stack.processes import ManagedProcess
from jobs.stack.state import StackState, exclusive, forget, load_state, remember, save_state, write_atomically

RAY = ManagedProcess(
    "ray", 12, 3.5, "ray:ab", "/logs/ray.log", url="http://127.0.0.1:8265", ports=(("gcs", 6379), ("http", 8000))
)
REDIS = ManagedProcess("redis", 13, 4.5, "redis:cd", "/logs/redis.log")


def test_state_is_read_back_as_saved(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    save_state(paths, StackState((RAY, REDIS)))
    assert load_state(paths) == StackState((RAY, REDIS))
    assert load_state(paths).get("ray").port("http") == 8000


def test_no_file_and_a_broken_file_are_an_empty_state(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    assert load_state(paths) == StackState()
    for text in ("", "{", "[]", '{"processes": [{"name": "ray"}]}', '{"processes": [{"ports": [], "later": 1}]}'):
        paths.state.write_text(text)
        assert load_state(paths) == StackState(), text


def test_remember_replaces_the_server_of_the_same_name(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    remember(paths, RAY)
    remember(paths, REDIS)
    remember(paths, ManagedProcess("ray", 99, 9.0, "ray:ef", "/logs/ray.log"))
    assert sorted((process.name, process.pid) for process in load_state(paths).processes) == [
        ("ray", 99),
        ("redis", 13),
    ]
    forget(paths, "redis")
    forget(paths, "redis")
    assert [process.name for process in load_state(paths).processes] == ["ray"]


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    threads = [
        threading.Thread(target=remember, args=(paths, ManagedProcess(f"server-{i}", i, 0.0, "", "")))
        for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_state(paths).processes) == 20


def test_a_second_holder_of_a_lock_waits(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    order: list[str] = []

    def second() -> None:
        with exclusive(paths, "up"):
            order.append("second")

    with exclusive(paths, "up"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_locks_of_different_names_do_not_wait(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    with exclusive(paths, "up"), exclusive(paths, "state"):
        pass


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write_atomically(secret, "word", mode=0o600)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() == "word"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    save_state(paths, StackState((RAY,)))
    assert json.loads(paths.state.read_text())["processes"][0]["url"] == "http://127.0.0.1:8265"


def test_sockets_stay_in_the_home_unless_its_path_is_long(tmp_path: Path) -> None:
    shallow = StackPaths(Path("/srv/edupulse"))
    assert shallow.socket_folder(shallow.redis_data, socket_name="redis.sock") == shallow.redis_data
    assert shallow.ray_sessions == Path("/srv/edupulse/ray")
    deep = StackPaths(Path("/srv") / ("x" * 90))
    other = StackPaths(Path("/srv") / ("y" * 90))
    folder = deep.socket_folder(deep.redis_data, socket_name="redis.sock")
    assert len(str(folder / "redis.sock")) <= 103
    assert folder == deep.socket_folder(deep.redis_data, socket_name="redis.sock")
    assert folder != other.socket_folder(other.redis_data, socket_name="redis.sock")
    assert folder != deep.socket_folder(deep.postgres_data, socket_name=".s.PGSQL.5432")
    longest = "session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    assert len(str(deep.ray_sessions / longest)) <= 103


def test_a_relative_home_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StackPaths.of(Path(".edupulse")).home == tmp_path.resolve() / ".edupulse"


def test_districts_of_one_home_do_not_overwrite_each_others_pages(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path)
    assert paths.reports("north") != paths.reports("south")
    assert paths.rejects("north", "sis") != paths.rejects("south", "sis")
    assert all(path.is_relative_to(paths.home) for path in (paths.reports("north"), paths.rejects("north", "sis")))
