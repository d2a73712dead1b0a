"""Scorings of a whole district: what is to be done, what has been done before, and what came out."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.models.strategies import ServableModel, load_strategy
from edupulse_ml.storage.scoring_runs import Chunk, ScoringKind, ScoringRun, ScoringRunStore, ScoringTotals
from jobs.bulk.folders import ChunkFolder, value_to_continue_with
from jobs.bulk.model_files import ModelFiles
from jobs.bulk.running import Place, do_chunks
from jobs.bulk.score_files import KIND, count_rows, highest
from jobs.bulk.scoring import ACTOR, ScoresFolder, ScoringPlan, WindowsFolder
from jobs.bulk.store_windows import AsOf
from jobs.bulk.stores import address_of
from jobs.bulk.window_files import STUDENTS_PER_FILE, describe_windows, plan_files
from jobs.materialise import materialise_pending
from jobs.progress import progress_bars
from jobs.stack.mlflow import tracking_uri
from jobs.stack.paths import StackPaths
from jobs.wiring import JobContext, open_context

STUDENTS_PER_CHUNK: Final = 2000
"""Students read from and stored in PostgreSQL at once: enough to amortise the statements, little enough to do again."""


@dataclass(frozen=True)
class ScoreRequest:
    """What to score and where to. `as_of` None: now. `source` None: the district's stores, else a folder of windows;
    `target` None: the district's predictions, else a folder. `again`: also what has been scored already. `top` is how
    many predictions to hand back.
    """

    as_of: date | None = None
    source: Path | None = None
    target: Path | None = None
    model: Path | None = None
    again: bool = False
    place: Place = "auto"
    top: int = 10


@dataclass(frozen=True)
class DistrictScores:
    """The predictions with the highest risk, highest first, how many students were scored, and how many had too little
    data.
    """

    predictions: Sequence[Prediction]
    scored: int
    insufficient: int
    model_version: ModelVersion


@dataclass(frozen=True)
class _Champion:
    files: ModelFiles
    artifact: ServableModel

    @classmethod
    def of(cls, version: ModelVersion, folder: Path) -> "_Champion":
        return cls(ModelFiles.read(version, folder), load_strategy(folder))

    @property
    def digest(self) -> str:
        """Tells models of the same number apart."""
        parts = [name.encode() + data for name, data in self.files.files.items()]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


async def score(settings: Settings, request: ScoreRequest, *, clock: Clock, console: Console) -> DistrictScores:
    """Score and store. What an earlier run of the same kind has stored is not done again.

    Raises:
        InvalidInputError: `as_of` lies in the future, or the source is no folder of windows.
        NotFoundError: the district has no champion model.
        ConflictError: the target folder holds something else.
    """
    if request.source is not None and request.as_of is not None:
        raise InvalidInputError("A folder of windows is scored as of the moment it was written for: omit --as-of.")
    if request.model is not None and request.target is None:
        raise InvalidInputError("Only registered models may write predictions: pass --to with --model.")
    if request.source is not None and request.target is not None:
        return await _between_folders(settings, request, request.source, request.target, console=console)
    async with open_context(settings, clock=clock) as context:
        champion = await asyncio.to_thread(_champion, settings, request.model)
        champion.artifact.contract.require_match(context.contract)
        scoring = _Scoring(context, request, champion, console)
        if request.target is not None:
            return await scoring.to_folder(request.target)
        return await scoring.to_store()


async def _between_folders(
    settings: Settings, request: ScoreRequest, source: Path, target: Path, *, console: Console
) -> DistrictScores:
    champion = await asyncio.to_thread(_champion, settings, request.model)
    described = describe_windows(source, contract=champion.artifact.contract)
    plan = ScoringPlan(
        champion.files, AsOf(described.as_of, described.timezone), WindowsFolder(source), ScoresFolder(target), None
    )
    identity = {**_model_identity(champion), "windows": described.identity()}
    chunks = plan_files(source, students_per_chunk=STUDENTS_PER_FILE)
    return await _fill(ChunkFolder(target, identity), plan, chunks, settings, request, console=console)


class _Scoring:
    """One scoring that reads or writes the district's stores."""

    def __init__(self, context: JobContext, request: ScoreRequest, champion: _Champion, console: Console) -> None:
        self._context = context
        self._request = request
        self._champion = champion
        self._console = console
        self._runs = ScoringRunStore(context.database)

    async def to_folder(self, target: Path) -> DistrictScores:
        as_of = await self._as_of()
        await materialise_pending(self._context, as_of=self._context.clock.now(), console=self._console)
        identity: dict[str, Any] = {
            **_model_identity(self._champion),
            "district": self._context.district_id,
            "through_week": as_of.through_week,
            "day": None if self._request.as_of is None else self._request.as_of.isoformat(),
            "last_import": await self._runs.last_import(),
            "as_of": as_of.moment.isoformat(),
        }
        earlier = None if self._request.again else value_to_continue_with(target, identity, field="as_of")
        if earlier is not None:
            identity["as_of"], as_of = earlier, replace(as_of, moment=datetime.fromisoformat(earlier))
        plan = ScoringPlan(self._champion.files, as_of, None, ScoresFolder(target), address_of(self._context))
        chunks = await self._runs.plan(students_per_chunk=STUDENTS_PER_FILE)
        context = self._context
        done = await _fill(
            ChunkFolder(target, identity), plan, chunks, context.settings, self._request, console=self._console
        )
        await context.predictions.audit(
            actor=ACTOR, action="score_to_folder", outcome=f"{done.scored} students", request_id=ACTOR
        )
        return done

    async def to_store(self) -> DistrictScores:
        source, context = self._request.source, self._context
        if source is None:
            as_of, told = await self._as_of(), ""
            await materialise_pending(context, as_of=context.clock.now(), console=self._console)
        else:
            described = describe_windows(source, contract=context.contract)
            as_of = AsOf(described.as_of, described.timezone)
            told = hashlib.sha256(repr(described).encode()).hexdigest()[:12]
        kind = ScoringKind(
            model_version=self._champion.files.version,
            contract_fingerprint=context.contract.fingerprint,
            source=told,
            feature_week=day_from_number(as_of.through_week),
            as_of_day=day_from_number(as_of.today),
            follows_clock=source is None and self._request.as_of is None,
        )
        async with AsyncExitStack() as alone:
            with self._console.status("waiting until no other run scores the district"):
                await alone.enter_async_context(self._runs.exclusive())
            run = await self._run(kind, as_of)
            totals = await (self._runs.totals(run) if run.finished_at else self._do(run, as_of))
        predictions = await self._runs.highest(run, limit=self._request.top)
        return DistrictScores(predictions, totals.scored, totals.insufficient, run.model_version)

    async def _do(self, run: ScoringRun, as_of: AsOf) -> ScoringTotals:
        context, source = self._context, self._request.source
        missing = await self._runs.missing(run)
        as_of = replace(as_of, moment=run.as_of)
        folder = None if source is None else WindowsFolder(source)
        plan = ScoringPlan(self._champion.files, as_of, folder, run, address_of(context))
        await _do(plan, missing, context.settings, self._request, console=self._console)
        return await self._runs.finish(run, finished_at=context.clock.now())

    async def _run(self, kind: ScoringKind, as_of: AsOf) -> ScoringRun:
        """The run to go on with, or a new one."""
        found = None if self._request.again else await self._runs.find(kind)
        if found is None:
            source, runs = self._request.source, self._runs
            if source is None:
                chunks = await runs.plan(students_per_chunk=STUDENTS_PER_CHUNK)
            else:
                chunks = plan_files(source, students_per_chunk=STUDENTS_PER_CHUNK)
            return await runs.begin(kind, chunks, as_of=as_of.moment, started_at=self._context.clock.now())
        when = found.as_of.astimezone(as_of.zone)
        if found.finished_at is None:
            self._console.print(f"Going on with the scoring that was begun as of {when:%Y-%m-%d %H:%M}.")
        else:
            self._console.print(
                f"Scored as of {when:%Y-%m-%d %H:%M}; nothing was imported since (--again scores anew)."
            )
        return found

    async def _as_of(self) -> AsOf:
        zone_name = (await self._context.reader.district()).timezone
        return AsOf(_moment(self._request.as_of, ZoneInfo(zone_name), self._context.clock), zone_name)


async def _fill(
    folder: ChunkFolder,
    plan: ScoringPlan,
    chunks: Sequence[Chunk],
    settings: Settings,
    request: ScoreRequest,
    *,
    console: Console,
) -> DistrictScores:
    """Fill a folder with the scores of the chunks that it lacks."""
    with folder.exclusive():
        totals = folder.begin(again=request.again)
        if totals is None:
            missing = folder.missing([chunk.name for chunk in chunks])
            todo = [chunk for chunk in chunks if chunk.name in missing]
            if len(todo) < len(chunks):
                console.print(f"Going on: {len(chunks) - len(todo):,} of {len(chunks):,} files are there.")
            await _do(plan, todo, settings, request, console=console)
            scored, insufficient = count_rows(folder.path)
            totals = {"scored": scored, "insufficient": insufficient}
            folder.finish(totals)
        else:
            console.print(f"{folder.path} is complete already (--again scores anew).")
    best = highest(folder.path, limit=request.top)
    return DistrictScores(best, totals["scored"], totals["insufficient"], plan.model.version)


async def _do(
    plan: ScoringPlan, chunks: Sequence[Chunk], settings: Settings, request: ScoreRequest, *, console: Console
) -> None:
    with progress_bars(console) as bars:
        bar = bars.add_task("scoring students", total=sum(chunk.students for chunk in chunks))
        await do_chunks(
            plan,
            chunks,
            place=request.place,
            settings=settings,
            on_done=lambda done: bars.advance(bar, done.students),
        )


def _champion(settings: Settings, model: Path | None) -> _Champion:
    """The registered champion, or the model in a folder, whose name is then its version."""
    if model is not None:
        return _Champion.of(ModelVersion(model.name), model)
    # MLflow takes seconds to import.
    from edupulse_ml.registry.models import ModelRegistry, model_name

    paths = StackPaths.of(settings.home)
    registry = ModelRegistry(
        settings.mlflow_tracking_uri or tracking_uri(paths),
        name=model_name(DistrictId(settings.district)),
        cache_dir=paths.home / "models",
    )
    fetched = registry.fetch()
    return _Champion.of(fetched.version, fetched.path)


def _model_identity(champion: _Champion) -> dict[str, Any]:
    return {"kind": KIND, "model_version": champion.files.version, "model_digest": champion.digest}


def _moment(as_of: date | None, zone: ZoneInfo, clock: Clock) -> datetime:
    now = clock.now()
    if as_of is None:
        return now
    end_of_day = datetime(as_of.year, as_of.month, as_of.day, 23, 59, 59, tzinfo=zone).astimezone(UTC)
    if as_of > now.astimezone(zone).date():
        raise InvalidInputError(f"The date {as_of} lies in the future: score as of today or earlier.")
    return min(end_of_day, now)
