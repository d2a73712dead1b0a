"""`edupulse score`: score every enrolled student, store the predictions, and list those most in need of support."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId, StudentKey
from edupulse_ml.core.predictions import Coverage, InsufficientData, Prediction
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_of, what_is_missing
from edupulse_ml.core.weeks import day_from_number, last_closed_week, local_day
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from jobs.materialise import materialise_pending
from jobs.progress import progress_bars
from jobs.windows import latest_windows_of
from jobs.wiring import JobContext, open_context

_STUDENTS_PER_CHUNK: Final = 1000
_ACTOR: Final = "job:score"


def score(
    *,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Score as known at the end of this day; default: now.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Students to list.")] = 10,
) -> None:
    """Score every enrolled student with the champion and store the predictions."""
    settings, clock, console = load_settings(), SystemClock(), Console()
    result = asyncio.run(score_district(settings, as_of=as_of.date() if as_of else None, clock=clock, console=console))
    console.print(ranking_table(result.predictions[:top]))
    console.print(
        f"{len(result.predictions):,} students scored with model {result.model_version}, "
        f"{result.insufficient:,} without enough data to be scored."
    )


@dataclass(frozen=True)
class DistrictScores:
    """All predictions, highest risk first, and how many students had too little data."""

    predictions: Sequence[Prediction]
    insufficient: int
    model_version: ModelVersion


async def score_district(settings: Settings, *, as_of: date | None, clock: Clock, console: Console) -> DistrictScores:
    """Score and store. Student-weeks that imports touched are materialised first.

    Raises:
        InvalidInputError: `as_of` lies in the future.
        NotFoundError: the district has no champion model.
    """
    async with open_context(settings, clock=clock) as context:
        zone = ZoneInfo((await context.reader.district()).timezone)
        moment = _moment(as_of, zone, clock)
        fetched = await asyncio.to_thread(context.registry.fetch)
        artifact = await asyncio.to_thread(ModelArtifact.load, fetched.path, threads=0)
        artifact.contract.require_match(context.contract)
        await materialise_pending(context, as_of=clock.now(), console=console)
        keys = await _enrolled(context, moment, zone)
        answers: list[Prediction | InsufficientData] = []
        with progress_bars(console) as bars:
            scoring = bars.add_task("scoring students", total=len(keys))
            for at in range(0, len(keys), _STUDENTS_PER_CHUNK):
                chunk = keys[at : at + _STUDENTS_PER_CHUNK]
                part = await _score_chunk(context, artifact, fetched.version, chunk, moment=moment, zone=zone)
                await context.predictions.save(part, actor=_ACTOR, action="score", request_ids=[_ACTOR] * len(part))
                answers.extend(part)
                bars.advance(scoring, len(chunk))
    predictions = sorted(
        (answer for answer in answers if isinstance(answer, Prediction)), key=lambda p: p.risk_score, reverse=True
    )
    return DistrictScores(predictions, len(answers) - len(predictions), fetched.version)


def ranking_table(predictions: Sequence[Prediction]) -> Table:
    """Students in the order given, with what a counselor needs to choose."""
    table = Table(title="Students most in need of support")
    for name in ("student", "category", "risk", "early warning", "weeks of records", "last week seen"):
        table.add_column(name)
    for prediction in predictions:
        table.add_row(
            prediction.student_id,
            prediction.category,
            f"{prediction.risk_score:.0%}",
            f"{prediction.risk_60plus:.0%}",
            str(prediction.coverage.weeks),
            prediction.feature_week.isoformat(),
        )
    return table


def _moment(as_of: date | None, zone: ZoneInfo, clock: Clock) -> datetime:
    now = clock.now()
    if as_of is None:
        return now
    end_of_day = datetime(as_of.year, as_of.month, as_of.day, 23, 59, 59, tzinfo=zone).astimezone(UTC)
    if as_of > now.astimezone(zone).date():
        msg = f"The date {as_of} lies in the future: score as of today or earlier."
        raise InvalidInputError(msg)
    return min(end_of_day, now)


async def _enrolled(context: JobContext, moment: datetime, zone: ZoneInfo) -> list[StudentKey]:
    """Students with an enrolment open on the day of `moment`, as known then."""
    keys = await context.reader.all_student_keys()
    exits = await context.reader.exits_of(keys, as_of=moment)
    today = local_day(moment, zone)
    is_open = (
        (exits.known_day <= today)
        & (today < exits.superseded_day)
        & (exits.entry_day <= today)
        & (today < exits.exit_day)
    )
    return [keys[position] for position in np.unique(exits.student[is_open])]


async def _score_chunk(
    context: JobContext,
    artifact: ModelArtifact,
    version: ModelVersion,
    keys: Sequence[StudentKey],
    *,
    moment: datetime,
    zone: ZoneInfo,
) -> list[Prediction | InsufficientData]:
    student_ids = await context.reader.student_ids(keys)
    batch = await latest_windows_of(context, keys, through_week=last_closed_week(moment, zone), zone=zone)
    scores = await asyncio.to_thread(artifact.score, batch)
    now = context.clock.now()
    today = local_day(moment, zone)
    answers: list[Prediction | InsufficientData] = []
    for row, coverage in enumerate(coverage_of(batch)):
        missing = _missing(batch, row, coverage, today=today)
        if missing:
            answers.append(InsufficientData(student_ids[row], moment, missing, coverage))
            continue
        risk_score = float(scores.risk_score[row])
        answers.append(
            Prediction(
                prediction_id=PredictionId(str(uuid.uuid4())),
                student_id=StudentId(student_ids[row]),
                as_of=moment,
                created_at=now,
                feature_week=day_from_number(int(batch.week[row, coverage.weeks - 1])),
                model_version=version,
                policy_version=artifact.policy.version,
                risk_score=risk_score,
                risk_60plus=float(scores.risk_60plus[row]),
                category=artifact.policy.categorise(risk_score),
                coverage=coverage,
            )
        )
    return answers


def _missing(batch: SequenceBatch, row: int, coverage: Coverage, *, today: int) -> tuple[str, ...]:
    last = int(batch.week[row, coverage.weeks - 1]) if coverage.weeks else today - CUTOFF_DAYS_AFTER_MONDAY
    age_days = today - (last + CUTOFF_DAYS_AFTER_MONDAY)
    return what_is_missing(coverage, feature_age_days=age_days, policy=SufficiencyPolicy())


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["score", *sys.argv[1:]])
