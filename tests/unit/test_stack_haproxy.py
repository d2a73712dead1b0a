"""What `make up` sets for Serve's fast mode: both flags, no line about a request, and a place per home folder."""

import threading
from pathlib import Path

import pytest

from edupulse_ml.core.errors import ConflictError
from jobs.stack import ports, ray
from jobs.stack.haproxy import TUNING, choose_ports, mode_environment, place_environment
from jobs.stack.paths import StackPaths
from jobs.stack.processes import ManagedProcess, ServerStartError
from jobs.stack.serve import load_config

FLAGS = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")


@pytest.mark.parametrize(("fast", "value"), [(True, "1"), (False, "0")])
def test_both_flags_say_the_same_whatever_was_set_before(fast: bool, value: str) -> None:
    environment = mode_environment({FLAGS[0]: "1", FLAGS[1]: "0", "PATH": "/bin"}, fast=fast)
    assert [environment[flag] for flag in FLAGS] == [value, value]
    assert environment["PATH"] == "/bin"


def test_default_mode_leaves_ray_as_it_is() -> None:
    assert set(mode_environment({}, fast=False)) == set(FLAGS)


def test_tuning_of_the_users_own_wins() -> None:
    mine = {"RAY_SERVE_HAPROXY_NBTHREAD": "7", "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60"}
    environment = mode_environment(mine, fast=True)
    assert {name: environment[name] for name in mine} == mine
    assert environment["RAY_SERVE_HAPROXY_RETRIES"] == TUNING["RAY_SERVE_HAPROXY_RETRIES"]


def test_a_replica_answers_before_haproxy_gives_up() -> None:
    request_timeout_s = load_config()["http_options"]["request_timeout_s"]
    for name in ("RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S", "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"):
        assert int(TUNING[name]) > request_timeout_s


def test_ray_is_restarted_when_the_mode_changes() -> None:
    fast, default = (ray._fingerprint(mode_environment({}, fast=fast)) for fast in (True, False))
    assert fast != default


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that somebody holds; none at first."""
    held: set[int] = set()
    monkeypatch.setattr(ports, "is_free", lambda port: port not in held)
    return held


def test_two_homes_choose_different_ports(tmp_path: Path, used: set[int]) -> None:
    paths, taken = StackPaths.of(tmp_path), {"dashboard": 8404}
    first = choose_ports(paths, taken=taken)
    assert (first["fallback"], first["haproxy-stats"]) == (8500, 8405)
    used.update({first["replicas"] + 3, 8500, 9101})
    second = choose_ports(paths, taken=taken)
    assert abs(second["replicas"] - first["replicas"]) >= 60
    assert (second["fallback"], second["haproxy-metrics"]) == (8501, 9102)
    environment = place_environment(paths, first)
    low, high = (int(environment[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
    assert (low, high) == (first["replicas"], first["replicas"] + 60)


def test_homes_that_start_at_the_same_moment_look_at_different_blocks(used: set[int]) -> None:
    chosen = {choose_ports(StackPaths(Path(f"/srv/{n}")), taken={})["replicas"] for n in range(20)}
    assert len(chosen) > 10


def test_homes_of_one_user_choose_their_ports_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    order: list[str] = []

    def second() -> None:
        with ports.choosing_ports():
            order.append("second")

    with ports.choosing_ports():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    (lock,) = tmp_path.iterdir()
    assert lock.stat().st_mode & 0o777 == 0o600


def test_no_free_block_of_ports_is_an_error(used: set[int]) -> None:
    used.update(range(30000, 30100, 10))
    with pytest.raises(ConflictError, match="from 30000 to 30099"):
        ports.free_block(range(30000, 30100), size=10, first_look=3)
    assert ports.free_block(range(30001, 30100), size=9, first_look=0) == 30001


@pytest.mark.parametrize("depth", [1, 3, 30])
def test_haproxys_sockets_fit_however_deep_the_home_lies(
    depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for temporary in ("/tmp", str(tmp_path / ("t" * 60))):
        monkeypatch.setattr("tempfile.gettempdir", lambda folder=temporary: folder)
        paths = StackPaths(Path("/srv", *["folder"] * depth))
        environment = place_environment(paths, {"fallback": 1, "haproxy-metrics": 2, "haproxy-stats": 3, "replicas": 4})
        for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
            path = Path(environment[name])
            assert len(str(path.parent / ("n" * 56) / path.name)) <= 97
            assert path.parent == paths.haproxy


class Spawned:
    """Stands for the head; keeps what it was started with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment: dict[str, str] = {}
        monkeypatch.setattr(ports, "is_free", lambda _: True)
        monkeypatch.setattr(StackPaths, "haproxy", property(lambda paths: paths.home / "haproxy"))
        monkeypatch.setattr(ray, "spawn", self)
        monkeypatch.setattr(ray, "is_alive", lambda _: True)
        monkeypatch.setattr(ray, "end", lambda *_, **__: None)
        monkeypatch.setattr(ray, "wait_for", lambda *_, **__: None)

    def __call__(self, name: str, command: list[str], *, environment: dict[str, str], log: Path, cwd: Path):
        self.environment = environment
        return ManagedProcess(name, 1, 1.0, "ray:ab", str(log))


def start(paths: StackPaths, *, fast: bool) -> ManagedProcess:
    return ray.ensure_ray(paths, dashboard_port=8265, environment={}, fast=fast)


def test_a_fast_head_has_a_private_folder_without_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = Spawned(monkeypatch)
    paths = StackPaths.of(tmp_path)
    stale = paths.haproxy / "a-node-that-was"
    stale.mkdir(parents=True)
    (stale / "admin.sock").touch()
    paths.haproxy.chmod(0o755)
    head = start(paths, fast=True)
    assert list(paths.haproxy.iterdir()) == []
    assert paths.haproxy.stat().st_mode & 0o777 == 0o700
    assert spawned.environment["RAY_SERVE_HAPROXY_STATS_PORT"] == str(head.port("haproxy-stats"))
    assert ray.stop_ray(paths) is True
    assert not paths.haproxy.exists()
    assert len(dict(head.ports).values()) == len(set(dict(head.ports).values()))


def test_a_head_in_default_mode_has_no_haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = Spawned(monkeypatch)
    head = start(StackPaths.of(tmp_path), fast=False)
    assert "haproxy-stats" not in dict(head.ports)
    assert not any("HAPROXY" in name for name in spawned.environment)


def test_a_foreign_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Spawned(monkeypatch)
    paths = StackPaths.of(tmp_path / "home")
    paths.make()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").mkdir()
    monkeypatch.setattr(StackPaths, "haproxy", property(lambda _: tmp_path / "link"))
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(ServerStartError, match="belongs to somebody else"):
        start(paths, fast=True)
    assert (elsewhere / "kept").exists()
