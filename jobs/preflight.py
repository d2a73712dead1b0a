"""`--check` of the jobs: settings, servers, tables and artefacts are looked at before a long run, and nothing is changed.

A job composes its checks in one line and calls `check_before`; a check is a coroutine that returns what it saw in a few
words, or raises the error that the job itself would end with.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from edupulse_ml.cache.answers import RedisAnswerCache
from edupulse_ml.config.settings import Settings, process_environment
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.contract import FeatureContract, current_contract
from edupulse_ml.core.errors import DependencyDownError, EduPulseError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.readiness import ReadinessReader
from jobs.policies import chosen, data_policy, promotion_policy
from jobs.stack.mlflow import tracking_uri
from jobs.stack.paths import StackPaths
from jobs.stack.postgres import find_postgres, postgres_urls
from jobs.stack.processes import is_alive
from jobs.stack.ray import NAME as RAY
from jobs.stack.redis import NAME as REDIS
from jobs.stack.redis import redis_url
from jobs.stack.state import load_state

if TYPE_CHECKING:
    from edupulse_ml.registry.models import ModelRegistry

CheckOption = Annotated[
    bool, typer.Option("--check", help="Only check settings, servers, tables and artefacts; nothing is changed.")
]
"""The option of every job that has checks."""

RECORDS: Final = ("students", "enrollments", "calendar")
"""Without these no student-week exists."""

_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "wrong": ("WRONG", "bold red"),
    "unseen": ("not seen", "yellow"),
}


@dataclass(frozen=True)
class Check:
    """One line. `look` returns what it saw; it is not asked where a check named in `needs` has failed."""

    name: str
    look: Callable[[Settings], Awaitable[str]]
    needs: tuple[str, ...] = ()


def check_before(settings: Settings, console: Console, *checks: Check) -> None:
    """Print one line per check, and return if all are well.

    Raises:
        typer.Exit: with the exit code of the first error.
    """
    code = asyncio.run(run_checks(settings, checks, console))
    if code:
        raise typer.Exit(code)


async def run_checks(settings: Settings, checks: tuple[Check, ...], console: Console) -> int:
    """The exit code of the first error, 0 if there was none."""
    codes: dict[str, int] = {}
    for check in checks:
        missed = [name for name in check.needs if name in codes]
        if missed:
            codes[check.name] = codes[missed[0]]
            _show(console, "unseen", check.name, f"it needs {' and '.join(missed)}")
            continue
        try:
            seen = await check.look(settings)
        except EduPulseError as error:
            codes[check.name] = error.exit_code
            _show(console, "wrong", check.name, str(error))
        else:
            _show(console, "ok", check.name, seen)
    return next(iter(codes.values()), 0)


def settings_check() -> Check:
    """The settings, which were read without an error where this is reached."""

    async def look(settings: Settings) -> str:
        return f"district {settings.district}, home {StackPaths.of(settings.home).home}"

    return Check("settings", look)


def gate_check(policy: Path | None = None) -> Check:
    """The promotion policy of a job with this `--policy`."""

    async def look(settings: Settings) -> str:
        version = promotion_policy(settings, option=policy).version
        return f"version {version} of {chosen(policy, settings.promotion_policy) or 'this release'}"

    return Check("promotion policy", look)


def data_policy_check() -> Check:
    """The policy that the records must meet before a model learns from them."""

    async def look(settings: Settings) -> str:
        return f"version {data_policy(settings).version} of {settings.data_policy or 'this release'}"

    return Check("data policy", look)


def training_checks(*, ray: bool) -> tuple[Check, ...]:
    """What a training needs, and everything that ends in one; `ray`: on a cluster."""
    return (settings_check(), *store_checks(), data_policy_check(), registry_check(), *ray_check(needed=ray))


def serving_checks() -> tuple[Check, ...]:
    """What a job needs that uses a registered model; which one is a check of its own."""
    return (settings_check(), *store_checks(), registry_check())


def store_checks() -> tuple[Check, ...]:
    """PostgreSQL, its migrations, the records that every job needs, and Redis."""
    return (
        Check("PostgreSQL", _postgres),
        Check("migrations", _migrations, needs=("PostgreSQL",)),
        Check("records", _records, needs=("PostgreSQL", "migrations")),
        Check("Redis", _redis),
    )


def registry_check() -> Check:
    """MLflow, and what it holds."""
    return Check("MLflow", _mlflow)


def model_check(version: str | None = None, *, newest: bool = False) -> Check:
    """A registered version's files and contract; None: the champion, or the newest with `newest`."""

    async def look(settings: Settings) -> str:
        return await asyncio.to_thread(_load_registered, settings, version, newest)

    return Check("model", look, needs=("MLflow",))


def folder_check(folder: Path) -> Check:
    """A trained model in a folder."""

    async def look(settings: Settings) -> str:
        return await asyncio.to_thread(_loaded, settings, folder, folder.name)

    return Check("model", look)


def ray_check(*, needed: bool) -> tuple[Check, ...]:
    """Ray, where the job is going to use it."""
    return (Check("Ray", _ray),) if needed else ()


async def _postgres(settings: Settings) -> str:
    async with _database(settings) as database:
        await database.ping()
    return "answers"


async def _migrations(settings: Settings) -> str:
    async with _database(settings) as database:
        return f"all {await ReadinessReader(database).migrations()} are applied"


async def _records(settings: Settings) -> str:
    async with _database(settings) as database:
        empty = await ReadinessReader(database).empty(RECORDS)
    if empty:
        raise NotFoundError(
            f"District {settings.district} has no row in {', '.join(empty)}: run `edupulse import`, or set"
            " EDUPULSE_DISTRICT."
        )
    return f"{', '.join(RECORDS)} hold rows"


async def _redis(settings: Settings) -> str:
    url = settings.redis_url
    if url is None:
        paths = StackPaths.of(settings.home)
        known = load_state(paths).get(REDIS)
        if known is None or not is_alive(known):
            raise _not_running("Redis", paths, dependency="redis")
        url = redis_url(paths)
    async with RedisAnswerCache(url, district_id=DistrictId(settings.district), clock=SystemClock()) as cache:
        await cache.ping()
    return "answers"


async def _mlflow(settings: Settings) -> str:
    paths = StackPaths.of(settings.home)
    if settings.mlflow_tracking_uri is None and not paths.mlflow_database.exists():
        return "nothing is registered; the first training makes its file"

    def count() -> int:
        with _registry(settings) as registry:
            return len(registry.versions())

    return f"answers; {await asyncio.to_thread(count)} versions"


async def _ray(settings: Settings) -> str:
    address = process_environment().get("RAY_ADDRESS")
    head = load_state(StackPaths.of(settings.home)).get(RAY)
    if address is None and (head is None or not is_alive(head)):
        return "no cluster is named or running here; the job starts one of its own"
    from jobs.wiring import connected_to_ray

    with connected_to_ray(settings, needed=True):
        return "answers"


def _load_registered(settings: Settings, version: str | None, newest: bool) -> str:
    with _registry(settings) as registry:
        wanted = ModelVersion(version) if version else None
        if wanted is None and newest:
            wanted = next(iter(registry.versions()), None)
            if wanted is None:
                raise NotFoundError("No model is registered yet: run `edupulse train --no-promote` first.")
        fetched = registry.fetch(wanted)
        return _loaded(settings, fetched.path, f"version {fetched.version}")


def _loaded(settings: Settings, folder: Path, name: str) -> str:
    from edupulse_ml.models.strategies import load_strategy

    model = load_strategy(folder, threads=0)
    model.contract.require_match(_contract(settings))
    return f"{name} ({model.strategy}) loads, its feature contract is ours"


def _contract(settings: Settings) -> FeatureContract:
    return current_contract(
        window_weeks=settings.window_weeks, objective_discipline_only=settings.objective_discipline_only
    )


@asynccontextmanager
async def _database(settings: Settings) -> AsyncGenerator[Database, None]:
    url = settings.database_url
    if url is None:
        paths = StackPaths.of(settings.home)
        if find_postgres(paths) is None:
            raise _not_running("PostgreSQL", paths, dependency="postgresql")
        url = postgres_urls(paths).app
    async with Database(url, district_id=DistrictId(settings.district)) as database:
        yield database


@contextmanager
def _registry(settings: Settings) -> Generator["ModelRegistry", None, None]:
    """The registry with a folder for copies that does not stay; that of a home is made by its first training only."""
    paths = StackPaths.of(settings.home)
    if settings.mlflow_tracking_uri is None and not paths.mlflow_database.exists():
        raise NotFoundError("No model is registered yet: run `edupulse train` first.")
    from edupulse_ml.registry.models import ModelRegistry, model_name

    with tempfile.TemporaryDirectory(prefix="edupulse-check-") as scratch:
        yield ModelRegistry(
            settings.mlflow_tracking_uri or tracking_uri(paths),
            name=model_name(DistrictId(settings.district)),
            cache_dir=Path(scratch),
        )


def _not_running(server: str, paths: StackPaths, *, dependency: str) -> DependencyDownError:
    return DependencyDownError(
        f"The embedded {server} of {paths.home} does not run, so nothing in it can be checked: run `edupulse up` (the job"
        " would start it too).",
        dependency=dependency,
    )


def _show(console: Console, mark: str, name: str, told: str) -> None:
    word, style = _MARKS[mark]
    console.print(Text(f"{word:<9}", style=style) + Text(f"{name}: {told}", style="default"), soft_wrap=True)
