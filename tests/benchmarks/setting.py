"""Where and how large a benchmark runs."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import ConflictError, NotFoundError
from jobs.stack.paths import StackPaths
from jobs.stack.postgres import find_postgres
from jobs.stack.up import down


@dataclass(frozen=True)
class BenchSetting:
    """How a benchmark is run.

    `small` proves in seconds that it works; its figures mean nothing. `with_ray` False leaves out the contenders that
    need a Ray cluster. `home` is a folder of the benchmark's own.
    """

    home: Path
    console: Console
    small: bool
    with_ray: bool

    def size(self, full: int, *, small: int) -> int:
        """`full`, or `small` in a small run."""
        return small if self.small else full

    def settings(self, home: Path | None = None, **changes: object) -> Settings:
        """Settings of a stack of the benchmark's own: nothing of the user's environment, free ports."""
        own: dict[str, object] = {
            "home": home or self.home,
            "database_url": None,
            "database_admin_url": None,
            "redis_url": None,
            "mlflow_tracking_uri": None,
            "token": None,
            "api_url": None,
            "district": "bench",
            "district_timezone": "America/New_York",
            "http_port": 0,
            "dashboard_port": 0,
            "mlflow_port": 0,
            "prediction_cache_ttl_s": 3600,
        }
        return Settings.model_validate({**own, **changes})

    def postgres_pid(self) -> int:
        """The pid of the home's PostgreSQL, which must run."""
        found = find_postgres(StackPaths.of(self.home))
        if found is None:
            msg = f"No PostgreSQL runs in {self.home}: start it before it is measured."
            raise NotFoundError(msg)
        return found.pid


@contextmanager
def fresh_home(home: Path) -> Iterator[Path]:
    """An empty folder; at the end its servers are stopped and the folder is removed.

    Raises:
        ConflictError: another benchmark has it, and would be measured together with this one.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"Another benchmark runs in {home}: wait for its end.") from None
        _remove(home)
        home.mkdir()
        try:
            yield home
        finally:
            _remove(home)


def _remove(home: Path) -> None:
    if not home.exists():
        return
    for folder in sorted({path.parent for path in home.rglob("stack.json")} | {home}, reverse=True):
        stop(folder)
    shutil.rmtree(home, ignore_errors=True)
    paths = StackPaths.of(home)
    for path in (paths.ray_sessions, *(paths.short_folder(name) for name in ("postgres", "redis", "ray"))):
        shutil.rmtree(path, ignore_errors=True)


def stop(home: Path) -> None:
    """End the servers of a home folder."""
    with redirect_stdout(StringIO()):
        down(Settings.model_validate({"home": home}), Console(file=StringIO()))
