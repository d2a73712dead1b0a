"""The servers that the serving benchmark asks, behind one face."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from edupulse_ml.config.address import api_url_path
from jobs.stack.ports import LOOPBACK, next_free
from jobs.stack.postgres import NAME as POSTGRESQL
from jobs.stack.ray import NAME as RAY
from jobs.stack.redis import NAME as REDIS
from tests.benchmarks.serving_home import ServingHome, edupulse
from tests.benchmarks.setting import stop

_ROOT: Final = Path(__file__).parents[2]
_WORKERS: Final = 2
_START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Server:
    """Where an API is, and the processes that work for it, PostgreSQL and Redis among them."""

    name: str
    host: str
    port: int
    pids: Callable[[], Sequence[int]]


@contextmanager
def serve_graph(home: ServingHome, *, name: str, mode: str) -> Iterator[Server]:
    """The Serve graph as `edupulse up` starts it, from a folder of its own over the servers and data of `home`."""
    folder = home.home / f"serve-{mode}"
    folder.mkdir()
    environment = home.environment(folder, EDUPULSE_SERVE_MODE=mode)
    try:
        edupulse("up", environment=environment)
        where = urlsplit(api_url_path(folder).read_text(encoding="utf-8").strip())
        yield Server(name, where.hostname or LOOPBACK, where.port or 0, lambda: [home.pid(RAY, folder), *_stores(home)])
    finally:
        stop(folder)


@contextmanager
def plain_app(home: ServingHome, *, name: str, joined: bool) -> Iterator[Server]:
    """The plain FastAPI app in two uvicorn workers."""
    port = next_free(0)
    command = [
        sys.executable, "-m", "uvicorn", "tests.benchmarks.plain_app:create", "--factory", "--host", LOOPBACK,
        "--port", str(port), "--workers", str(_WORKERS), "--loop", "uvloop", "--http", "httptools",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    environment = home.environment(PLAIN_JOINED=str(int(joined)), OMP_NUM_THREADS="1") | dict(home.urls)
    log = home.home / f"plain-{int(joined)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://{LOOPBACK}:{port}/health", process, log)
        yield Server(name, LOOPBACK, port, lambda: [process.pid, *_stores(home)])
    finally:
        process.terminate()
        process.wait(30)


def _stores(home: ServingHome) -> Sequence[int]:
    return [home.pid(POSTGRESQL), home.pid(REDIS)]


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5.0, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    msg = f"The plain app does not start: {log.read_text(errors='replace')[-2000:]}"
    raise AssertionError(msg)
