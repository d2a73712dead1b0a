"""What training and the feedback report read of the feedback, as it was known at a moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.feedback import (
    OUTCOME_WORDS,
    FlagWord,
    Interventions,
    ReportedOutcomes,
    no_interventions,
    nothing_reported,
)
from edupulse_ml.core.ids import StudentKey
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.districts import read_district
from edupulse_ml.storage.local_days import LocalDays
from edupulse_ml.storage.record_sets import KeyOrder
from edupulse_ml.storage.sql import load_queries


@dataclass(frozen=True)
class FlagOpinion:
    """What was said of one flag: by whom is not read. `reasons` are the concepts shown with it, in their order; empty
    where none was asked for. `feature_week` is the Monday of the last week that the model saw, as a day number.
    """

    student: StudentKey
    verdict: FlagWord
    category: str
    model_version: str
    feature_week: int
    reasons: tuple[str, ...]


class FeedbackReader:
    """Feedback of the database's district; position i of a result's `student` = keys[i]."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("feedback")

    async def outcomes_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> ReportedOutcomes:
        """Outcomes reported of these students at `as_of` or before; for labels only.

        Raises:
            ValueError: a key is named twice.
        """
        found = await self._columns("outcomes", keys, as_of=as_of)
        if not found:
            return nothing_reported()
        return ReportedOutcomes(outcome=found.pop("outcome").astype(np.int8), **found)

    async def interventions_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> Interventions:
        """Support of these students recorded at `as_of` or before.

        Raises:
            ValueError: a key is named twice.
        """
        found = await self._columns("interventions", keys, as_of=as_of)
        return Interventions(**found) if found else no_interventions()

    async def opinions(self, *, since: datetime, as_of: datetime) -> Sequence[FlagOpinion]:
        """Opinions on flags that were recorded from `since` to `as_of`, as they stood at `as_of`."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["opinions"], {"since": since, "as_of": as_of})
            rows = await cursor.fetchall()
        return [
            FlagOpinion(StudentKey(key), cast("FlagWord", verdict), category, version, week, tuple(reasons))
            for key, verdict, category, version, week, reasons in rows
        ]

    async def _columns(self, query: str, keys: Sequence[StudentKey], *, as_of: datetime) -> dict[str, NDArray[Any]]:
        """Arrays by column name; empty where no row was found."""
        order = KeyOrder(keys)
        days = LocalDays(ZoneInfo((await read_district(self._database)).timezone))
        parameters: Mapping[str, object] = {"keys": list(keys), "as_of": as_of, "words": list(OUTCOME_WORDS)}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], parameters, binary=True)
            row = await cursor.fetchone()
            if row is None or row[0] is None or cursor.description is None:
                return {}
            found = {column.name: values for column, values in zip(cursor.description, row, strict=True)}
        moments = {name: days(found.pop(name)) for name in ("known_day", "superseded_day")}
        students = order.positions(found.pop("student"))
        return {name: values.astype(np.int32) for name, values in found.items()} | moments | {"student": students}
