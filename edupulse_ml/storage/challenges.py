"""`PostgresChallengeStore`: which version challenges the champion, on what share of the students, and what it said."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import ModelVersion, StudentId, StudentKey
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.prediction_rows import shadow_rows
from edupulse_ml.storage.sql import load_queries


class SettingUnderWayError(ConflictError):
    """Somebody else sets the challenge of this district."""


@dataclass(frozen=True)
class ChallengeSetting:
    """What a challenge was set to, from `set_at` on. `is_over`: it ended then."""

    challenge: Challenge
    is_over: bool
    set_at: datetime
    set_by: str


@dataclass(frozen=True)
class ShadowPair:
    """One student's first pair: what was answered, and what the challenger said beside it."""

    student_key: StudentKey
    feature_week: int
    """Day number of the Monday."""
    answered: tuple[float, float]
    """`risk_score`, `risk_60plus`."""
    said: tuple[float, float]
    same_category: bool


@dataclass(frozen=True)
class FirstAnswer:
    """One student's first answer while the challenge split the students. `answers` of which the challenger gave
    `by_challenger`.
    """

    student_key: StudentKey
    student_id: StudentId
    feature_week: int
    answered_at: datetime
    scores: tuple[float, float]
    answers: int
    by_challenger: int


class PostgresChallengeStore:
    """`core.ports.ChallengeStore` of the database's district, and what reports and commands ask beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("challenges")

    async def current(self) -> Challenge | None:
        """The challenge that is on; None without one."""
        latest = await self.latest()
        return None if latest is None or latest.is_over else latest.challenge

    async def save_shadows(self, shadows: Sequence[ShadowPrediction], *, challenge_id: str) -> None:
        """Store what the challenger said, in one statement. A pair that is stored already stays as it is; a student whom
        the district does not have is left out.
        """
        if not shadows:
            return
        parameters = {"rows": shadow_rows(shadows), "challenge_id": challenge_id}
        async with self._database.connection() as connection:
            try:
                await connection.execute(self._queries["save_shadows"], parameters)
            except psycopg.errors.CheckViolation:
                # A new month has begun: its partition is missing until the first row asks for it.
                months = {shadow.said.created_at.astimezone(UTC).date().replace(day=1) for shadow in shadows}
                await connection.execute(self._queries["ensure_shadow_months"], {"months": sorted(months)})
                await connection.execute(self._queries["save_shadows"], parameters)

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Be the only one who sets the challenge, in this district, on all machines; freed also when the process is killed.

        Raises:
            SettingUnderWayError: somebody else is inside.
        """
        async with self._database.dedicated() as connection:
            cursor = await connection.execute(self._queries["lock"])
            if await cursor.fetchone() != (True,):
                raise SettingUnderWayError(
                    f"The challenge of district {self._database.district_id} is being set by somebody else this moment: "
                    "look at `edupulse challenger show`, and try again."
                )
            yield

    async def latest(self) -> ChallengeSetting | None:
        """What was set last; None before the first challenge."""
        found = await self._settings("settings", {"limit": 1})
        return found[0] if found else None

    async def settings_of(self, challenge_id: str) -> Sequence[ChallengeSetting]:
        """All that one challenge was set to, oldest first."""
        return await self._settings("settings_of", {"challenge_id": challenge_id})

    async def set(self, setting: ChallengeSetting) -> None:
        """Keep a setting, which holds from now on, with a line in the audit trail."""
        challenge = setting.challenge
        parameters = {
            "challenge_id": challenge.challenge_id,
            "model_version": challenge.version,
            "shadow": challenge.shadow,
            "split": challenge.split,
            "is_over": setting.is_over,
            "set_at": setting.set_at,
            "set_by": setting.set_by,
            "outcome": "ended" if setting.is_over else "set",
        }
        async with self._database.connection() as connection:
            try:
                await connection.execute(self._queries["set"], parameters)
            except psycopg.errors.CheckViolation:
                await connection.execute(self._queries["ensure_audit_months"])
                await connection.execute(self._queries["set"], parameters)

    async def champions_of(self, challenge_id: str, *, since: datetime) -> Sequence[tuple[ModelVersion, datetime]]:
        """Versions that answered as champion in the challenge, which began at `since`, each with the moment of its first
        answer that counts (see `first_answers`); the earliest first.
        """
        parameters = {"challenge_id": challenge_id, "since": since}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["champions_of"], parameters)
            return [(ModelVersion(version), first_at) for version, first_at in await cursor.fetchall()]

    async def shadow_pairs(self, challenge_id: str, *, until: datetime | None = None) -> Sequence[ShadowPair]:
        """The first pair of every student in the challenge, in no promised order. Pairs about a moment more than a day before
        they were made are left out, and those made at `until` or later.
        """
        parameters = {"challenge_id": challenge_id, "until": until}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["shadows_of"], parameters)
            return [
                ShadowPair(StudentKey(key), week, (score, late), (said, said_late), same)
                for key, week, score, said, late, said_late, same in await cursor.fetchall()
            ]

    async def first_answers(
        self, challenge_id: str, *, since: datetime, until: datetime | None = None
    ) -> Sequence[FirstAnswer]:
        """The first answer of every student in the challenge, which began at `since`; in no promised order. Answers about a
        moment more than a day before they were given are left out, and those given at `until` or later; neither is counted.
        """
        parameters = {"challenge_id": challenge_id, "since": since, "until": until}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["answers_of"], parameters)
            return [
                FirstAnswer(StudentKey(key), StudentId(name), week, at, (score, late), answers, by_challenger)
                for key, name, week, at, score, late, answers, by_challenger in await cursor.fetchall()
            ]

    async def _settings(self, query: str, parameters: Mapping[str, Any]) -> list[ChallengeSetting]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries[query], parameters)
            return [
                ChallengeSetting(Challenge(challenge_id, ModelVersion(version), shadow, split), is_over, at, by)
                for challenge_id, version, shadow, split, is_over, at, by in await cursor.fetchall()
            ]
