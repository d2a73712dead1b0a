"""What `up` hands to the servers it starts, and when Ray must be restarted."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edupulse_ml.config.address import read_api_url
from edupulse_ml.config.settings import Settings, load_settings
from jobs.stack import ray, up
from jobs.stack.embedded import Endpoints
from jobs.stack.paths import StackPaths
from jobs.stack.processes import MARKER, ManagedProcess, ServerStartError
from jobs.stack.serve import load_config
from jobs.stack.state import load_state, remember

HEAD = ManagedProcess(
    "ray",
    1,
    1.0,
    "ray:ab",
    "/logs/ray.log",
    url="http://127.0.0.1:8265",
    ports=(("dashboard", 8265), ("gcs", 6379), ("haproxy-metrics", 9101), ("haproxy-stats", 8404)),
)


class Recorder:
    """Stands for the servers; keeps what they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.home = home
        self.environment: dict[str, str] = {}
        self.deployed: list[dict] = []
        self.migrated: list[str] = []
        monkeypatch.setattr(up, "ensure_embedded", self.embedded)
        monkeypatch.setattr(up, "migrate_embedded", self.migrated.append)
        self.fast: bool | None = None
        self.reached: list[str] = []
        monkeypatch.setattr(up, "ensure_mlflow", lambda *_, **__: replace(HEAD, url="http://127.0.0.1:5000"))
        monkeypatch.setattr(up.haproxy, "is_available", lambda: True)
        monkeypatch.setattr(up.ServeClient, "wait_until_reached", lambda _, url: self.reached.append(url))
        monkeypatch.setattr(up, "ensure_ray", self.ray)
        monkeypatch.setattr(up, "next_free", lambda port, taken: port + 1)
        monkeypatch.setattr(up.ServeClient, "deploy", lambda _, document: self.deployed.append(document))

    def embedded(self, settings: Settings) -> Endpoints:
        return Endpoints(
            settings.database_url or "postgresql://app@/e?host=x",
            "postgresql://owner@/e?host=x",
            "unix:///x/redis.sock",
            settings.mlflow_tracking_uri or "sqlite:////x/mlflow.db",
            None,
        )

    def ray(self, paths: StackPaths, *, dashboard_port: int, environment: dict[str, str], fast: bool) -> ManagedProcess:
        self.environment, self.fast = environment, fast
        remember(paths, HEAD)
        return HEAD


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    return Recorder(monkeypatch, tmp_path / "home")


def test_up_serves_the_champion_and_tells_where_everything_is(servers: Recorder) -> None:
    console = Console(record=True, width=200)
    stack = up.up(Settings(home=servers.home), console)
    up.show(stack, console)
    shown = console.export_text()
    for expected in ("http://127.0.0.1:8001/docs", "http://127.0.0.1:8265", "http://127.0.0.1:5000", str(servers.home)):
        assert expected in shown
    document = servers.deployed[0]
    assert document["http_options"]["port"] == 8001
    models = [d["user_config"]["model"] for d in document["applications"][0]["deployments"] if "user_config" in d]
    assert models == ["champion", "challenger"]
    assert servers.migrated == ["postgresql://owner@/e?host=x"]
    assert servers.environment["EDUPULSE_DATABASE_URL"] == "postgresql://app@/e?host=x"
    assert servers.environment["MLFLOW_TRACKING_URI"] == "sqlite:////x/mlflow.db"
    assert servers.environment["EDUPULSE_HOME"] == str(servers.home)
    assert (servers.home / "token").stat().st_mode & 0o777 == 0o600
    assert (servers.home / "token").read_text().strip() not in shown


def test_servers_find_the_policies_from_another_folder(servers: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(servers.home.parent)
    for name in ("PROMOTION", "DATA"):
        monkeypatch.setenv(f"EDUPULSE_{name}_POLICY", f"{name.lower()}.yaml")
    up.up(load_settings().model_copy(update={"home": servers.home}), Console(quiet=True))
    assert servers.environment["EDUPULSE_PROMOTION_POLICY"] == str(servers.home.parent / "promotion.yaml")
    assert servers.environment["EDUPULSE_DATA_POLICY"] == str(servers.home.parent / "data.yaml")


def test_up_returns_once_a_request_passes_through_the_proxy(servers: Recorder) -> None:
    up.up(Settings(home=servers.home), Console(quiet=True))
    assert servers.reached == ["http://127.0.0.1:8001/health"]


@pytest.mark.parametrize(
    ("mode", "available", "fast", "said"),
    [
        ("fast", True, True, "ports 9101 and 8404 of all addresses"),
        ("default", True, False, "of Ray's own"),
        ("fast", False, False, "no HAProxy on this machine"),
    ],
)
def test_the_mode_is_what_was_asked_for_where_there_is_an_haproxy(
    mode: str, available: bool, fast: bool, said: str, servers: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up.haproxy, "is_available", lambda: available)
    console = Console(record=True, width=200)
    up.show(up.up(Settings.model_validate({"home": servers.home, "serve_mode": mode}), console), console)
    assert servers.fast is fast
    assert said in console.export_text()


def test_up_holds_the_lock_on_ports_until_all_servers_listen(
    servers: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    @contextlib.contextmanager
    def choosing() -> Iterator[None]:
        held.append(True)
        yield
        held.append(False)

    monkeypatch.setattr(up, "choosing_ports", choosing)
    monkeypatch.setattr(up.ServeClient, "wait_until_reached", lambda *_: held.append(held[-1]))
    up.up(Settings(home=servers.home), Console(quiet=True))
    assert held == [True, True, False]


def test_a_failing_mlflow_fails_the_start(servers: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> ManagedProcess:
        raise ServerStartError("mlflow is not ready in time.", dependency="mlflow")

    monkeypatch.setattr(up, "ensure_mlflow", fail)
    with pytest.raises(ServerStartError, match="mlflow is not ready"):
        up.up(Settings(home=servers.home), Console(quiet=True))
    assert read_api_url(servers.home) is None


def test_replicas_wait_for_a_new_mlflow_file_and_only_for_that(
    servers: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    may_end = threading.Event()

    def slow_mlflow(paths: StackPaths, **_: object) -> ManagedProcess:
        may_end.wait(0.3)  # set at once where the deployment does not wait for it
        paths.mlflow_database.touch()
        order.append("mlflow")
        return HEAD

    def deploy(*_: object) -> None:
        order.append("deployed")
        may_end.set()

    monkeypatch.setattr(up, "ensure_mlflow", slow_mlflow)
    monkeypatch.setattr(up.ServeClient, "deploy", deploy)
    up.up(Settings(home=servers.home), Console(quiet=True))
    may_end.clear()
    up.up(Settings(home=servers.home), Console(quiet=True))
    assert order[:2] == ["mlflow", "deployed"]
    assert order[2:] == ["deployed", "mlflow"]


def test_the_api_keeps_its_port_while_ray_runs(servers: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=servers.home)
    first = up.up(settings, Console(quiet=True))
    head = load_state(StackPaths.of(servers.home)).get("ray")
    assert head is not None
    monkeypatch.setattr(servers, "ray", None)
    monkeypatch.setattr(up, "ensure_ray", lambda *_, **__: head)
    monkeypatch.setattr(up, "next_free", lambda port, taken: port + 2)
    assert up.up(settings, Console(quiet=True)).api_url == first.api_url


def test_a_model_pinned_in_the_file_stays_pinned(servers: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    document = load_config()
    for deployment in document["applications"][0]["deployments"]:
        if "user_config" in deployment:
            deployment["user_config"]["model"] = "7"
    monkeypatch.setattr(up, "load_config", lambda: document)
    up.up(Settings(home=servers.home), Console(quiet=True))
    (deployed,), (written,) = servers.deployed[0]["applications"], document["applications"]
    assert deployed["deployments"] == written["deployments"]


def test_clients_find_the_api_in_the_home_folder_until_it_is_stopped(
    servers: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=servers.home)
    stack = up.up(settings, Console(quiet=True))
    assert read_api_url(servers.home) == stack.api_url == "http://127.0.0.1:8001"
    for stop in ("stop_ray", "stop_mlflow", "stop_redis", "stop_postgres"):
        monkeypatch.setattr(up, stop, lambda _: False)
    up.down(settings, Console(quiet=True))
    assert read_api_url(servers.home) is None


def test_a_database_of_the_users_own_is_not_migrated(servers: Recorder) -> None:
    settings = Settings.model_validate(
        {"home": servers.home, "database_url": "postgresql://app@db/x", "mlflow_tracking_uri": "http://mlflow:5000"}
    )
    stack = up.up(settings, Console(quiet=True))
    assert servers.migrated == []
    assert stack.mlflow_url == "http://mlflow:5000"


def test_a_token_from_the_environment_is_not_written_down(servers: Recorder) -> None:
    up.up(Settings(home=servers.home, token="given"), Console(quiet=True))
    assert not (servers.home / "token").exists()


def test_ray_is_restarted_when_a_setting_changes_and_only_then() -> None:
    before = {"EDUPULSE_DISTRICT": "north", "PATH": "/bin", "MLFLOW_TRACKING_URI": "sqlite:///m"}
    same = {**before, "PATH": "/usr/bin", MARKER: "shell:1"}
    assert ray._fingerprint(before) == ray._fingerprint(same)
    assert ray._fingerprint(before) != ray._fingerprint({**before, "EDUPULSE_DISTRICT": "south"})
    assert ray._fingerprint(before) != ray._fingerprint({**before, "MLFLOW_TRACKING_URI": "sqlite:///n"})


def test_rays_token_is_made_once_and_private(tmp_path: Path) -> None:
    paths = StackPaths.of(tmp_path / "new")
    token = ray.read_ray_token(paths)
    assert len(token) == 64
    assert ray.read_ray_token(paths) == token
    assert paths.ray_token.stat().st_mode & 0o777 == 0o600


def test_nothing_to_stop_creates_nothing(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    up.down(Settings(home=tmp_path / "never"), console)
    assert "Nothing was started" in console.export_text()
    assert not (tmp_path / "never").exists()
