"""The embedded MLflow: a SQLite file that jobs open directly, and a server process that shows it in a browser."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from jobs.stack.paths import StackPaths
from jobs.stack.ports import LOOPBACK, next_free
from jobs.stack.processes import ManagedProcess, end, is_alive, spawn
from jobs.stack.state import exclusive, forget, load_state, remember
from jobs.stack.web import answers, wait_for

NAME: Final = "mlflow"
_START_TIMEOUT_S: Final = 90.0


def tracking_uri(paths: StackPaths) -> str:
    """URI of the SQLite file; MLflow creates it at first use."""
    return f"sqlite:///{paths.mlflow_database}"


def ensure_mlflow(paths: StackPaths, *, preferred_port: int, environment: Mapping[str, str]) -> ManagedProcess:
    """The running server, which is started first where needed, on `preferred_port` or the next free one.

    Raises:
        ServerStartError: it does not start; the message holds the end of its log.
    """
    with exclusive(paths, NAME):
        known = load_state(paths).get(NAME)
        if known is not None:
            if is_alive(known) and answers(f"{known.url}/health"):
                return known
            end(known, grace_s=5.0)  # also what a killed one left behind, which may hold its port
        return _start(paths, preferred_port, environment)


def stop_mlflow(paths: StackPaths) -> bool:
    """End the server; whether there was one."""
    with exclusive(paths, NAME):
        known = load_state(paths).get(NAME)
        if known is None:
            return False
        was_alive = is_alive(known)
        end(known, grace_s=10.0)
        forget(paths, NAME)
        return was_alive


def _start(paths: StackPaths, preferred_port: int, environment: Mapping[str, str]) -> ManagedProcess:
    paths.make()
    paths.mlflow_artifacts.mkdir(exist_ok=True)
    port = next_free(preferred_port)
    started = spawn(
        NAME,
        [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri(paths),
            "--default-artifact-root", str(paths.mlflow_artifacts), "--no-serve-artifacts",
            "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        ],
        environment={
            **environment,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONWARNINGS": "ignore",
        },
        log=paths.logs / "mlflow.log",
        cwd=paths.home,
    )  # fmt: skip
    started = replace(started, url=f"http://{LOOPBACK}:{port}", ports=(("http", port),))
    remember(paths, started)
    wait_for(started, lambda: answers(f"{started.url}/health"), timeout_s=_START_TIMEOUT_S)
    return started
