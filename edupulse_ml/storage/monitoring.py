"""What the monitoring saw, one run a day and model; and the predictions that it judges."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Json

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.weeks import day_from_number, day_number
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.sql import load_queries


@dataclass(frozen=True)
class KeptFigure:
    """One row of `monitoring_figures`; what the columns mean is said by `monitoring.figures.WatchedFigure`."""

    kind: str
    subject: str
    value: float | None
    limit: float | None
    low: float | None
    high: float | None
    reference: float | None
    chance: float | None
    n: int | None
    is_alert: bool
    note: str | None


@dataclass(frozen=True)
class KeptRun:
    """One run with its figures in their order."""

    model_version: str
    day: date
    as_of: datetime
    policy_version: str
    first_week: date | None
    last_week: date | None
    figures: tuple[KeptFigure, ...]


@dataclass(frozen=True)
class ScoreColumns:
    """Stored predictions: student key, Monday's day number, and the two scores; all [B]."""

    student_key: NDArray[np.int64]
    week: NDArray[np.int32]
    risk_score: NDArray[np.float64]
    risk_60plus: NDArray[np.float64]


class MonitoringRepository:
    """Monitoring runs of the database's district."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("monitoring")

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Wait until no other run of this district is inside, on all machines; freed also when the process is killed."""
        async with self._database.dedicated() as connection:
            await connection.execute(self._queries["lock"])
            yield

    async def latest_weeks(self, *, contract: FeatureContract, through_week: int, weeks: int) -> list[int]:
        """Mondays (day numbers) of the latest weeks that most students have features of, in order."""
        parameters = {
            "contract_fingerprint": contract.fingerprint,
            "through_week": day_from_number(through_week),
            "weeks": weeks,
        }
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(self._queries["latest_weeks"], parameters)
            return sorted(day_number(week) for (week,) in await cursor.fetchall())

    async def served_scores(
        self, *, from_week: int, to_week: int, as_of: datetime, versions: Collection[ModelVersion]
    ) -> ScoreColumns:
        """Of each student and feature week, both ends included, the latest prediction of these versions; only those made
        by `as_of`, and less than seven days after the moment they speak from.
        """
        parameters = {
            "from_week": day_from_number(from_week),
            "to_week": day_from_number(to_week),
            "as_of": as_of,
            "model_versions": sorted(versions),
        }
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(self._queries["served_scores"], parameters, binary=True)
            row = await cursor.fetchone()
        student, week, risk_score, risk_60plus = row or ((), (), (), ())
        return ScoreColumns(
            np.asarray(student, np.int64),
            np.asarray(week, np.int32),
            np.asarray(risk_score, np.float64),
            np.asarray(risk_60plus, np.float64),
        )

    async def champions(self) -> set[ModelVersion]:
        """Every version that has been served, by the record of promotions."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["champions"])
            return {ModelVersion(version) for (version,) in await cursor.fetchall()}

    async def keep(self, run: KeptRun) -> None:
        """Keep a run; one of the same day and model is replaced."""
        key = {"model_version": run.model_version, "day": run.day}
        about = {
            "as_of": run.as_of,
            "policy_version": run.policy_version,
            "first_week": run.first_week,
            "last_week": run.last_week,
        }
        figures = [{"position": position, **asdict(figure)} for position, figure in enumerate(run.figures)]
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["forget_run"], key)
            await connection.execute(self._queries["keep_run"], {**key, **about})
            await connection.execute(self._queries["keep_figures"], {**key, "figures": Json(figures)})

    async def run_of(self, *, version: ModelVersion, day: date) -> KeptRun | None:
        """The run of a model on a day, None if there was none."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["run_of"], {"model_version": version, "day": day})
            return await self._with_figures(connection, await cursor.fetchone())

    async def latest(self) -> KeptRun | None:
        """The run made last, None if there was none."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["latest_run"])
            return await self._with_figures(connection, await cursor.fetchone())

    async def _with_figures(self, connection: Connection, row: Sequence[Any] | None) -> KeptRun | None:
        if row is None:
            return None
        cursor = await connection.execute(self._queries["figures_of"], {"model_version": row[0], "day": row[1]})
        return KeptRun(*row, figures=tuple(KeptFigure(*figure) for figure in await cursor.fetchall()))
