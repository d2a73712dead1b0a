"""A local Ray head that is ours: own ports, own token, own temporary folder, ended through its own process only.

`ray stop` is never used: it ends every Ray on the machine.
"""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from jobs.stack import haproxy
from jobs.stack.paths import StackPaths
from jobs.stack.ports import LOOPBACK, next_free
from jobs.stack.processes import MARKER, ManagedProcess, end, is_alive, make_private, spawn
from jobs.stack.state import exclusive, forget, load_state, remember, write_atomically
from jobs.stack.web import answers, wait_for

NAME: Final = "ray"
_START_TIMEOUT_S: Final = 120.0
_OBJECT_STORE_BYTES: Final = 256 * 2**20
_FEWEST_CPUS: Final = 4
"""CPUs are a count that Ray schedules by, not a reservation: the Serve graph and one job fit on two cores."""

_DEFAULT_PORTS: Final = (
    ("gcs", 6379),
    ("agent", 52365),
    ("metrics", 8080),
    ("client", 10001),
)


def ensure_ray(paths: StackPaths, *, dashboard_port: int, environment: Mapping[str, str], fast: bool) -> ManagedProcess:
    """The running head, which is started first where needed. One that was started with other settings, or whose
    dashboard does not answer, is replaced. Its replicas and jobs inherit `environment`; `fast` chooses Serve's mode.

    Raises:
        ServerStartError: it does not start; the message holds the end of its log.
    """
    with exclusive(paths, NAME):
        wanted = haproxy.mode_environment({**environment, **_ray_settings(paths)}, fast=fast)
        known = load_state(paths).get(NAME)
        if known is not None:
            if is_alive(known) and known.fingerprint == _fingerprint(wanted) and answers(_health_url(known)):
                return known
            end(known, grace_s=15.0)
            forget(paths, NAME)
        return _start(paths, dashboard_port, wanted, fast=fast)


def stop_ray(paths: StackPaths) -> bool:
    """End the head and everything in it; whether it ran."""
    with exclusive(paths, NAME):
        known = load_state(paths).get(NAME)
        if known is None:
            return False
        was_alive = is_alive(known)
        end(known, grace_s=30.0)
        shutil.rmtree(paths.haproxy, ignore_errors=True)
        forget(paths, NAME)
        return was_alive


def read_ray_token(paths: StackPaths) -> str:
    """The token that Ray's dashboard and job server ask for; made at the first call."""
    if not paths.ray_token.exists():
        paths.ray_token.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(paths.ray_token, secrets.token_hex(32), mode=0o600)
    return paths.ray_token.read_text(encoding="utf-8").strip()


def _ray_settings(paths: StackPaths) -> dict[str, str]:
    read_ray_token(paths)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(paths.ray_token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Nobody takes over from a single node, so there is nothing to drain towards.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


def _fingerprint(environment: Mapping[str, str]) -> str:
    relevant = {
        name: value
        for name, value in environment.items()
        if name.startswith(("EDUPULSE_", "MLFLOW_", "RAY_")) and name != MARKER
    }
    text = "\n".join([sys.executable, *(f"{name}={value}" for name, value in sorted(relevant.items()))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _choose_ports(dashboard_port: int) -> dict[str, int]:
    chosen = {"dashboard": next_free(dashboard_port)}
    for use, preferred in _DEFAULT_PORTS:
        chosen[use] = next_free(preferred, taken=chosen.values())
    return chosen


def _prepare_haproxy(paths: StackPaths, port: dict[str, int]) -> dict[str, str]:
    port.update(haproxy.choose_ports(paths, taken=port))
    # Its admin socket is open to all users, so its folder must not be; what an earlier head left there is stale.
    make_private(paths.haproxy, server=NAME)
    for leftover in paths.haproxy.iterdir():
        shutil.rmtree(leftover, ignore_errors=True)
    return haproxy.place_environment(paths, port)


def _start(paths: StackPaths, dashboard_port: int, environment: Mapping[str, str], *, fast: bool) -> ManagedProcess:
    paths.make()
    paths.ray_sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = _choose_ports(dashboard_port)
    place = _prepare_haproxy(paths, port) if fast else {}
    started = spawn(
        NAME,
        [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            f"--port={port['gcs']}", "--include-dashboard=true", f"--dashboard-host={LOOPBACK}",
            f"--dashboard-port={port['dashboard']}", f"--dashboard-agent-listen-port={port['agent']}",
            f"--metrics-export-port={port['metrics']}", f"--ray-client-server-port={port['client']}",
            "--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={paths.ray_sessions}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}", f"--num-cpus={max(_FEWEST_CPUS, os.cpu_count() or 1)}",
            "--log-color=false",
        ],
        environment={**environment, **place, "PYTHONUNBUFFERED": "1"},
        log=paths.logs / "ray.log",
        cwd=paths.home,
    )  # fmt: skip
    started = replace(
        started,
        url=f"http://{LOOPBACK}:{port['dashboard']}",
        ports=tuple(port.items()),
        fingerprint=_fingerprint(environment),
    )
    remember(paths, started)
    wait_for(started, lambda: answers(_health_url(started)), timeout_s=_START_TIMEOUT_S)
    return started


def _health_url(head: ManagedProcess) -> str:
    return f"{head.url}/api/gcs_healthz"
