"""`edupulse up`, `down` and `status`: the whole stack on this machine."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings
from edupulse_ml.security.tokens import ensure_token
from jobs.stack import haproxy
from jobs.stack.embedded import Endpoints, ensure_embedded, migrate_embedded, server_environment
from jobs.stack.mlflow import NAME as MLFLOW
from jobs.stack.mlflow import ensure_mlflow, stop_mlflow
from jobs.stack.paths import StackPaths
from jobs.stack.ports import LOOPBACK, choosing_ports, next_free
from jobs.stack.postgres import NAME as POSTGRESQL
from jobs.stack.postgres import find_postgres, stop_postgres
from jobs.stack.processes import ManagedProcess, is_alive
from jobs.stack.ray import NAME as RAY
from jobs.stack.ray import ensure_ray, read_ray_token, stop_ray
from jobs.stack.redis import NAME as REDIS
from jobs.stack.redis import stop_redis
from jobs.stack.serve import ServeClient, load_config, local_config
from jobs.stack.state import exclusive, load_state, remember, write_atomically
from jobs.stack.web import answers


@dataclass(frozen=True)
class RunningStack:
    """Where the running stack is reached."""

    paths: StackPaths
    endpoints: Endpoints
    api_url: str
    dashboard_url: str
    mlflow_url: str
    proxy: str
    """Which proxy takes HTTP, and which of its ports are open to the network."""


def up(settings: Settings, console: Console) -> RunningStack:
    """Start what does not run, leave the rest alone, and serve what `serve_config.yaml` says. Two at once: the second
    waits, then finds everything running. Clients find the API's address in the home folder.

    Raises:
        ServerStartError: a server does not start.
        DeployFailedError: the API does not come up.
    """
    paths = StackPaths.of(settings.home)
    load_config()
    fast = settings.serve_mode == "fast" and haproxy.is_available()
    if settings.serve_mode == "fast" and not fast:
        console.print("There is no HAProxy on this machine: Ray Serve runs in its default mode, which is slower.")
    with exclusive(paths, "up"):
        with console.status("Starting PostgreSQL and Redis ..."):
            endpoints = ensure_embedded(settings)
            if settings.database_url is None and endpoints.database_admin_url is not None:
                migrate_embedded(endpoints.database_admin_url)
        if settings.token is None:
            ensure_token(paths.home)
        environment = server_environment(settings, endpoints)
        head, api_url, mlflow_url = _start(settings, paths, console, environment, fast=fast)
        write_atomically(paths.api_url, f"{api_url}\n")
    return RunningStack(paths, endpoints, api_url, head.url, mlflow_url, _describe_proxy(head, fast=fast))


def _start(
    settings: Settings, paths: StackPaths, console: Console, environment: Mapping[str, str], *, fast: bool
) -> tuple[ManagedProcess, str, str]:
    """The head, the API's address and MLflow's. Ray and MLflow spend seconds on waiting for themselves, so they start
    at once.
    """
    with (
        console.status("Starting Ray and MLflow ...") as shown,
        choosing_ports(),
        ThreadPoolExecutor(1) as background,
    ):
        is_new = not paths.mlflow_database.exists()
        mlflow = background.submit(_ensure_mlflow, settings, paths, environment)
        head = ensure_ray(paths, dashboard_port=settings.dashboard_port, environment=environment, fast=fast)
        if is_new:
            mlflow.result()  # it makes its tables now; a replica that opens the file would make them too
        shown.update("Deploying the API on Ray Serve ...")
        api_url = _deploy(paths, head, preferred_port=settings.http_port)
        shown.update("Waiting for MLflow ...")
        return head, api_url, mlflow.result()


def _ensure_mlflow(settings: Settings, paths: StackPaths, environment: Mapping[str, str]) -> str:
    if settings.mlflow_tracking_uri is not None:
        return settings.mlflow_tracking_uri
    return ensure_mlflow(paths, preferred_port=settings.mlflow_port, environment=environment).url


def _describe_proxy(head: ManagedProcess, *, fast: bool) -> str:
    if not fast:
        return "of Ray's own (EDUPULSE_SERVE_MODE=default)"
    metrics, stats = head.port("haproxy-metrics"), head.port("haproxy-stats")
    return f"HAProxy; its metrics and statistics, which are counts only, are on ports {metrics} and {stats} of all addresses"


def show(stack: RunningStack, console: Console) -> None:
    """Print where everything is."""
    table = Table(title="EduPulse is up", show_header=False, title_justify="left")
    table.add_row("API and its docs", f"{stack.api_url}/docs")
    table.add_row("Ray dashboard", stack.dashboard_url)
    table.add_row("  asks for the token in", str(stack.paths.ray_token))
    table.add_row("MLflow", stack.mlflow_url)
    table.add_row("Proxy", stack.proxy)
    table.add_row("API token", str(stack.paths.token))
    table.add_row("Logs", str(stack.paths.logs))
    console.print(table)


def down(settings: Settings, console: Console) -> None:
    """Stop what was started for this home folder and nothing else; data stays."""
    paths = StackPaths.of(settings.home)
    if not paths.home.exists():
        console.print(f"Nothing was started from {paths.home}.")
        return
    steps: tuple[tuple[str, Callable[[StackPaths], bool]], ...] = (
        ("Ray and the API", stop_ray),
        ("MLflow", stop_mlflow),
        ("Redis", stop_redis),
        ("PostgreSQL", stop_postgres),
    )
    with exclusive(paths, "up"):
        paths.api_url.unlink(missing_ok=True)  # another program may listen there soon
        stopped = []
        for title, stop in steps:
            with console.status(f"Stopping {title} ..."):
                if stop(paths):
                    stopped.append(title)
    console.print(
        f"Stopped {', '.join(stopped)}. The data stays in {paths.home}." if stopped else "Nothing was running."
    )


@dataclass(frozen=True)
class ServerStatus:
    """One line of `edupulse status`. `state` is `running`, `not answering`, `stopped` or `external`."""

    name: str
    state: str
    where: str
    pid: int | None = None


def status(settings: Settings) -> list[ServerStatus]:
    """What runs for this home folder; a server of the user's own counts as external and is not asked."""
    paths = StackPaths.of(settings.home)
    saved = load_state(paths)
    ray = saved.get(RAY)
    return [
        _status(
            POSTGRESQL, find_postgres(paths), external=settings.database_url is not None, where=str(paths.postgres_data)
        ),
        _status(REDIS, saved.get(REDIS), external=settings.redis_url is not None, where=str(paths.redis_data)),
        _status(MLFLOW, saved.get(MLFLOW), external=settings.mlflow_tracking_uri is not None, health="/health"),
        _status(RAY, ray, health="/api/gcs_healthz"),
        _api_status(ray),
    ]


def show_status(servers: list[ServerStatus], console: Console) -> None:
    """Print one line per server."""
    table = Table(box=None)
    for column in ("server", "state", "pid", "where"):
        table.add_column(column)
    for server in servers:
        colour = {"running": "green", "external": "cyan", "not answering": "red"}.get(server.state, "dim")
        table.add_row(server.name, f"[{colour}]{server.state}[/]", str(server.pid or ""), server.where)
    console.print(table)


def _deploy(paths: StackPaths, head: ManagedProcess, *, preferred_port: int) -> str:
    ports = dict(head.ports)
    if "http" not in ports:
        ports["http"] = next_free(preferred_port, taken=ports.values())
        remember(paths, replace(head, ports=tuple(ports.items())))
    client = ServeClient(head.url, read_ray_token(paths), paths.ray_sessions / "session_latest" / "logs" / "serve")
    client.deploy(local_config(load_config(), http_port=ports["http"]))
    api_url = _api_url(ports["http"])
    client.wait_until_reached(f"{api_url}/health")
    return api_url


def _api_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _status(
    name: str, process: ManagedProcess | None, *, external: bool = False, where: str = "", health: str = ""
) -> ServerStatus:
    if external:
        return ServerStatus(name, "external", "set by its URL")
    if process is None or not is_alive(process):
        return ServerStatus(name, "stopped", where)
    state = "running" if not health or answers(process.url + health) else "not answering"
    return ServerStatus(name, state, process.url or where, process.pid)


def _api_status(ray: ManagedProcess | None) -> ServerStatus:
    port = dict(ray.ports).get("http") if ray is not None and is_alive(ray) else None
    if port is None:
        return ServerStatus("api", "stopped", "")
    return ServerStatus("api", "running" if answers(_api_url(port) + "/health") else "not answering", _api_url(port))
